"""Typed settings. ``config/config.yaml`` is written from this file; unknown keys are refused.

A description that ends in "(assumed)" marks a value that the paper does not print: this project's choice.
Axes are always in the order of the tensors, D, H, W: slices first, then the plane. Loads no torch.
"""

from __future__ import annotations

import difflib
import hashlib
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, field_validator, model_validator

from ssc import matrix
from ssc.errors import SettingsError

Data = Literal["phantom", "real"]
Scale = Literal["smoke", "small", "paper"]
Triple = tuple[int, int, int]


class Strict(BaseModel):
    """Settings that refuse unknown keys and cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    gamma: tuple[float, float] = Field((0.7, 1.5), description="exponent of the contrast curve (assumed)")
    noise: float = Field(0.1, ge=0, description="largest standard deviation of Gaussian noise (assumed)")
    class_ratios: tuple[float, ...] = Field(
        (0.5, 1.0, 2.0, 1.5, 1.5),
        description="how often a crop is centred on background, then on each structure (assumed)",
    )


class Preset(Strict):
    """Everything that depends on data and scale. All values are this project's choice unless said."""

    spacing_mm: tuple[float, float, float] = Field(description="voxel of a preprocessed case, D H W")
    plane: int = Field(gt=0, description="voxels of a preprocessed slice, both axes")
    crop: Triple = Field(description="training crop and inference window, D H W voxels")
    width: int = Field(gt=0, description="channels C of the first stage (paper scale: 192, from Table 3)")
    heads: tuple[int, int, int, int] = Field(description="attention heads of the four encoder stages")
    windows: tuple[int, int, int, int] = Field(description="attention window of the four encoder stages")
    eam_heads: int = Field(gt=0, description="heads N of the External Attention Modules")
    stochastic_depth: float = Field(ge=0, lt=1, description="largest rate at which a residual branch is dropped")
    images: int = Field(gt=0, description="images of each modality in a batch")
    steps: int = Field(gt=0, description="optimiser steps of a run of the five draws")
    development_steps: int = Field(gt=0, description="optimiser steps of a run of the development split")
    schedule: Literal["one_cycle", "cosine"] = Field(description="course of the learning rate")
    learning_rate: float = Field(gt=0, description="its peak")
    warm_up: float = Field(ge=0, lt=1, description="share of the steps before the peak")
    beta2: float = Field(gt=0, lt=1, description="second-moment decay of AdamW")
    weight_decay: float = Field(ge=0, description="of AdamW, on matrices only")
    clip: float = Field(gt=0, description="largest gradient norm")
    augmentation: float = Field(ge=0, description="strength: factor on rotation, scaling, intensity and noise")
    development_augmentation: float = Field(ge=0, description="the same for the development split")
    validations: int = Field(ge=0, description="how often the validation cases are scored during a run")
    save_every: int = Field(gt=0, description="steps between two saves of a run under way")
    overlap: float = Field(ge=0, lt=1, description="overlap of two inference windows")

    @model_validator(mode="after")
    def _fits(self) -> Preset:
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError(f"width {self.width}, doubled each stage, must be a multiple of the heads {self.heads}")
        if self.width % self.eam_heads:
            raise ValueError(f"width {self.width} must be a multiple of eam_heads {self.eam_heads}")
        if min(self.steps, self.development_steps) < 3:
            raise ValueError("a schedule needs at least 3 steps")
        return self


