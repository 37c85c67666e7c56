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


def window_partition(x: Tensor, window: Size) -> Tensor:
    """(B, *S, C) -> (B·windows, n, C), n = prod(window); S must be multiples of the window."""
    b, *size, c = x.shape
    dims = len(window)
    split = [n for s, w in zip(size, window, strict=True) for n in (s // w, w)]
    order = [0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1]
    return x.reshape(b, *split, c).permute(order).reshape(-1, prod(window), c)


def window_reverse(windows: Tensor, window: Size, size: Size) -> Tensor:
    """The inverse of ``window_partition``: (B·windows, n, C) -> (B, *size, C)."""
    dims, c = len(window), windows.shape[-1]
    counts = [s // w for s, w in zip(size, window, strict=True)]
    order = [0, *(axis for d in range(dims) for axis in (1 + d, 1 + dims + d)), 2 * dims + 1]
    return windows.reshape(-1, *counts, *window, c).permute(order).reshape(-1, *size, c)


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
    regions = window_partition(regions, window).squeeze(-1)  # (windows, n)
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
        query = self._windows(x, window, shift, padded)
        if self.cross:
            key, value = self.qkv(self._windows(context, window, shift, padded)).chunk(2, dim=-1)
        else:
            query, key, value = self.qkv(query).chunk(3, dim=-1)
        shape = (len(x), -1, query.shape[1], self.heads, query.shape[2] // self.heads)
        query, key, value = (t.view(shape).transpose(2, 3) for t in (query, key, value))  # (B, windows, heads, n, d)
        mixed = F.scaled_dot_product_attention(query, key, value, self._bias(window, shift, padded))
        mixed = self.projection(mixed.transpose(2, 3).flatten(3).flatten(0, 1))  # (B·windows, n, C)
        mixed = window_reverse(mixed, window, padded)
        if any(shift):
            mixed = mixed.roll(shift, dims=list(range(1, len(shift) + 1)))
        return mixed[(slice(None), *(slice(s) for s in size))]

    @staticmethod
    def _windows(x: Tensor, window: Size, shift: Size, padded: Size) -> Tensor:
        """Pad at the far end, roll by the shift, cut into windows."""
        size = x.shape[1:-1]
        if padded != tuple(size):
            x = F.pad(x, [0, 0, *(n for p, s in zip(padded[::-1], size[::-1], strict=True) for n in (0, p - s))])
        if any(shift):
            x = x.roll([-s for s in shift], dims=list(range(1, len(shift) + 1)))
        return window_partition(x, window)

    def _bias(self, window: Size, shift: Size, padded: Size) -> Tensor:
        """(heads, n, n), or (windows, heads, n, n): position bias, and the shift mask of a rolled map."""
        index = relative_position_index(window, self.window, self.bias_table.device)
        bias = self.bias_table[index].permute(2, 0, 1)  # (heads, n, n)
        return bias + shift_mask(padded, window, shift, bias.device)[:, None] if any(shift) else bias


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
