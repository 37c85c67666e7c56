"""Weights from a formula, as the golden files were made, under the names of the official networks."""

from __future__ import annotations

import re
import zlib

import numpy as np
import torch


def golden_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight that the golden files use for an official key and shape."""
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("relative_position_bias_table"):
        value = 0.5 * normal
    elif key.endswith("bias"):
        value = 0.1 * normal
    elif len(shape) == 1:
        value = 1 + 0.2 * normal
    elif key.endswith(".up.weight"):  # transposed convolution, its kernel as large as its stride
        value = normal / np.sqrt(shape[0])
    else:
        value = normal / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


def official_nnformer_name(name: str) -> str:
    """The official state-dict key of one of our nnFormer parameters."""
    rules = [
        (r"^encoder\.patch_embedding\.(conv|norm)([12])\.", r"model_down.patch_embed.proj1.\1\2."),
        (r"^encoder\.patch_embedding\.conv3\.", r"model_down.patch_embed.proj2.conv1."),
        (r"^encoder\.patch_embedding\.conv4\.", r"model_down.patch_embed.proj2.conv2."),
        (r"^encoder\.patch_embedding\.norm3\.", r"model_down.patch_embed.proj2.norm1."),
        (r"^encoder\.patch_embedding\.norm4\.", r"model_down.patch_embed.norm."),
        (r"^encoder\.stages\.", r"model_down.layers."),
        (r"^encoder\.norms\.(\d)", r"model_down.norm\1"),
        (r"^encoder\.downs\.(\d)\.norm", r"model_down.layers.\1.downsample.norm"),
        (r"^encoder\.downs\.(\d)\.conv", r"model_down.layers.\1.downsample.reduction"),
        (r"^decoder\.stages\.(\d)\.", lambda m: f"decoder.layers.{2 - int(m[1])}."),  # finest first upstream
        (r"\.up\.norm", r".Upsample.norm"),
        (r"\.up\.conv", r".Upsample.up"),
        (r"\.cross\.attention\.qkv", r".blocks.0.attn.kv"),
        (r"\.cross\.", r".blocks.0."),
        (r"^(decoder\.layers\.\d)\.block\.", r"\1.blocks.1."),
        (r"^heads\.layers\.(\d)", r"final.\1.up"),
    ]
    return _rename(name, rules + BLOCK_RULES)


def official_swin_unet_name(name: str) -> str:
    """The official state-dict key of one of our Swin-Unet parameters."""
    rules = [
        (r"^encoder\.patch_embedding\.conv", r"patch_embed.proj"),
        (r"^encoder\.patch_embedding\.norm", r"patch_embed.norm"),
        (r"^encoder\.stages\.", r"layers."),
        (r"^encoder\.merges\.(\d)", r"layers.\1.downsample"),
        (r"^encoder\.norm\.", r"norm."),
        (r"^decoder\.stages\.0\.expand\.", r"layers_up.0."),  # upstream a stage of its own
        (r"^decoder\.stages\.(\d)\.expand\.", r"layers_up.\1.upsample."),  # upstream the end of the stage before
        (r"^decoder\.stages\.(\d)\.fuse", lambda m: f"concat_back_dim.{int(m[1]) + 1}"),
        (r"^decoder\.stages\.(\d)\.stage", lambda m: f"layers_up.{int(m[1]) + 1}"),
        (r"^heads\.norm", r"norm_up"),
        (r"^heads\.expand\.", r"up."),
        (r"^heads\.output", r"output"),
        (r"\.expansion\.", r".expand."),
    ]
    return _rename(name, rules + BLOCK_RULES)


BLOCK_RULES = [
    (r"\.attention\.bias_table", r".attn.relative_position_bias_table"),
    (r"\.attention\.projection", r".attn.proj"),
    (r"\.attention\.", r".attn."),
    (r"\.mlp\.0", r".mlp.fc1"),
    (r"\.mlp\.2", r".mlp.fc2"),
]


def _rename(name, rules):
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
