"""nnFormer (Zhou et al., 2021; the authors' Synapse network) in 3D, as an encoder, a decoder and heads.

Two decisions differ from the authors' code: the relative position index is the right one, and windows are
clamped per axis. Odd maps are allowed: the decoder crops to its skip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ssc.models.backbones.transformer import (
    BLOCKS,
    STAGES,
    Decoder,
    Stage,
    Transformer,
    blocks_of,
    channels_first,
    stage_windows,
)
from ssc.models.backbones.windows import Block, CrossBlock, Scales, Size

PATCH = (2, 4, 4)


class PatchEmbedding(nn.Module):
    """Four convolutions, image (B, 1, D, H, W) -> tokens (B, D/2, H/4, W/4, C)."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv3d(in_channels, half, 3, stride=(2, 2, 2), padding=1)
        self.norm1 = nn.LayerNorm(half)
        self.conv2 = nn.Conv3d(half, half, 3, padding=1)
        self.norm2 = nn.LayerNorm(half)
        self.conv3 = nn.Conv3d(half, width, 3, stride=(1, 2, 2), padding=1)
        self.norm3 = nn.LayerNorm(width)
        self.conv4 = nn.Conv3d(width, width, 3, padding=1)
        self.norm4 = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        _, _, d, h, w = image.shape
        image = F.pad(image, (0, -w % PATCH[2], 0, -h % PATCH[1], 0, -d % PATCH[0]))
        x = image.movedim(1, -1)
        x = self.norm1(F.gelu(channels_first(self.conv1, x)))
        x = self.norm2(F.gelu(channels_first(self.conv2, x)))
        x = self.norm3(F.gelu(channels_first(self.conv3, x)))
        return self.norm4(channels_first(self.conv4, x))


class Down(nn.Module):
    """GELU, norm, strided convolution: (B, *S, C) -> (B, *⌈S/2⌉, 2C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(self.conv, self.norm(F.gelu(x)))


class Up(nn.Module):
    """Norm, transposed convolution, crop to the skip: (B, *S, 2C) -> (B, *2S, C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.conv = nn.ConvTranspose3d(2 * width, width, 2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = blocks_of(self.conv, self.norm(x), "last")
        _, d, h, w, _ = skip.shape
        return x[:, :d, :h, :w]


class DecoderStage(nn.Module):
    """Up-sampling, a cross block on the skip, a shifted self-attention block."""

    def __init__(self, width: int, heads: int, window: Size):
        super().__init__()
        self.up = Up(width)
        self.cross = CrossBlock(width, heads, window)
        self.block = Block(width, heads, window, shifted=True)

    def forward(self, x: Tensor, skip: Tensor, scales: Sequence[Scales | None]) -> Tensor:
        x = self.cross(self.up(x, skip), skip, scales[0])
        return self.block(x, scales[1])


class Encoder(nn.Module):
    """Image -> four normalised skips, fine to coarse; the last one is the neck."""

    def __init__(self, in_channels: int, width: int, heads: Sequence[int], windows: Sequence[Size]):
        super().__init__()
        widths = [width * 2**stage for stage in range(STAGES)]
        self.patch_embedding = PatchEmbedding(in_channels, width)
        self.stages = nn.ModuleList(Stage(w, h, window) for w, h, window in zip(widths, heads, windows, strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths)
        self.downs = nn.ModuleList(Down(w) for w in widths[:-1])

    def forward(self, image: Tensor, scales: Sequence[Scales | None]) -> list[Tensor]:
        """image: (B, channels, D, H, W); skips: (B, *S, C), …, (B, *S/8, 8C)."""
        x, skips = self.patch_embedding(image), []
        for i, stage in enumerate(self.stages):
            x = stage(x, scales[BLOCKS * i : BLOCKS * (i + 1)])
            skips.append(self.norms[i](x))
            if i < STAGES - 1:
                x = self.downs[i](x)  # from the map before its norm, as upstream
        return skips


class Heads(nn.Module):
    """One transposed convolution a decoder map -> logits, fine to coarse (deep supervision)."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ConvTranspose3d(width * 2**stage, classes, PATCH, stride=PATCH) for stage in range(3)
        )

    def forward(self, maps: Sequence[Tensor], size: Sequence[int], only_finest: bool = False) -> list[Tensor]:
        """maps: coarse to fine. Logits (B, Z, *size), then half and quarter of it, far ends cropped."""
        logits = []
        for stage, layer in enumerate(self.layers[:1] if only_finest else self.layers):
            d, h, w = (-(-s // 2**stage) for s in size)
            logits.append(blocks_of(layer, maps[-1 - stage], "first")[:, :, :d, :h, :w])
        return logits


class NNFormer(Transformer):
    """The whole backbone. ``size`` is that of the images that windows and bias tables are made for.

    ``stochastic_depth``: rising to this rate in the encoder and again in the decoder. Raises ValueError where a
    width is no multiple of its heads.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        classes: int,
        width: int,
        heads: Sequence[int],
        windows: Sequence[int],
        stochastic_depth: float = 0.0,
    ):
        super().__init__(width, [stochastic_depth * i / last for last in (7, 5) for i in range(last + 1)])
        clamped = stage_windows(windows, tuple(-(-s // p) for s, p in zip(size, PATCH, strict=True)))
        # The decoder's windows mirror the encoder's, whose third stage has the largest.
        self.decoder = Decoder(DecoderStage(width * 2**i, heads[i], clamped[i]) for i in (2, 1, 0))
        self.heads = Heads(width, classes)
        self.encoder = Encoder(channels, width, heads, clamped)
