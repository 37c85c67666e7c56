"""The control's U-Net with its levels in lists, so that they can part by modality as Valindria et al. part theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import Tensor, nn

from ssc.models.backbones.parted import PerModality
from ssc.rivals.fcn import OWN, Parting

SUBUNITS = 2


class PartedUNet(nn.Module):
    """Layer by layer MONAI's residual U-Net, whose own one is nested; ``parted`` as the FCN's versions."""

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        outputs: int,
        widths: Sequence[int],
        modalities: Sequence[str] = (),
        parted: Parting = "none",
    ):
        super().__init__()
        own, dims = OWN[parted], spatial_dims
        if own == {"stem"}:
            raise ValueError(f"parted {parted}: parts the stem alone, which a U-Net has not")

        def made(part: str, build: Callable[[], nn.Module]) -> nn.Module:
            return PerModality(modalities, build) if part in own else build()

        def unit(inputs: int, width: int, stride: int) -> nn.Module:
            return ResidualUnit(dims, inputs, width, strides=stride, subunits=SUBUNITS)

        self.down = nn.ModuleList(
            made("scales", lambda i=i, w=w: unit(i, w, 2))
            for i, w in zip((channels, *widths[:-2]), widths[:-1], strict=True)
        )
        self.deepest = made("deepest", lambda: unit(widths[-2], widths[-1], 1))
        below, self.up = widths[-1], nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            inputs, width = widths[level] + below, widths[level - 1] if level else outputs
            self.up.append(made("decoder", lambda i=inputs, w=width, top=not level: _up(dims, i, w, top)))
            below = width

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)[0]

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The output at full size, and the deepest map."""
        skips = []
        for level in self.down:
            image = level(image)
            skips.append(image)
        x = deepest = self.deepest(image)
        for level in self.up:
            x = level(torch.cat([skips.pop(), x], dim=1))
        return x, deepest


def _up(dims: int, inputs: int, outputs: int, top: bool) -> nn.Module:
    grown = Convolution(dims, inputs, outputs, strides=2, is_transposed=True)
    return nn.Sequential(grown, ResidualUnit(dims, outputs, outputs, strides=1, subunits=1, last_conv_only=top))
