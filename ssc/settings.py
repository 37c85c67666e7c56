"""What decides a training, typed part by part: network, objective, optimiser, sampling. Loads no torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictBool,
    ValidationError,
)


class Strict(BaseModel):
    """Immutable; a key that is not known, or a value of another type, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(Strict):
    """How a case is cut: a 3D network sees the crop, a 2D one a plane with its neighbouring slices as channels."""

    spatial_dims: Literal[2, 3]
    crop: tuple[PositiveInt, PositiveInt, PositiveInt]  # D, H, W voxels

    @property
    def channels(self) -> int:
        """Channels of a network's input."""
        return 1 if self.spatial_dims == 3 else self.crop[0]

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size of a network's input: D, H, W or H, W."""
        return self.crop if self.spatial_dims == 3 else self.crop[1:]


class Branch(Strict):
    """A module of a foreign network whose output is added to a skip, and where its channels stand."""

    module: str
    channels: Literal["first", "last"] = "first"


class BackboneSettings(Strict):
    """A backbone: what builds it, and for a foreign network which of its modules give maps and branches.

    In ``arguments`` $channels, $classes, $size, $spatial_dims and $modalities stand for those of the run.
    """

    build: str  # import path of a class
    arguments: dict[str, Any]
    taps: tuple[str, ...] = ()  # modules whose outputs are the three maps, coarse to fine
    branches: tuple[Branch, ...] = ()
    multiple_of: PositiveInt = 1  # of which every side of an image must be a multiple
    norm_per_modality: StrictBool = False  # its batch norms, once a modality


class EamSettings(Strict):
    """The External Attention Modules."""

    heads: PositiveInt
    map_scale: Literal["none", "sqrt_d"]
    correlations: bool  # E is built only where a loss asks for it


class NetworkSettings(Strict):
    """A network; ``None`` is without."""

    view: View
    backbone: BackboneSettings
    image_embedding: bool = True
    own_encoder: bool = False
    eam: EamSettings | None = None
    modulation: Literal["residual", "literal"] | None = None

    @property
    def at_inference(self) -> NetworkSettings:
        """The same without External Attention Modules."""
        return self.model_copy(update={"eam": None})


class Objective(Strict):
    """Weights and options of Eq. 9-12 and of the rivals' terms; a term whose weight is None is off.

    A row of the matrix may give each of them itself, so a loss that is only a row's needs no word in the configuration.
    """

    alpha: float | None = Field(None, ge=0)
    beta: float | None = Field(None, ge=0)
    gamma: float | None = Field(None, ge=0)
    tau: float | None = Field(None, gt=0)
    aux_target: Literal["soft", "nearest"] | None = None
    shuffled: StrictBool = False  # mcr and icr pair each class with a wrong one of the other modality (control)
    kd: float | None = Field(None, ge=0)  # UMMKD's distillation
    kd_absent: Literal["skip", "as_code"] = "skip"  # what it makes of a class that one modality's batch lacks
    segmentation: Literal["paper", "ummkd"] = "paper"  # whose Dice and cross-entropy


class Optimiser(Strict):
    """AdamW, its schedule, and what happens on the way."""

    steps: PositiveInt
    schedule: Literal["one_cycle", "cosine"]
    learning_rate: float
    warm_up: float
    beta2: float
    weight_decay: float
    clip: float
    validations: NonNegativeInt
    save_every: PositiveInt


class Sampling(Strict):
    """Crops and their random changes, at the strength of the run."""

    images: PositiveInt
    translation: NonNegativeInt
    class_ratios: tuple[float, ...]
    probability: float
    rotation_deg: float
    scaling: float
    intensity: float
    gamma: tuple[float, float]
    noise: float


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first fault of a model's input, with the nearest known name for an unknown key."""
    fault = error.errors()[0]
    path = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"'{path}' is missing"
    if fault["type"] == "value_error" and not path:
        return str(fault["ctx"]["error"])
    if fault["type"] != "extra_forbidden":
        return f"{path} = {fault['input']!r}: {fault['msg']}"
    fields: Any = kind
    for part in fault["loc"][:-1]:
        fields = _inside(fields, part)
    return f"unknown key '{path}'; {nearest(str(fault['loc'][-1]), getattr(fields, 'model_fields', ()))}"


def _inside(kind: Any, part: str | int) -> Any:
    """The type of a model's field, or of the entries of a mapping or sequence; of several the model."""
    found = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
    if type(None) in get_args(found):
        return next((choice for choice in get_args(found) if hasattr(choice, "model_fields")), found)
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them."""
    known = [k for k in known if k != "name"]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."


def merged(below: dict, above: dict) -> dict:
    """Both, the second before the first; mappings inside mappings likewise."""
    both = {
        key: merged(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}
