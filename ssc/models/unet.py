"""A control that the paper lacks: MONAI's U-Net, trained on both modalities, with nothing of the method."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from ssc.models.network import BACKBONES, Output

LEVELS = 4


class PlainUNet(nn.Module):
    """A residual U-Net of the backbones' widths C … 8C, used as ``ssc.models.network.Network`` is.

    Every side of a crop must be a multiple of 8.
    """

    def __init__(self, backbone: str, spatial_dims: int, classes: int, modalities: Sequence[str], width: int):
        super().__init__()
        self.modalities, self.spatial_dims = tuple(modalities), spatial_dims
        widths, strides = [width * 2**level for level in range(LEVELS)], (LEVELS - 1) * [2]
        channels = BACKBONES[backbone].in_channels  # sees what the backbone would see
        self.layers = UNet(spatial_dims, channels, classes, widths, strides, num_res_units=2)
        self.class_embeddings = nn.ModuleDict()

    def forward(self, images: dict[str, Tensor], drop: None = None) -> dict[str, Output]:
        """images: modality -> (B, channels, *S). All modalities in one batch; logits (B, Z, *S) of one scale."""
        logits = self.layers(torch.cat(list(images.values()))).split([len(image) for image in images.values()])
        return {m: Output([own], None) for m, own in zip(images, logits, strict=True)}

    def predict(self, image: Tensor, modality: str) -> Tensor:
        """Logits (B, Z, *S); the modality makes no difference."""
        return self.layers(image)

    def draw_depth(self, counts: dict[str, int], seed: int, step: int) -> None:
        """No stochastic depth."""
