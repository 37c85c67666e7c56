"""The residual FCN of Valindria et al. (WACV 2018), and where its four versions part the modalities.

As the names say, not as published: there the map that goes deeper is always the first modality's (docs/deviations.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ssc.models.backbones.parted import PerModality

Parting = Literal["none", "v1", "v2", "v3", "v4"]
STRIDES = (2, 2, 2, 1)  # of scales 1 to 4
UNITS = 3  # a scale
SLOPE, EPSILON, MOMENTUM = 0.01, 1e-3, 0.01
# What each version has once a modality.
OWN: dict[str, set[str]] = {
    "none": set(),
    "v1": {"stem", "scales", "deepest"},
    "v2": {"stem"},
    "v3": {"decoder"},
    "v4": {"stem", "scales", "decoder"},
}


class FCN(nn.Module):
    """Encoder of a stem and four scales, and a linear decoder; no bias anywhere. 3D.

    ``widths``: channels of the stem and of scales 1 to 4.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], modalities: Sequence[str], parted: Parting):
        super().__init__()
        own = OWN[parted]

        def made(part: str, build: Callable[[], nn.Module]) -> nn.Module:
            return PerModality(modalities, build) if part in own else build()

        self.stem = made("stem", lambda: nn.Conv3d(channels, widths[0], 3, padding=1, bias=False))
        self.scales = nn.ModuleList(
            made("scales" if i < 3 else "deepest", lambda i=i: Scale(widths[i], widths[i + 1], STRIDES[i]))
            for i in range(4)
        )
        self.deepest = made("decoder", lambda: nn.Conv3d(widths[4], classes, 3, padding=1, bias=False))
        self.skips = nn.ModuleList(made("decoder", lambda w=w: Skip(w, classes)) for w in reversed(widths[:4]))
        self.out = nn.Conv3d(classes, classes, 1, bias=False)

    def reset_parameters(self) -> None:
        """Uniform with unit scaling: variance 1 / fan-in."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                bound = (3 / (layer.weight[0].numel())) ** 0.5
                nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, image: Tensor) -> Tensor:
        maps = [self.stem(image)]
        for scale in self.scales:
            maps.append(scale(maps[-1]))
        x = self.deepest(maps.pop())
        for skip, stride in zip(self.skips, reversed(STRIDES), strict=True):
            if stride > 1:
                x = F.interpolate(x, scale_factor=stride, mode="trilinear", align_corners=False)
            x = x + skip(maps.pop())
        return self.out(x)


class Scale(nn.Sequential):
    """Three residual units, the first of which strides."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(Unit(inputs, outputs, stride), *(Unit(outputs, outputs, 1) for _ in range(UNITS - 1)))


class Unit(nn.Module):
    """Norm, leaky ReLU, convolution, twice; plus its input, max-pooled and with zero channels on both sides."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        first = nn.Conv3d(inputs, outputs, 2, 2, bias=False) if stride > 1 else _conv(inputs, outputs)
        self.layers = nn.Sequential(
            _norm(inputs), nn.LeakyReLU(SLOPE), first, _norm(outputs), nn.LeakyReLU(SLOPE), _conv(outputs, outputs)
        )
        self.stride, self.more = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        kept = F.max_pool3d(x, self.stride) if self.stride > 1 else x
        return self.layers(x) + F.pad(kept, (0,) * 6 + (self.more, self.more))


class Skip(nn.Sequential):
    """A scale's map to classes, normed."""

    def __init__(self, width: int, classes: int):
        super().__init__(nn.Conv3d(width, classes, 1, bias=False), _norm(classes))


def _conv(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)


def _norm(width: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(width, EPSILON, MOMENTUM)
