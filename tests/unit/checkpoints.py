"""Swin Transformer state dicts of random values, in the layouts that released checkpoints have."""

from __future__ import annotations

import re

import torch


def swin_state(width, heads, window=7, depths=(2, 2, 3, 2), classes=10, empty=False):
    """Microsoft's layout. ``empty``: the shapes alone, one number a tensor, for large widths."""
    shapes = {"patch_embed.proj.weight": (width, 3, 4, 4), "patch_embed.proj.bias": (width,)}
    shapes |= _norm("patch_embed.norm", width)
    for i, depth in enumerate(depths):
        w = width * 2**i
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            shapes |= _norm(f"{block}.norm1", w) | _norm(f"{block}.norm2", w)
            shapes |= _linear(f"{block}.attn.qkv", 3 * w, w) | _linear(f"{block}.attn.proj", w, w)
            shapes |= _linear(f"{block}.mlp.fc1", 4 * w, w) | _linear(f"{block}.mlp.fc2", w, 4 * w)
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads[i])
            shapes[f"{block}.attn.relative_position_index"] = (window**2, window**2)
            if j % 2 and i < 3:
                shapes[f"{block}.attn_mask"] = (4 ** (3 - i), window**2, window**2)
        if i < 3:
            shapes |= _norm(f"layers.{i}.downsample.norm", 4 * w)
            shapes[f"layers.{i}.downsample.reduction.weight"] = (2 * w, 4 * w)
    shapes |= _norm("norm", 8 * width) | _linear("head", classes, 8 * width)
    generator = torch.Generator().manual_seed(0)
    if empty:
        return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def newer_timm(state):
    """timm 0.9 and later: down-sampling at the start of the next stage, head.fc, no buffers."""
    renamed = {}
    for name, value in state.items():
        if not name.endswith(("relative_position_index", "attn_mask")):
            name = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
            renamed[re.sub(r"^head\.", "head.fc.", name)] = value
    return renamed


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
