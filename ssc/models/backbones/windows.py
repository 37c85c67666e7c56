"""Transformer blocks with attention inside shifted windows, for 2D and 3D maps alike.

Maps are channels-last, (B, *S, C) with S = (H, W) or (D, H, W). Reference: Liu et al., Swin Transformer,
2021; nnFormer's reading of it in 3D (Zhou et al., 2021). Window and shift are clamped axis by axis, so that
thin volumes keep their in-plane windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssc.models.mlp import Mlp

Size = tuple[int, ...]
Scales = tuple[Tensor, Tensor]  # factors of a block's two residual branches, each (B, 1, …, 1, C)


def window_partition(x: Tensor, window: Size, parts: int, heads: int) -> Tensor:
    """(B, *S, parts·C) -> (parts, B·windows·heads, n, C/heads) in one copy; n = prod(window), which divides S."""
    dims = len(window)
    split = [n for s, w in zip(x.shape[1:-1], window, strict=True) for n in (s // w, w)]
    counts, places = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    part, head, channel = range(2 * dims + 1, 2 * dims + 4)
    x = x.reshape(len(x), *split, parts, heads, x.shape[-1] // (parts * heads))
    return x.permute(part, 0, *counts, head, *places, channel).reshape(parts, -1, prod(window), x.shape[-1])


def window_reverse(windows: Tensor, window: Size, size: Size, heads: int) -> Tensor:
    """The way back of one part: (B·windows·heads, n, C/heads) -> (B, *size, C)."""
    dims = len(window)
    counts = [s // w for s, w in zip(size, window, strict=True)]
    x = windows.reshape(-1, *counts, heads, *window, windows.shape[-1])
    pairs = (axis for d in range(dims) for axis in (1 + d, 2 + dims + d))
    return x.permute(0, *pairs, 1 + dims, 2 + 2 * dims).reshape(-1, *size, heads * windows.shape[-1])


@cache
@torch.inference_mode(False)  # a tensor kept from inference must serve training too
def relative_position_index(window: Size, table_window: Size, device: torch.device) -> Tensor:
    """Row of the bias table for each (query, key) pair of a window: (n, n), row-major in the axes.

    The table holds one row for each offset -(w-1) … w-1 per axis, w of ``table_window``.
    """
    places = torch.cartesian_prod(*(torch.arange(w) for w in window)).reshape(-1, len(window))
    offsets = places[:, None] - places[None] + torch.tensor(table_window) - 1
    index = torch.zeros(offsets.shape[:2], dtype=torch.long)
    for axis, w in enumerate(table_window):
        index = index * (2 * w - 1) + offsets[..., axis]
    return index.to(device)


@cache
@torch.inference_mode(False)
def shift_mask(size: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    """(windows, n, n): 0 where two tokens of a rolled map are neighbours in truth, else -100."""
    regions = torch.zeros(1, *size, 1)
    bands = [
        (slice(0, -w), slice(-w, -s), slice(-s, None)) if s else (slice(None),)
        for w, s in zip(window, shift, strict=True)
    ]
    for number, band in enumerate(itertools.product(*bands)):
        regions[(0, *band)] = number
    regions = window_partition(regions, window, 1, 1)[0, ..., 0]  # (windows, n)
    return (regions[:, None] != regions[:, :, None]).float().mul(-100.0).to(device)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows with a relative position bias.

    ``cross``: queries are the normalised map itself, without a projection, keys and values come from a
    second map (nnFormer's decoder). Zero padding up to a window multiple takes part, as upstream.
    """

    def __init__(self, width: int, heads: int, window: Size, shifted: bool = False, cross: bool = False):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of {heads} heads")
        self.heads, self.window, self.shifted, self.cross = heads, tuple(window), shifted, cross
        self.qkv = nn.Linear(width, 2 * width if cross else 3 * width)
        self.projection = nn.Linear(width, width)
        self.bias_table = nn.Parameter(torch.empty(prod(2 * w - 1 for w in window), heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x, context: (B, *S, C) -> (B, *S, C)."""
        _, *size, _ = x.shape
        window = tuple(min(w, s) for w, s in zip(self.window, size, strict=True))
        shift = tuple(w // 2 if self.shifted and s > w else 0 for w, s in zip(self.window, size, strict=True))
        padded = tuple(-(-s // w) * w for s, w in zip(size, window, strict=True))
        x = _rolled(x, shift, padded)
        if self.cross:
            (query,) = window_partition(x, window, 1, self.heads)
            key, value = window_partition(self.qkv(_rolled(context, shift, padded)), window, 2, self.heads)
        else:
            query, key, value = window_partition(self.qkv(x), window, 3, self.heads)
        # By hand: torch's scaled_dot_product_attention has no quick way for a bias that learns on a CPU.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)  # (B·windows·heads, n, n)
        scores = scores.view(len(x), -1, self.heads, *scores.shape[1:]) + self._bias(window)
        if any(shift):
            scores = scores + shift_mask(padded, window, shift, x.device)[:, None]
        mixed = scores.softmax(dim=-1).flatten(0, 2) @ value
        mixed = window_reverse(mixed, window, padded, self.heads)
        if any(shift):
            mixed = mixed.roll(shift, dims=list(range(1, len(shift) + 1)))
        return self.projection(mixed[(slice(None), *(slice(s) for s in size))])

    def _bias(self, window: Size) -> Tensor:
        """(heads, n, n): a bias for each pair of positions in a window."""
        index = relative_position_index(window, self.window, self.bias_table.device)
        # A gather: the backward of an index, or of an embedding, takes three times as long.
        return self.bias_table.t().gather(1, index.view(1, -1).expand(self.heads, -1)).view(-1, *index.shape)


def _rolled(x: Tensor, shift: Size, padded: Size) -> Tensor:
    """(B, *S, C) -> (B, *padded, C): zeros at the far end, then rolled back by the shift."""
    size = x.shape[1:-1]
    if padded != tuple(size):
        x = F.pad(x, [0, 0, *(n for p, s in zip(padded[::-1], size[::-1], strict=True) for n in (0, p - s))])
    return x.roll([-s for s in shift], dims=list(range(1, len(shift) + 1))) if any(shift) else x


class Block(nn.Module):
    """A Transformer block: attention and MLP, each a residual branch after a layer norm (Eq. 14-15)."""

    def __init__(self, width: int, heads: int, window: Size, shifted: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window, shifted)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, scales: Scales | None = None) -> Tensor:
        """x: (B, *S, C) -> (B, *S, C). ``scales`` multiply the two branches."""
        x = _add(x, self.attention(self.norm1(x)), scales, 0)
        return _add(x, self.mlp(self.norm2(x)), scales, 1)


class CrossBlock(nn.Module):
    """A block whose queries come from the decoder and whose keys and values come from the skip."""

    def __init__(self, width: int, heads: int, window: Size):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)  # one norm for both sources, as upstream
        self.attention = WindowAttention(width, heads, window, cross=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, skip: Tensor, scales: Scales | None = None) -> Tensor:
        """x, skip: (B, *S, C) -> (B, *S, C); the residual path is their sum."""
        mixed = self.attention(self.norm1(x), self.norm1(skip))
        x = _add(x + skip, mixed, scales, 0)
        return _add(x, self.mlp(self.norm2(x)), scales, 1)


def _add(x: Tensor, branch: Tensor, scales: Scales | None, which: int) -> Tensor:
    return x + branch if scales is None else torch.addcmul(x, scales[which], branch)


def clamp_window(window: int, size: Sequence[int]) -> Size:
    """The window of a map: ``window`` along each axis, or the whole axis where that is shorter."""
    return tuple(min(window, s) for s in size)
