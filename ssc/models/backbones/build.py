"""A backbone from its settings: one of this project, or a network of an installed package."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from torch import nn

from ssc.errors import SettingsError
from ssc.models.backbones.base import Backbone
from ssc.models.backbones.parted import PerModality, with_own_norms
from ssc.models.backbones.tapped import Tapped
from ssc.settings import BackboneSettings, View


def build_backbone(settings: BackboneSettings, view: View, classes: int, modalities: Sequence[str]) -> Backbone:
    """An untrained backbone. Raises SettingsError where it can't be imported or refuses its arguments."""
    known = {
        "channels": view.channels,
        "classes": classes,
        "size": view.size,
        "spatial_dims": view.spatial_dims,
        "modalities": tuple(modalities),
    }
    arguments = {name: _filled(value, known) for name, value in settings.arguments.items()}
    made = _build(settings.build, arguments)
    if settings.norm_per_modality:
        made = with_own_norms(made, modalities)
        if not any(isinstance(module, PerModality) for module in made.modules()):
            raise SettingsError(f"backbone {settings.build}: norm_per_modality needs batch norms, and it has none")
    if isinstance(made, Backbone):
        return made
    return Tapped(made, view, settings.taps, settings.branches, settings.multiple_of)


def _filled(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in known:
            raise SettingsError(f"argument {value}: expected one of {', '.join(f'${name}' for name in known)}")
        return known[value[1:]]
    return value


def _build(path: str, arguments: dict[str, Any]) -> nn.Module:
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"backbone {path}: cannot be imported ({error})") from None
    try:
        return kind(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise SettingsError(f"backbone {path}: it refuses its arguments {arguments}: {error}") from None
