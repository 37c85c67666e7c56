"""What depends on task, data and scale: grids, crops, schedules. Loads no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from ssc.errors import SettingsError
from ssc.settings import Strict, explain, merged, nearest

ROOT = Path(__file__).resolve().parent.parent

Data = Literal["phantom", "real"]
Scale = Literal["smoke", "small", "medium", "paper"]
Init = Literal["random", "imagenet"]
Size = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]


class Regime(Strict):
    """How networks of 3D crops, or of 2D slices, are trained and applied; each key's meaning: config/scales.yaml."""

    crop: tuple[Size, Size, Size]
    images: int = Field(gt=0)
    steps: int = Field(ge=3)
    learning_rate: float = Field(gt=0)
    translation: int = Field(ge=0)
    validations: int = Field(ge=0)
    save_every: int = Field(gt=0)
    overlap: float = Field(ge=0, lt=1)


class Preset(Strict):
    """Everything that depends on data and scale; each key's meaning: config/scales.yaml."""

    spacing_mm: tuple[Length, Length, Length]
    plane: int = Field(gt=0)
    eam_heads: int = Field(gt=0)
    init: Init
    schedule: Literal["one_cycle", "cosine"]
    warm_up: float = Field(ge=0, lt=1)
    beta2: float = Field(gt=0, lt=1)
    weight_decay: float = Field(ge=0)
    clip: float = Field(gt=0)
    augmentation: float = Field(ge=0)
    class_ratios: tuple[float, ...]
    volumes: Regime
    slices: Regime

    @model_validator(mode="after")
    def _fits(self) -> Preset:
        if self.slices.crop[0] != 3:
            raise ValueError(f"slices.crop has {self.slices.crop[0]} slices, expected 3: the middle one is labelled")
        return self

    def regime(self, spatial_dims: int) -> Regime:
        """That of 3D or 2D backbones."""
        return self.volumes if spatial_dims == 3 else self.slices


def read_yaml(path: Path) -> dict[str, Any]:
    """A file of keys and values. Raises SettingsError in one line, with the line of a slip."""
    try:
        found = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)  # the other takes 0.2 s for the matrix
    except yaml.YAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise SettingsError(f"{path}{place}: no YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: expected keys and values")
    return found


@cache
def _scales() -> dict[Scale, dict[str, Any]]:
    """What every task has at a scale, unless its own row says otherwise."""
    return read_yaml(ROOT / "config/scales.yaml")


def preset(scale: str, own: dict[str, Any]) -> Preset:
    """A task's preset: its own row on top of the scale's. Raises SettingsError."""
    if scale not in _scales():
        raise SettingsError(f"scale '{scale}'; {nearest(scale, _scales())}")
    try:
        return Preset.model_validate(merged(_scales()[scale], own))
    except ValidationError as error:
        raise SettingsError(f"{scale}: {explain(error, Preset)}") from None
