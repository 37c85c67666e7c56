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
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, ValidationError, field_validator

from ssc import matrix
from ssc.errors import SettingsError
from ssc.presets import Data, Init, Length, Preset, Presets, Scale, Strict


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError("the first must be less than the second")
    return pair


Window = Annotated[tuple[float, float], AfterValidator(_ascending)]
Percentile = Annotated[float, Field(ge=0, le=100)]
Percentiles = Annotated[tuple[Percentile, Percentile], AfterValidator(_ascending)]


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


class Settings(Strict):
    """The whole configuration."""

    data: Data = Field("phantom", description="phantom: embedded, made by the workflow; real: the archives below")
    scale: Scale = Field("small", description="smoke: seconds per run; small: minutes on a CPU; paper: a large GPU")
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1, description="every run is trained once for each seed")
    btcv: str = Field("data/real/btcv", description="folder that holds RawData/Training (needs an account)")
    chaos: str | None = Field(
        None, description="folder that holds Train_Sets/MR; null: the workflow downloads it (0.9 GB)"
    )
    mmwhs: str = Field("data/real/mmwhs", description="folder that holds ct_train and mr_train (ask its organisers)")
    init: Init | None = Field(None, description="start of every run's backbone; null: as its preset says")
    swin_tiny: str | None = Field(
        None, description="ImageNet weights of Swin-T for Swin-Unet; null: the workflow downloads them (0.1 GB)"
    )
    swin_large: str | None = Field(None, description="ImageNet weights of Swin-L for nnFormer; no download is known")
    ct_window_hu: Window = Field((-125.0, 275.0), description="CT is clipped to this (assumed)")
    mri_percentiles: Percentiles = Field(
        (0.5, 99.5), description="MRI is clipped to these percentiles of its non-zero voxels (assumed)"
    )
    heart_percentiles: Percentiles = Field(
        (0.0, 98.0), description="heart boxes are clipped to these percentiles; the paper removes the top 2 %"
    )
    heart_box: Literal["image", "paper"] = Field(
        "image", description="image: around the scan's centre; paper: around the label map, in test cases too"
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

    @field_validator("presets")
    @classmethod
    def _fit_their_task(cls, presets: Presets) -> Presets:
        for name, kinds in presets:
            task = matrix.tasks()[name]
            for place, preset in ((f"{name}.{data}.{scale}", p) for data, scales in kinds for scale, p in scales):
                if len(preset.class_ratios) != task.classes:
                    raise SettingsError(
                        f"configuration: presets.{place}.class_ratios has {len(preset.class_ratios)} values, "
                        f"expected {task.classes}: background and structures."
                    )
                if task.spatial_dims == 2 and preset.crop[0] != 3:
                    raise SettingsError(
                        f"configuration: presets.{place}.crop has {preset.crop[0]} slices, expected 3: a 2D network "
                        "labels the middle one."
                    )
        return presets

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """Settings from a mapping, e.g. Snakemake's config. Raises SettingsError in one line."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    def preset_of(self, task: str, data: Data, scale: Scale) -> Preset:
        """The preset of any task, data and scale."""
        return getattr(getattr(getattr(self.presets, task), data), scale)


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
    init: Init
    flags: dict[str, bool]
    network: dict[str, Any]
    optimiser: dict[str, Any]
    sampling: dict[str, Any]
    losses: dict[str, Any]
    code: str


UNET_KEYS = ("crop", "width")
NETWORK_KEYS = ("crop", "width", "heads", "windows", "stochastic_depth")
SAMPLING_KEYS = ("crop", "images", "translation", "class_ratios")
OPTIMISER_KEYS = ("schedule", "learning_rate", "warm_up", "beta2", "weight_decay", "clip", "validations", "save_every")
INDENT = " " * 10
# What turns cases into weights. Cases have fingerprints of their own, in the workflow (rules/common.smk).
TRAINING_CODE = ("ssc/build.py", "ssc/models", "ssc/losses.py", "ssc/training.py", "ssc/data/sampling.py")


def run_settings(settings: Settings, run: matrix.Run) -> RunSettings:
    """The settings of one run: a changed value appears only in the runs that use it."""
    preset, variant = settings.preset_of(run.task, run.data, run.scale), matrix.variants()[run.variant]
    losses, method = settings.losses, settings.method
    network = {key: getattr(preset, key) for key in (UNET_KEYS if variant.unet else NETWORK_KEYS)}
    network |= {"eam_heads": preset.eam_heads, "map_scale": method.map_scale} if variant.eam else {}
    network |= {"modulation": method.modulation} if variant.modulation else {}
    weights = {"alpha": losses.alpha, "aux_target": losses.aux_target} if variant.eam else {}
    weights |= {"beta": losses.beta} if variant.mcr else {}
    weights |= {"gamma": losses.gamma, "tau": variant.tau or losses.tau} if variant.icr else {}
    weights |= {"shuffled": True} if variant.shuffled else {}
    return RunSettings(
        key=run.key,
        structures=[structure.name for structure in matrix.tasks()[run.task].structures],
        cases={m: {part: parts[part] for part in ("train", "validation")} for m, parts in run.cases.items()},
        steps=preset.steps,
        augmentation_strength=preset.augmentation,
        init=settings.init or preset.init,
        flags=variant.flags(),
        network=network,
        optimiser={key: getattr(preset, key) for key in OPTIMISER_KEYS},
        sampling={key: getattr(preset, key) for key in SAMPLING_KEYS} | settings.augmentation.model_dump(),
        losses=weights,
        code=fingerprint(*TRAINING_CODE),
    )


def preprocessing(settings: Settings, data: Data, scale: Scale, task: matrix.Task, modality: str) -> dict[str, Any]:
    """The arguments of ``ssc.data.preprocess.to_case`` for a task's scans of one modality."""
    preset, heart = settings.preset_of(task.name, data, scale), task.preprocessing == "heart"
    if heart:
        clip, clip_unit = settings.heart_percentiles, "percentile"
    elif modality == "ct":
        clip, clip_unit = settings.ct_window_hu, "value"
    else:
        clip, clip_unit = settings.mri_percentiles, "percentile_of_nonzero"
    return {
        "orientation": task.orientation,
        "spacing_mm": preset.spacing_mm,
        "plane": preset.plane,
        "box": settings.heart_box if heart else "image",
        "clip": clip,
        "clip_unit": clip_unit,
        "z_score": "box" if heart else "body",
        "classes": task.classes,
    }


def fingerprint(*paths: str) -> str:
    """sha256 over the Python files of the given files and folders, relative to the project."""
    digest = hashlib.sha256()
    missing = [top for top in paths if not (matrix.ROOT / top).exists()]
    if missing:
        raise FileNotFoundError(f"fingerprint of {missing[0]}: not there")
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
    for task, kinds in presets:
        yield f"  {task}:\n"
        for data, scales in kinds:
            yield f"    {data}:\n"
            for scale, preset in scales:
                pairs = ", ".join(f"{name}: {_scalar(value)}".replace(" ", "\0") for name, value in preset)
                lines = textwrap.fill(pairs, 110, initial_indent=INDENT, subsequent_indent=INDENT)
                yield f"      {scale}: {{\n{lines} }}\n".replace("\0", " ")


def _scalar(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
