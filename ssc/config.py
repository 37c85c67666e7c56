"""Typed settings. ``config/config.yaml`` is written from this file; unknown keys are refused.

A description that ends in "(assumed)" marks a value that the paper does not print: this project's choice.
Axes are always in the order of the tensors, D, H, W: slices first, then the plane. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError, field_validator

from ssc.errors import SettingsError
from ssc.presets import Data, Init, Length, Scale, read_yaml
from ssc.settings import Strict, explain
from ssc.tasks import ROOT, Task, changed_task, sources, tasks


class Losses(Strict):
    """Weights and options of Eq. 9-12."""

    alpha: float = Field(0.4, ge=0, description="weight of the auxiliary loss, Eq. 12 (assumed)")
    beta: float = Field(0.1, ge=0, description="weight of the modality consistency, Eq. 12 (assumed)")
    gamma: float = Field(0.1, ge=0, description="weight of the image consistency, Eq. 12 (assumed)")
    tau: float = Field(4.0, gt=0, description="temperature of Eq. 11; the paper prints 4")
    aux_target: Literal["soft", "nearest"] = Field(
        "soft", description="label map on an auxiliary map's grid: class shares, or nearest voxel (assumed)"
    )


class Method(Strict):
    """Readings of the paper where its text leaves a choice."""

    map_scale: Literal["none", "sqrt_d"] = Field(
        "none", description="semantic-aware maps q·k as printed, or divided by √d"
    )
    modulation: Literal["residual", "literal"] = Field(
        "residual", description="Φ = 1 + ΩW, which starts V3 as V2 (assumed); literal: Φ = ΩW as printed"
    )


class Augmentation(Strict):
    """Random changes of a training crop at strength 1. No mirroring: it would swap the kidneys."""

    probability: float = Field(0.5, ge=0, le=1, description="chance of each change below (assumed)")
    rotation_deg: float = Field(15.0, ge=0, description="about the slice axis only, ± (assumed)")
    scaling: float = Field(0.15, ge=0, lt=1, description="size × 1 ± this (assumed)")
    intensity: float = Field(0.1, ge=0, description="intensity × 1 ± this and + ± this (assumed)")
    gamma: tuple[Length, Length] = Field((0.7, 1.5), description="exponent of the contrast curve (assumed)")
    noise: float = Field(0.1, ge=0, description="largest standard deviation of Gaussian noise (assumed)")


class Browser(Strict):
    """What the results browser holds."""

    scans: Literal["none", "cases"] = Field(
        "none", description="of real data: numbers and label maps alone, or the preprocessed scans too; phantoms always"
    )


class Settings(Strict):
    """The whole configuration."""

    data: Data = Field("phantom", description="phantom: embedded, made by the workflow; real: the archives below")
    scale: Scale = Field(
        "small",
        description="smoke: seconds per run; small: minutes on a CPU; medium: a 24 GB GPU, untried; paper: larger ones",
    )
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1, description="every run is trained once for each seed")
    btcv: str = Field("data/real/btcv", description="folder that holds RawData/Training (needs an account)")
    chaos: str | None = Field(
        None, description="folder that holds Train_Sets/MR; null: the workflow downloads it (0.9 GB)"
    )
    mmwhs: str = Field("data/real/mmwhs", description="folder that holds ct_train and mr_train (ask its organisers)")
    init: Init | None = Field(
        None, description="start of backbones that have an ImageNet checkpoint (others: random); null: as presets say"
    )
    swin_tiny: str | None = Field(
        None, description="ImageNet weights of Swin-T for Swin-Unet; null: the workflow downloads them (0.1 GB)"
    )
    swin_large: str | None = Field(None, description="ImageNet weights of Swin-L for nnFormer; no download is known")
    state: str = Field(
        "state",
        description="folder where trainings under way keep what they need to go on; a volume, where jobs run in pods",
    )
    tasks: dict[str, dict[str, Any]] = Field(
        {},
        description="box, presets or folders of a task instead of those in config/tasks, as YAML with the same keys",
    )
    folds: tuple[NonNegativeInt, ...] | None = Field(
        None, description="tables of these draws or folds alone, counted from 0; null: all of a table's"
    )
    browser: Browser = Field(Browser(), description=Browser.__doc__)
    losses: Losses = Field(Losses(), description=Losses.__doc__)
    method: Method = Field(Method(), description=Method.__doc__)
    augmentation: Augmentation = Field(Augmentation(), description=Augmentation.__doc__)

    @field_validator("btcv", "chaos", "mmwhs", "swin_tiny", "swin_large", "state")
    @classmethod
    def _home(cls, path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser())

    @field_validator("seeds", "folds")
    @classmethod
    def _different(cls, numbers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if numbers and len(set(numbers)) < len(numbers):
            raise ValueError("a number stands there twice: its results would count twice")
        return numbers

    @field_validator("tasks")
    @classmethod
    def _fit(cls, changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changed in changes.items():
            changed_task(name, changed)
        return changes

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """Settings from a mapping, e.g. Snakemake's config. Raises SettingsError in one line."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(f"configuration: {explain(error, cls)} See config/config.yaml.") from None

    @classmethod
    def of_file(cls) -> Settings:
        """Those of ``config/config.yaml``. Raises SettingsError in one line."""
        return cls.read(read_yaml(ROOT / "config/config.yaml"))

    def task(self, name: str) -> Task:
        """A task as this configuration has it."""
        return changed_task(name, self.tasks[name]) if name in self.tasks else tasks()[name]

    def raw_folder(self, data: Data, source: str) -> str:
        """Where some raw scans lie."""
        if data == "phantom":
            return f"data/phantom/{source}"
        task, modality = sources()[source]
        own = self.task(task).modalities[modality].folder
        if own:
            return str(Path(own).expanduser())
        setting = source.partition("_")[0]  # both parts of MM-WHS lie in one folder
        return getattr(self, setting) or f"data/real/{setting}"

    def data_of(self, task: str) -> Data:
        """The kind of data that a task's results are of: a user's own task has no phantoms."""
        return self.data if self.data in tasks()[task].presets else next(iter(tasks()[task].presets))


def default_yaml() -> str:
    """The text of ``config/config.yaml``: every setting with its default and its meaning."""
    head = "# Written by `python -m ssc config` from ssc/config.py; edit values here, meanings there.\n"
    return head + "".join(_yaml_of(Settings(), indent=0))


def _yaml_of(model: BaseModel, indent: int) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value, pad = getattr(model, name), " " * indent
        if indent == 0:
            yield "\n"
        if isinstance(value, BaseModel):
            yield f"{pad}# {field.description}\n{pad}{name}:\n"
            yield from _yaml_of(value, indent + 2)
        else:
            choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
            suffix = f" [{' | '.join(choices)}]" if choices else ""
            yield f"{pad}# {field.description}{suffix}\n{pad}{name}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "{ " + ", ".join(f"{name}: {_scalar(own)}" for name, own in value) + " }"
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
