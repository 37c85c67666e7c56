"""The networks of UMMKD (Dou et al., TMI 2020): every kernel shared by the modalities, every norm once for each.

Norms part by the row's ``norm_per_modality``; written here as plain batch norms. What its code and paper leave open
is decided in docs/deviations.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START = 0.01  # standard deviation of every kernel, truncated at twice it
SLOPE = 0.2  # of the leaky ReLU
EPSILON = 1e-3  # of the norms
DROPOUT = 0.25


class Started(nn.Module):
    """A network whose kernels start as UMMKD's do."""

    def reset_parameters(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose3d):
                nn.init.normal_(layer.weight, std=START)
            elif isinstance(layer, nn.Conv2d | nn.Conv3d):
                nn.init.trunc_normal_(layer.weight, std=START, a=-2 * START, b=2 * START)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


class Unit(nn.Module):
    """Norm, leaky ReLU, 3×3 convolution, dropout of single values."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, EPSILON)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.conv(F.leaky_relu(self.norm(x), SLOPE)), DROPOUT, self.training)


class Residual(nn.Module):
    """Two units and their input, which has zero channels on both sides where they double."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__()
        self.units = nn.Sequential(Unit(inputs, outputs, dilation), Unit(outputs, outputs, dilation))
        self.more = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x) + F.pad(x, (0, 0, 0, 0, self.more, self.more))


class Slices(Started):
    """The 2D network: three neighbouring slices in, the middle one's logits out; sides are multiples of 8.

    Maps after the last groups: 32 ``width`` a class at 1/8, ``width``/2 a class at full size (width 16: 8).
    """

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        b = width
        self.layers = nn.Sequential(
            nn.Conv2d(channels, b, 3, padding=1, bias=False),
            Residual(b, b),
            nn.MaxPool2d(2),
            Residual(b, 2 * b),
            nn.MaxPool2d(2),
            Residual(2 * b, 4 * b),
            Residual(4 * b, 4 * b),
            nn.MaxPool2d(2),
            Residual(4 * b, 8 * b),
            Residual(8 * b, 8 * b),
            Residual(8 * b, 16 * b),
            Residual(16 * b, 16 * b),
            Residual(16 * b, 16 * b),
            Residual(16 * b, 16 * b),
            Residual(16 * b, 32 * b),
            Residual(32 * b, 32 * b),
            Residual(32 * b, 32 * b, dilation=2),
            Residual(32 * b, 32 * b, dilation=2),
            Unit(32 * b, 32 * b),
            Unit(32 * b, 32 * b),
        )
        self.spread = nn.Conv2d(32 * b, 32 * b * classes, 3, bias=False)
        self.norm = nn.BatchNorm2d(32 * b * classes, EPSILON)
        self.out = nn.Conv2d(b * classes // 2, classes, 5, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        x = self.spread(_mirrored(self.layers(image), 1))
        x = F.pixel_shuffle(F.leaky_relu(self.norm(x), SLOPE), 8)
        return self.out(_mirrored(x, 2))


class Volumes(Started):
    """The 3D network, a U of four levels; the two lower ones see no neighbouring slices. Sides are multiples of 8."""

    def __init__(self, channels: int, classes: int, width: int):
        super().__init__()
        b = width
        self.down = nn.ModuleList(
            nn.Sequential(Layer(i, m, k), Layer(m, o, k))
            for i, m, o, k in (
                (channels, b, 2 * b, WHOLE),
                (2 * b, 2 * b, 4 * b, WHOLE),
                (4 * b, 4 * b, 8 * b, PLANE),
                (8 * b, 8 * b, 16 * b, PLANE),
            )
        )
        self.grow = nn.ModuleList(
            Grown(i, o, k) for i, o, k in ((16 * b, 8 * b, PLANE), (8 * b, 8 * b, PLANE), (4 * b, 4 * b, WHOLE))
        )
        self.up = nn.ModuleList(
            nn.Sequential(Layer(i, o, k), Layer(o, o, k))
            for i, o, k in ((16 * b, 8 * b, PLANE), (12 * b, 4 * b, WHOLE), (6 * b, 2 * b, WHOLE))
        )
        self.out = nn.Conv3d(2 * b, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x, skips = self.down[0](image), []
        for level in self.down[1:]:
            skips.append(x)
            x = level(F.max_pool3d(x, 2))
        for grow, level in zip(self.grow, self.up, strict=True):
            x = level(torch.cat([grow(x), skips.pop()], dim=1))
        return self.out(x)


WHOLE, PLANE = (3, 3, 3), (1, 3, 3)  # kernels; the second has no extent across slices


class Layer(nn.Sequential):
    """Convolution, norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]):
        conv = nn.Conv3d(inputs, outputs, kernel, padding=tuple(k // 2 for k in kernel), bias=False)
        super().__init__(conv, nn.BatchNorm3d(outputs, EPSILON), nn.LeakyReLU(SLOPE))


class Grown(nn.Sequential):
    """Transposed convolution to twice the size, norm, leaky ReLU.

    As in its code: a kernel with one tap across slices leaves every second slice zero before the norm.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]):
        padding = tuple(k // 2 for k in kernel)
        conv = nn.ConvTranspose3d(inputs, outputs, kernel, 2, padding, output_padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm3d(outputs, EPSILON), nn.LeakyReLU(SLOPE))


def _mirrored(x: Tensor, n: int) -> Tensor:
    """(B, C, H, W) with n more positions at every side, mirrored with the edge: … b a | a b …."""
    x = torch.cat([x[..., :n].flip(-1), x, x[..., -n:].flip(-1)], dim=-1)
    return torch.cat([x[..., :n, :].flip(-2), x, x[..., -n:, :].flip(-2)], dim=-2)
