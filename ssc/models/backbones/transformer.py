"""What both Transformers share: a U of four encoder and three decoder stages with two blocks each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from ssc.models.backbones.base import Backbone, Factors, Features
from ssc.models.backbones.windows import Block, CrossBlock, Scales, Size, clamp_window

STAGES = 4  # of the encoder; the decoder has one less
BLOCKS = 2  # a stage
ENCODER_BRANCHES = 2 * BLOCKS * STAGES


def channels_first(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a convolution to a channels-last map (B, *S, C)."""
    return layer(x.movedim(-1, 1)).movedim(1, -1)


def blocks_of(layer: nn.Module, x: Tensor, channels: Literal["first", "last"]) -> Tensor:
    """A transposed convolution whose stride is its kernel, on a channels-last map (B, *S, C).

    -> (B, C', *kS) or (B, *kS, C'), as ``channels`` says: 'first' or 'last'. Each position becomes a block of its own,
    so that one matrix product does it, quicker than PyTorch's layer.
    """
    b, *size, c = x.shape
    kernel, dims, out = layer.kernel_size, len(size), layer.out_channels
    weight = layer.weight.flatten(1)  # (C, C' · kernel)
    blocks = torch.addmm(layer.bias.repeat_interleave(prod(kernel)), x.reshape(-1, c), weight)
    blocks = blocks.view(b, *size, out, *kernel)
    places = [axis for d in range(dims) for axis in (1 + d, 2 + dims + d)]
    grown = [s * k for s, k in zip(size, kernel, strict=True)]
    if channels == "first":
        return blocks.permute(0, 1 + dims, *places).reshape(b, out, *grown)
    return blocks.permute(0, *places, 1 + dims).reshape(b, *grown, out)


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


class Transformer(Backbone):
    """An image's way through ``encoder``, ``decoder`` and ``heads``, which a subclass builds.

    Joint V1 has an encoder a modality, so ``encode`` takes another one, and ``decode`` goes on from its skips.
    """

    encoder: nn.Module | None
    decoder: Decoder
    heads: nn.Module

    def __init__(self, width: int, block_rates: Sequence[float]):
        super().__init__()
        self.map_widths = [4 * width, 2 * width, width]
        # Each block has two branches: attention, and MLP.
        blocks = [width * 2**stage for stage in (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)]
        self.branch_widths = [w for w in blocks for _ in range(2)]
        self.branch_rates = [rate for rate in block_rates for _ in range(2)]

    def forward(self, image: Tensor, factors: Factors | None = None, only_finest: bool = False) -> Features:
        return self.decode(self.encode(image, factors), image.shape[2:], factors, only_finest)

    def encode(self, image: Tensor, factors: Factors | None = None, encoder: nn.Module | None = None) -> list[Tensor]:
        """Skips (B, *s, D), fine to coarse, by this backbone's encoder or another one of its kind."""
        scales = self._pairs(factors, slice(ENCODER_BRANCHES), image.ndim - 2)
        return (self.encoder if encoder is None else encoder)(image, scales)

    def decode(
        self, skips: Sequence[Tensor], size: Sequence[int], factors: Factors | None = None, only_finest: bool = False
    ) -> Features:
        """From the encoder's skips; ``size`` of the image."""
        maps = self.decoder(skips, self._pairs(factors, slice(ENCODER_BRANCHES, None), len(size)))
        return Features(maps, self.heads(maps, size, only_finest))

    def _pairs(self, factors: Factors | None, part: slice, dims: int) -> list[Scales | None]:
        """The factors of each block's two branches, (B, 1, …, 1, C): over the positions of a channels-last map."""
        if factors is None:
            return [None] * (len(self.branch_widths[part]) // 2)
        spread = [factor.view(len(factor), *(1,) * dims, -1) for factor in factors[part]]
        return list(zip(spread[::2], spread[1::2], strict=True))

    @torch.no_grad()
    def fold(self, factors: Factors) -> None:
        """Φ ⊙ (Wh + b) = (diag(Φ) W) h + Φ ⊙ b: each branch ends in a linear layer."""
        blocks = [
            module
            for part in (self.encoder, self.decoder)
            for module in part.modules()
            if isinstance(module, Block | CrossBlock)
        ]
        layers = [layer for block in blocks for layer in (block.attention.projection, block.mlp[-1])]
        for layer, factor in zip(layers, factors, strict=True):
            layer.weight.mul_(factor[0, :, None])
            layer.bias.mul_(factor[0])
