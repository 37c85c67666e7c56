"""Swin-Unet (Cao et al., 2021; the authors' network) in 2D, as an encoder, a decoder and heads.

Equal to the authors' network wherever that runs. It refuses planes that its windows do not divide; here
planes and odd maps are padded with zeros at the far end, and the decoder crops to its skip. Linear layers start
as PyTorch's: the authors' normal(0, 0.02), made for width 96, lets next to nothing through narrow layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssc.models.backbones.transformer import BLOCKS, STAGES, Decoder, Stage, Transformer, channels_first, stage_windows
from ssc.models.backbones.windows import Scales, Size

PATCH = 4


class PatchEmbedding(nn.Module):
    """One convolution a patch, image (B, 3, H, W) -> tokens (B, H/4, W/4, C)."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        x = _pad_to_multiple(image.movedim(1, -1), PATCH)
        return self.norm(channels_first(self.conv, x))


class Merge(nn.Module):
    """Four neighbours to one token: (B, H, W, C) -> (B, ⌈H/2⌉, ⌈W/2⌉, 2C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_to_multiple(x, 2)
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c)
        x = x.permute(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)  # neighbours column by column
        return self.reduction(self.norm(x))


class Expand(nn.Module):
    """One token to factor² tokens: (B, H, W, C) -> (B, factor·H, factor·W, out_width)."""

    def __init__(self, width: int, factor: int, out_width: int):
        super().__init__()
        self.factor = factor
        self.expansion = nn.Linear(width, factor**2 * out_width, bias=False)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        f = self.factor
        x = self.expansion(x).view(b, h, w, f, f, -1)
        return self.norm(x.transpose(2, 3).reshape(b, f * h, f * w, -1))


class DecoderStage(nn.Module):
    """Expansion, the skip beside it, a linear layer back to the width, two blocks."""

    def __init__(self, width: int, heads: int, window: Size):
        super().__init__()
        self.expand = Expand(2 * width, 2, width)
        self.fuse = nn.Linear(2 * width, width)
        self.stage = Stage(width, heads, window)

    def forward(self, x: Tensor, skip: Tensor, scales: Sequence[Scales | None]) -> Tensor:
        _, h, w, _ = skip.shape
        x = torch.cat([self.expand(x)[:, :h, :w], skip], dim=-1)  # (B, H, W, 2C)
        return self.stage(self.fuse(x), scales)


class Encoder(nn.Module):
    """Image -> four skips, fine to coarse: what enters the first three stages, and the normalised bottleneck."""

    def __init__(self, in_channels: int, width: int, heads: Sequence[int], windows: Sequence[Size]):
        super().__init__()
        widths = [width * 2**stage for stage in range(STAGES)]
        self.patch_embedding = PatchEmbedding(in_channels, width)
        self.stages = nn.ModuleList(Stage(w, h, window) for w, h, window in zip(widths, heads, windows, strict=True))
        self.merges = nn.ModuleList(Merge(w) for w in widths[:-1])
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, image: Tensor, scales: Sequence[Scales | None]) -> list[Tensor]:
        """image: (B, channels, H, W); skips: (B, H/4, W/4, C), …, (B, H/32, W/32, 8C)."""
        x, skips = self.patch_embedding(image), []
        for i, stage in enumerate(self.stages):
            skips.append(x)
            x = stage(x, scales[BLOCKS * i : BLOCKS * (i + 1)])
            if i < STAGES - 1:
                x = self.merges[i](x)
        return [*skips[:-1], self.norm(x)]


class Heads(nn.Module):
    """The finest decoder map, expanded to the image's grid -> logits."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = Expand(width, PATCH, width)
        self.output = nn.Conv2d(width, classes, 1, bias=False)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int], only_finest: bool = False) -> list[Tensor]:
        """maps: coarse to fine. One map of logits (B, Z, *size), far ends cropped, with ``only_finest`` or not."""
        h, w = size
        x = self.expand(self.norm(maps[-1]))[:, :h, :w]
        return [self.output(x.movedim(-1, 1))]


class SwinUnet(Transformer):
    """The whole backbone. ``size`` is the plane that windows and bias tables are made for.

    ``stochastic_depth``: rising to this rate in the encoder; the decoder mirrors its stages. Raises ValueError where
    a width is no multiple of its heads.
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
        super().__init__(width, [stochastic_depth * i / 7 for i in (0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 2, 3, 0, 1)])
        clamped = stage_windows(windows, tuple(-(-s // PATCH) for s in size))
        self.decoder = Decoder(DecoderStage(width * 2**i, heads[i], clamped[i]) for i in (2, 1, 0))
        self.heads = Heads(width, classes)
        self.encoder = Encoder(channels, width, heads, clamped)


def _pad_to_multiple(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) with zeros at the far end of H and W up to a multiple of ``factor``."""
    _, h, w, _ = x.shape
    extra = -h % factor, -w % factor
    return F.pad(x, (0, 0, 0, extra[1], 0, extra[0])) if any(extra) else x