_SMALL = dict(
    width=16,
    heads=(1, 2, 4, 8),
    windows=(4, 4, 8, 4),
    eam_heads=4,
    stochastic_depth=0.0,
    images=1,
    schedule="one_cycle",
    warm_up=0.2,
    beta2=0.95,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    development_augmentation=1.0,
    validations=1,
    save_every=100,
    overlap=0.25,
)
_PAPER = Preset(
    spacing_mm=(8.0, 1.5, 1.5),
    plane=256,
    crop=(32, 192, 192),
    width=192,
    heads=(6, 12, 24, 48),
    windows=(4, 4, 8, 4),
    eam_heads=8,
    stochastic_depth=0.2,
    images=2,
    steps=40_000,
    development_steps=40_000,
    schedule="cosine",
    learning_rate=3e-4,
    warm_up=0.02,
    beta2=0.999,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    development_augmentation=1.0,
    validations=20,
    save_every=500,
    overlap=0.5,
)
_PHANTOM_GRID = dict(
    spacing_mm=(8.0, 6.0, 6.0), plane=64, learning_rate=1.2e-2, augmentation=0.4, development_augmentation=0.4
)
_REAL_GRID = dict(spacing_mm=(8.0, 4.0, 4.0), plane=96, learning_rate=6e-3)
_SMOKE = {**_SMALL, "width": 8, "steps": 10, "development_steps": 10, "save_every": 5, "overlap": 0.0}


class Scales(Strict):
    """One preset a scale."""

    smoke: Preset
    small: Preset
    paper: Preset = _PAPER


class Presets(Strict):
    """One row of scales for each kind of data."""

    phantom: Scales = Scales(
        smoke=Preset(**{**_SMOKE, **_PHANTOM_GRID}, crop=(16, 32, 32)),
        small=Preset(**{**_SMALL, **_PHANTOM_GRID}, crop=(16, 48, 64), steps=330, development_steps=330),
    )
    real: Scales = Scales(
        smoke=Preset(**{**_SMOKE, **_REAL_GRID}, crop=(16, 64, 64)),
        small=Preset(
            **{
                **_SMALL,
                **_REAL_GRID,
                "development_augmentation": 1.5,
                "save_every": 200,
                "overlap": 0.5,
                "validations": 2,
            },
            crop=(16, 64, 64),
            steps=3_000,
            development_steps=7_500,
        ),
    )


