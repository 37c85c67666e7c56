"""What both backbones share: a U of four encoder and three decoder stages with two Transformer blocks each.

A backbone knows no method: it hands out its decoder maps and lets a caller scale the residual branches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from ssc.models.windows import Block, Scales, Size, clamp_window

STAGES = 4  # of the encoder; the decoder has one less
BLOCKS = 2  # a stage


def channels_first(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a convolution to a channels-last map (B, *S, C)."""
    return layer(x.movedim(-1, 1)).movedim(1, -1)


def stage_windows(windows: Sequence[int], size: Size) -> list[Size]:
    """The window of each encoder stage, clamped to its map: ``size`` at the first, then halved each time."""
    clamped = []
    for window in windows:
        clamped.append(clamp_window(window, size))
        size = tuple(-(-s // 2) for s in size)
    return clamped


class Stage(nn.Module):
    """Two self-attention blocks, the second one shifted."""

    def __init__(self, width: int, heads: int, window: Size):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window, shifted=bool(i % 2)) for i in range(BLOCKS))

    def forward(self, x: Tensor, scales: Sequence[Scales | None]) -> Tensor:
        for block, pair in zip(self.blocks, scales, strict=True):
            x = block(x, pair)
        return x


class Decoder(nn.Module):
    """Skips -> the three decoder maps, coarse to fine: 4C, 2C, C channels.

    A stage takes the map below it (B, *S/2, 2w), its skip (B, *S, w) and its blocks' scales.
    """

    def __init__(self, stages: Iterable[nn.Module]):
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, skips: Sequence[Tensor], scales: Sequence[Scales | None]) -> list[Tensor]:
        x, maps = skips[-1], []
        for i, stage in enumerate(self.stages):
            x = stage(x, skips[-2 - i], scales[BLOCKS * i : BLOCKS * (i + 1)])
            maps.append(x)
        return maps


class Backbone(nn.Module):
    """An image's way through ``encoder``, ``decoder`` and ``heads``, which a backbone builds."""

    in_channels: int

    @staticmethod
    def branch_widths(width: int) -> list[int]:
        """Channels of every block's residual branches: the encoder's blocks in order, then the decoder's."""
        return [width * 2**stage for stage in (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)]

    @staticmethod
    def map_widths(width: int) -> list[int]:
        """Channels of the decoder maps, coarse to fine."""
        return [4 * width, 2 * width, width]

    def forward(self, image: Tensor, scales: Sequence[Scales | None] = (None,) * 14) -> list[Tensor]:
        """image (B, channels, *S) -> logits (B, Z, *S), then coarser ones where the heads have them."""
        encoder_blocks = STAGES * BLOCKS
        maps = self.decoder(self.encoder(image, scales[:encoder_blocks]), scales[encoder_blocks:])
        return self.heads(maps, image.shape[2:])
