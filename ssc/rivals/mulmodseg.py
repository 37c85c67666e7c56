"""MulModSeg (Li et al., WACV 2025) without CLIP: a U-Net whose last layers are written by an image and a text code.

CLIP's vectors of a sentence naming modality and class are replaced by fixed ones with the sentences' structure, a part
shared by each modality and one by each class (docs/deviations.md).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssc.models.backbones.parted import Parted
from ssc.rivals.parted_unet import PartedUNet

FEATURES = 16  # of the U-Net's last layer
MAPS = 8  # that the written layers work on
TEXT, CODE = 512, 256
GROUPS = 16
SHAPES = ((MAPS, MAPS), (MAPS, MAPS), (1, MAPS))  # of the written 1×1 layers: outputs, inputs
WRITTEN = sum(o * i + o for o, i in SHAPES)  # 153 numbers a class and image


class MulModSeg(Parted):
    """U-Net and head; ``text``: the vectors of (modality, class) stay as drawn, or are learned from there."""

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        classes: int,
        widths: Sequence[int],
        modalities: Sequence[str],
        text: Literal["fixed", "learned"] = "fixed",
    ):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.unet = PartedUNet(spatial_dims, channels, FEATURES, widths)
        self.maps = nn.Sequential(nn.GroupNorm(GROUPS, FEATURES), nn.ReLU(), conv(FEATURES, MAPS, 1))
        self.image_code = nn.Sequential(nn.GroupNorm(GROUPS, widths[-1]), nn.ReLU())
        self.image_layer = nn.Linear(widths[-1], CODE)
        self.text_layer = nn.Linear(TEXT, CODE)
        self.writer = nn.Linear(2 * CODE, WRITTEN)
        self.modalities = tuple(modalities)
        vectors = torch.stack([_text(m, classes) for m in modalities])  # (M, Z, TEXT)
        if text == "fixed":
            self.register_buffer("text", vectors)
        else:
            self.text = nn.Parameter(vectors)

    def forward(self, image: Tensor) -> Tensor:
        features, deepest = self.unet.features(image)
        codes = self.image_layer(self.image_code(deepest).flatten(2).mean(dim=2))  # (B, CODE)
        counts = self.counts or {self.modalities[0]: len(image)}
        texts = torch.stack([self.text[self.modalities.index(m)] for m, n in counts.items() for _ in range(n)])
        texts = F.relu(self.text_layer(texts))  # (B, Z, CODE)
        written = self.writer(torch.cat([codes[:, None].expand_as(texts), texts], dim=2))  # (B, Z, WRITTEN)
        return _applied(written, self.maps(features))

    def keep(self, modality: str) -> None:
        place = self.modalities.index(modality)
        kept = self.text.detach()[place : place + 1]
        self.text = nn.Parameter(kept) if isinstance(self.text, nn.Parameter) else kept
        self.modalities = (modality,)


def _text(modality: str, classes: int) -> Tensor:
    """Vectors (Z, TEXT) of length 1: the same part in every class of a modality, and in a class of every modality."""
    parts = [_unit_vector(modality) + _unit_vector(f"class {value}") for value in range(classes)]
    return F.normalize(torch.stack(parts), dim=1)


def _unit_vector(name: str) -> Tensor:
    drawn = torch.randn(TEXT, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    return F.normalize(drawn, dim=0)


def _applied(written: Tensor, maps: Tensor) -> Tensor:
    """Each class's own three layers on the maps (B, MAPS, *S) -> logits (B, Z, *S)."""
    b, z, _ = written.shape
    x, start = maps.flatten(2)[:, None].expand(-1, z, -1, -1), 0  # (B, Z, MAPS, P)
    for number, (outputs, inputs) in enumerate(SHAPES):
        weight = written[..., start : start + outputs * inputs].view(b, z, outputs, inputs)
        start += outputs * inputs
        bias = written[..., start : start + outputs]
        start += outputs
        x = torch.einsum("bzoi,bzip->bzop", weight, x) + bias[..., None]
        x = F.relu(x) if number < len(SHAPES) - 1 else x
    return x.view(b, z, *maps.shape[2:])