class Settings(Strict):
    """The whole configuration."""

    data: Data = Field("phantom", description="phantom: embedded, made by the workflow; real: BTCV and CHAOS")
    scale: Scale = Field("small", description="smoke: seconds a run; small: minutes on a CPU; paper: a large GPU")
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1, description="every run is trained once for each seed")
    btcv: str = Field("data/real/btcv", description="folder that holds RawData/Training (needs an account)")
    chaos: str | None = Field(
        None, description="folder that holds Train_Sets/MR; null: the workflow downloads it (0.9 GB)"
    )
    ct_window_hu: tuple[float, float] = Field((-125.0, 275.0), description="CT is clipped to this (assumed)")
    mri_percentiles: tuple[float, float] = Field(
        (0.5, 99.5), description="MRI is clipped to these percentiles of its non-zero voxels (assumed)"
    )
    losses: Losses = Field(Losses(), description=Losses.__doc__)
    method: Method = Field(Method(), description=Method.__doc__)
    augmentation: Augmentation = Field(Augmentation(), description=Augmentation.__doc__)
    presets: Presets = Field(Presets(), description=Preset.__doc__)

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands there twice: its results would count twice")
        return seeds

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """Settings from a mapping, e.g. Snakemake's config. Raises SettingsError in one line."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    def preset_of(self, data: Data, scale: Scale) -> Preset:
        """The preset of any data and scale."""
        return getattr(getattr(self.presets, data), scale)


def _explain(error: ValidationError) -> str:
    """The first fault of a configuration, with the nearest known name for an unknown key."""
    fault = error.errors()[0]
    path, name = ".".join(map(str, fault["loc"])), str(fault["loc"][-1])
    if fault["type"] != "extra_forbidden":
        return f"configuration: {path} = {fault['input']!r}: {fault['msg']}. See config/config.yaml."
    model: Any = Settings
    for part in fault["loc"][:-1]:
        model = _model_in(model.model_fields[part].annotation)
    near = difflib.get_close_matches(name, model.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(model.model_fields)}."
    return f"configuration: unknown key '{path}'; {hint} See config/config.yaml."


def _model_in(annotation: Any) -> type[BaseModel]:
    return next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))


class RunSettings(Strict):
    """What decides one training, and nothing that it does not use (those are None)."""

    key: str
    structures: list[str]
    cases: dict[str, dict[str, list[str]]]
    steps: int
    augmentation_strength: float
    flags: dict[str, bool]
    network: dict[str, Any]
    optimiser: dict[str, Any]
    sampling: dict[str, Any]
    losses: dict[str, Any]
    code: str


NETWORK_KEYS = ("crop", "width", "heads", "windows", "stochastic_depth")
OPTIMISER_KEYS = ("schedule", "learning_rate", "warm_up", "beta2", "weight_decay", "clip", "validations", "save_every")
TRAINING_CODE = ("ssc/models", "ssc/losses.py", "ssc/training.py", "ssc/data")


def run_settings(settings: Settings, run: matrix.Run) -> RunSettings:
    """The settings of one run: a changed value appears only in the runs that use it."""
    preset, variant = settings.preset_of(run.data, run.scale), matrix.variants()[run.variant]
    split, development = matrix.splits()[run.task][run.split], run.split == matrix.DEVELOPMENT
    losses, method = settings.losses, settings.method
    network = {key: getattr(preset, key) for key in NETWORK_KEYS}
    network |= {"eam_heads": preset.eam_heads, "map_scale": method.map_scale} if variant.eam else {}
    network |= {"modulation": method.modulation} if variant.modulation else {}
    weights = {"alpha": losses.alpha, "aux_target": losses.aux_target} if variant.eam else {}
    weights |= {"beta": losses.beta} if variant.mcr else {}
    weights |= {"gamma": losses.gamma, "tau": losses.tau} if variant.icr else {}
    return RunSettings(
        key=run.key,
        structures=[structure.name for structure in matrix.tasks()[run.task].structures],
        cases={m: {part: split[m][part] for part in ("train", "validation")} for m in run.modalities},
        steps=preset.development_steps if development else preset.steps,
        augmentation_strength=preset.development_augmentation if development else preset.augmentation,
        flags=variant.flags(),
        network=network,
        optimiser={key: getattr(preset, key) for key in OPTIMISER_KEYS},
        sampling={"crop": preset.crop, "images": preset.images, **settings.augmentation.model_dump()},
        losses=weights,
        code=fingerprint(*TRAINING_CODE),
    )


def fingerprint(*paths: str) -> str:
    """sha256 over the Python files of the given files and folders, relative to the project."""
    digest = hashlib.sha256()
    for path in sorted(p for top in paths for p in _python_files(matrix.ROOT / top)):
        digest.update(str(path.relative_to(matrix.ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _python_files(top: Path) -> Iterator[Path]:
    yield from [top] if top.is_file() else top.rglob("*.py")


def default_yaml() -> str:
    """The text of ``config/config.yaml``: every setting with its default and its meaning."""
    head = "# Written by `python -m ssc config` from ssc/config.py; edit values here, meanings there.\n"
    return head + "".join(_yaml_of(Settings(), indent=0))


def _yaml_of(model: BaseModel, indent: int) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value, pad = getattr(model, name), " " * indent
        if indent == 0:
            yield "\n"
        if isinstance(value, Presets):
            yield from _presets_yaml(value)
        elif isinstance(value, BaseModel):
            yield f"{pad}# {field.description}\n{pad}{name}:\n"
            yield from _yaml_of(value, indent + 2)
        else:
            choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
            suffix = f" [{' | '.join(choices)}]" if choices else ""
            yield f"{pad}# {field.description}{suffix}\n{pad}{name}: {_scalar(value)}\n"


def _presets_yaml(presets: Presets) -> Iterator[str]:
    yield f"# {Preset.__doc__}\n"
    for name, field in Preset.model_fields.items():
        yield f"#   {name}: {field.description}\n"
    yield "presets:\n"
    for data, scales in presets:
        yield f"  {data}:\n"
        for scale, preset in scales:
            yield f"    {scale}:\n"
            yield textwrap.indent("".join(f"{name}: {_scalar(value)}\n" for name, value in preset), " " * 6)


def _scalar(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
