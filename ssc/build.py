"""The network of a task: a variant of the paper, or the control that the paper lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssc import matrix
from ssc.models.network import Network
from ssc.models.unet import PlainUNet


def build_network(
    task: str, modalities: Sequence[str], flags: dict[str, bool], settings: dict[str, Any]
) -> Network | PlainUNet:
    """An untrained network, for ``initialise`` or for a state to be loaded into."""
    row = matrix.tasks()[task]
    shape = row.backbone, row.spatial_dims, row.classes, modalities
    return PlainUNet(*shape, settings["width"]) if flags["unet"] else Network(*shape, flags, settings)
