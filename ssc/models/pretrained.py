"""ImageNet initialisation: a Swin Transformer's weights into a network, with a report of every parameter.

The encoder takes the first two blocks of each stage, the decoder those of the stage of its resolution.
Swin-Unet takes Swin-T (width 96), nnFormer at width 192 the attention and MLPs of Swin-L.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssc.errors import RunError
from ssc.models.backbones.windows import Size
from ssc.models.network import Network, shared_name

MEND = "Give another file, or set init=random"
SMALL_PARTS = {
    "encoder.patch_embedding.conv.": "patch_embed.proj.",
    "encoder.patch_embedding.norm.": "patch_embed.norm.",
    "encoder.norm.": "norm.",
}
IN_A_BLOCK = {
    "attention.bias_table": "attn.relative_position_bias_table",
    "attention.projection": "attn.proj",
    "attention.qkv": "attn.qkv",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
DECODER_BLOCKS = {"cross": "blocks.0", "block": "blocks.1"}  # nnFormer's: the second one is shifted, as in Swin
CROSS = ".cross.attention.qkv."


@dataclass(frozen=True)
class Checkpoint:
    """A file to download, its size in bytes."""

    address: str
    size: int
    sha256: str


# By backbone. Of Swin-L no checksum is known to us: its file is the user's.
CHECKPOINTS = {
    "swin_unet": Checkpoint(
        address="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth",
        size=114_342_173,
        sha256="9f71c168d837d1b99dd1dc29e14990a7a9e8bdc5f673d46b04fe36fe15590ad3",
    )
}


class Row(NamedTuple):
    """What became of one parameter: ``source`` is the file's entry, '' where nothing fits."""

    parameter: str
    status: Literal["loaded", "resized", "random"]  # random: as it was before
    source: str


@dataclass
class Report:
    """A row for every parameter of the network, and the file's entries that went nowhere."""

    rows: list[Row]
    unused: list[str]


def load_imagenet(network: Network, path: Path) -> Report:
    """Copy a checkpoint's weights into an initialised network; all encoders of Joint V1 get the same.

    ``path``: .pth or .safetensors, with Microsoft's names or timm's. Raises RunError, and changes nothing,
    where an entry is missing or has another shape.
    """
    entries = _read(path)
    names = _microsoft_names(entries)
    rows, values = [], {}
    for name, parameter in network.named_parameters():
        wanted = _source(shared_name(name, network.modalities))
        if wanted is None:
            rows.append(Row(name, "random", ""))
            continue
        if wanted not in names:
            raise RunError(_not_swin(path, wanted, parameter, entries))
        source = names[wanted]
        expected = _expected_shape(name, parameter, entries[source])
        if entries[source].shape != expected:
            raise RunError(
                f"{path}: {source} has shape {tuple(entries[source].shape)}, expected {expected} for {name}. "
                f"Swin-Unet fits Swin-T (width 96), nnFormer Swin-L (width 192). {MEND}."
            )
        status, value = _fit(network, name, entries[source])
        rows.append(Row(name, status, "" if value is None else source))
        if value is not None:
            values[name] = value
    with torch.no_grad():
        for name, value in values.items():
            network.get_parameter(name).copy_(value)
    used = {row.source for row in rows}
    return Report(rows, [name for name in entries if name not in used])


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the file's names."""
    try:
        safe = path.suffix == ".safetensors"
        content = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path}: cannot be read as a checkpoint ({reason}). {MEND}.") from None
    content = content.get("model", content) if isinstance(content, dict) else {}
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _microsoft_names(entries: dict[str, Tensor]) -> dict[str, str]:
    """Microsoft's name of every entry -> the file's name.

    Old timm has the same names. Newer timm (0.9 and later) puts a down-sampling at the start of the next stage.
    """
    if "layers.3.downsample.reduction.weight" not in entries:
        return {name: name for name in entries}
    moved = re.compile(r"^layers\.(\d)\.downsample\.")
    return {moved.sub(lambda found: f"layers.{int(found[1]) - 1}.downsample.", name): name for name in entries}


def _source(name: str) -> str | None:
    """Microsoft's name of what a parameter starts from; None: Swin has nothing for it."""
    for ours, theirs in SMALL_PARTS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    if found := re.fullmatch(r"encoder\.merges\.(\d)\.(.+)", name):
        return f"layers.{found[1]}.downsample.{found[2]}"
    if found := re.fullmatch(r"(encoder|decoder)\.stages\.(\d)\.(?:stage\.)?(blocks\.\d|cross|block)\.(.+)", name):
        part, stage, block, rest = found.groups()
        number = int(stage) if part == "encoder" else 2 - int(stage)  # the decoder's first is its coarsest
        for ours, theirs in IN_A_BLOCK.items():
            rest = rest.replace(ours, theirs)
        return f"layers.{number}.{DECODER_BLOCKS.get(block, block)}.{rest}"
    return None


def _expected_shape(name: str, parameter: Tensor, value: Tensor) -> tuple[int, ...]:
    """The shape that ``value`` must have to serve a parameter."""
    rows, *others = parameter.shape
    if name.endswith("bias_table"):
        rows = isqrt(len(value)) ** 2  # any window, but a square one and our number of heads
    elif CROSS in name:
        rows = rows // 2 * 3
    return (rows, *others)


def _fit(network: Network, name: str, value: Tensor) -> tuple[str, Tensor | None]:
    """Status and value of a parameter."""
    if CROSS in name:
        return "loaded", value[len(value) // 3 :]  # rows of keys and values; its queries have no projection
    if not name.endswith("bias_table"):
        return "loaded", value
    window = network.get_submodule(name.rpartition(".")[0]).window
    if len(window) == 3:
        return "random", None  # the offsets of a plane say nothing about those of a volume
    if value.shape == network.get_parameter(name).shape:
        return "loaded", value
    return "resized", _resize_table(value, window)


def _resize_table(table: Tensor, window: Size) -> Tensor:
    """Position biases (offsets, heads) of a square window, bicubic for the offsets of another window."""
    side = isqrt(len(table))
    grid = table.T.reshape(1, -1, side, side).float()
    return F.interpolate(grid, size=[2 * w - 1 for w in window], mode="bicubic").flatten(2)[0].T


def _not_swin(path: Path, wanted: str, parameter: Tensor, entries: dict[str, Tensor]) -> str:
    found = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(entries.items())[:3]) or "no tensors"
    return (
        f"{path}: expected a Swin Transformer with Microsoft's or timm's names, e.g. {wanted} "
        f"{tuple(parameter.shape)}; found {found} …. {MEND}."
    )
