"""What depends on task, data and scale: grids, crops, widths, schedules. Loads no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Data = Literal["phantom", "real"]
Scale = Literal["smoke", "small", "paper"]
Init = Literal["random", "imagenet"]
Size = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Settings that refuse unknown keys and cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Preset(Strict):
    """Everything that depends on data and scale. All values are this project's choice unless said."""

    spacing_mm: tuple[Length, Length, Length] = Field(description="voxel of a preprocessed case, D H W")
    plane: int = Field(gt=0, description="voxels of a preprocessed slice, both axes")
    crop: tuple[Size, Size, Size] = Field(
        description="training crop and inference window, D H W voxels; a 2D network labels the middle of D slices"
    )
    width: int = Field(gt=0, description="channels C of the first stage (paper scale: the backbones' own defaults)")
    heads: tuple[Size, Size, Size, Size] = Field(description="attention heads of the four encoder stages")
    windows: tuple[Size, Size, Size, Size] = Field(description="attention window of the four encoder stages")
    eam_heads: int = Field(gt=0, description="heads N of the External Attention Modules")
    init: Init = Field(description="backbone's start: at random, or from ImageNet as in the paper")
    stochastic_depth: float = Field(ge=0, lt=1, description="largest rate at which a residual branch is dropped")
    images: int = Field(gt=0, description="images of each modality in a batch")
    steps: int = Field(gt=0, description="optimiser steps of a run")
    schedule: Literal["one_cycle", "cosine"] = Field(description="course of the learning rate")
    learning_rate: float = Field(gt=0, description="its peak")
    warm_up: float = Field(ge=0, lt=1, description="share of the steps before the peak")
    beta2: float = Field(gt=0, lt=1, description="second-moment decay of AdamW")
    weight_decay: float = Field(ge=0, description="of AdamW, on parameters of more than one axis")
    clip: float = Field(gt=0, description="largest gradient norm")
    augmentation: float = Field(ge=0, description="strength: factor on rotation, scaling, intensity and noise")
    class_ratios: tuple[float, ...] = Field(
        description="how often a crop is centred on background, then on each structure, as ratios"
    )
    translation: int = Field(0, ge=0, description="shift of a crop in the plane, ± voxels, where it spans the plane")
    validations: int = Field(ge=0, description="how often the validation cases are scored during a run")
    save_every: int = Field(gt=0, description="steps between two saves of a run under way")
    overlap: float = Field(ge=0, lt=1, description="overlap of two inference windows")

    @model_validator(mode="after")
    def _fits(self) -> Preset:
        if any(self.width * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise ValueError(f"width {self.width}, doubled each stage, must be a multiple of the heads {self.heads}")
        if self.width % self.eam_heads:
            raise ValueError(f"width {self.width} must be a multiple of eam_heads {self.eam_heads}")
        if self.steps < 3:
            raise ValueError("a schedule needs at least 3 steps")
        return self


class Scales(Strict):
    """One preset a scale."""

    smoke: Preset
    small: Preset
    paper: Preset


class DataPresets(Strict):
    """One row of scales for each kind of data."""

    phantom: Scales
    real: Scales


_NEAR_ORGANS = (0.5, 1.0, 2.0, 1.5, 1.5)
# Real CT reaches from the chest to the pelvis: crops that show too little of it leave islands there.
_WHOLE_TRUNK = (1.5, 1.0, 2.0, 1.5, 1.5)
_SMALL = dict(
    width=16,
    heads=(1, 2, 4, 8),
    windows=(4, 4, 8, 4),
    eam_heads=4,
    init="random",
    stochastic_depth=0.0,
    images=1,
    schedule="one_cycle",
    warm_up=0.2,
    beta2=0.95,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    class_ratios=_NEAR_ORGANS,
    validations=1,
    save_every=100,
    overlap=0.25,
)
_SMALL_2D = {**_SMALL, "width": 24, "heads": (3, 6, 12, 24), "windows": (4, 4, 4, 4), "images": 4}
_SMOKE = dict(width=8, images=1, steps=10, save_every=5, overlap=0.0)
_SMOKE_2D = {**_SMOKE, "width": 12, "heads": (1, 2, 4, 8)}
_PAPER = dict(
    width=192,
    heads=(6, 12, 24, 48),
    windows=(4, 4, 8, 4),
    eam_heads=8,
    init="imagenet",
    stochastic_depth=0.2,
    images=2,
    steps=40_000,
    schedule="cosine",
    learning_rate=3e-4,
    warm_up=0.02,
    beta2=0.999,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    class_ratios=_NEAR_ORGANS,
    validations=20,
    save_every=500,
    overlap=0.5,
)
_PAPER_2D = {**_PAPER, "width": 96, "heads": (3, 6, 12, 24), "windows": (8, 8, 8, 8), "images": 8}
_ABDOMEN = dict(spacing_mm=(8.0, 1.5, 1.5), plane=256, class_ratios=_WHOLE_TRUNK)
_ABDOMEN_PHANTOM = dict(spacing_mm=(8.0, 6.0, 6.0), plane=64, learning_rate=1.2e-2, augmentation=0.4)
_ABDOMEN_REAL = dict(spacing_mm=(8.0, 4.0, 4.0), plane=96, learning_rate=6e-3, class_ratios=_WHOLE_TRUNK)
_HEART = dict(spacing_mm=(1.0, 1.0, 1.0), plane=256, translation=12)
_HEART_SMALL = dict(spacing_mm=(2.0, 2.0, 2.0), plane=128, learning_rate=3e-3, augmentation=0.4, translation=6)
_HEART_SMOKE = {**_HEART_SMALL, "spacing_mm": (4.0, 4.0, 4.0), "plane": 64, "translation": 3}


def _preset(*parts: dict[str, Any], **values: Any) -> Preset:
    """A preset from parts, later ones first."""
    return Preset(**{key: value for part in (*parts, values) for key, value in part.items()})


def _abdomen() -> DataPresets:
    paper = _preset(_PAPER, _ABDOMEN, crop=(32, 192, 192))
    return DataPresets(
        phantom=Scales(
            smoke=_preset(_SMALL, _SMOKE, _ABDOMEN_PHANTOM, crop=(16, 32, 32)),
            small=_preset(_SMALL, _ABDOMEN_PHANTOM, crop=(16, 48, 64), steps=330, validations=0),
            paper=paper,
        ),
        real=Scales(
            smoke=_preset(_SMALL, _SMOKE, _ABDOMEN_REAL, crop=(16, 64, 64)),
            small=_preset(
                _SMALL, _ABDOMEN_REAL, crop=(16, 64, 64), steps=4_000, save_every=200, overlap=0.5, validations=2
            ),
            paper=paper,
        ),
    )


def _heart() -> DataPresets:
    scales = Scales(
        smoke=_preset(_SMALL_2D, _HEART_SMOKE, _SMOKE_2D, crop=(3, 64, 64)),
        small=_preset(_SMALL_2D, _HEART_SMALL, crop=(3, 128, 128), steps=600),
        paper=_preset(_PAPER_2D, _HEART, crop=(3, 256, 256)),
    )
    return DataPresets(phantom=scales, real=scales)


def _abdomen_swin_unet() -> DataPresets:
    paper = _preset(_PAPER_2D, _ABDOMEN, crop=(3, 256, 256), translation=12)
    return DataPresets(
        phantom=Scales(
            smoke=_preset(_SMALL_2D, _ABDOMEN_PHANTOM, _SMOKE_2D, crop=(3, 64, 64)),
            small=_preset(_SMALL_2D, _ABDOMEN_PHANTOM, crop=(3, 64, 64), translation=3, learning_rate=3e-3, steps=600),
            paper=paper,
        ),
        real=Scales(
            smoke=_preset(_SMALL_2D, _ABDOMEN_REAL, _SMOKE_2D, crop=(3, 96, 96)),
            small=_preset(
                _SMALL_2D,
                _ABDOMEN_REAL,
                crop=(3, 96, 96),
                translation=5,
                learning_rate=3e-3,
                steps=2_000,
                save_every=200,
            ),
            paper=paper,
        ),
    )


def _heart_nnformer() -> DataPresets:
    scales = Scales(
        smoke=_preset(_SMALL, _HEART_SMOKE, _SMOKE, crop=(16, 32, 32), translation=0),
        small=_preset(_SMALL, _HEART_SMALL, crop=(32, 64, 64), translation=0, learning_rate=6e-3, steps=1_000),
        paper=_preset(_PAPER, _HEART, crop=(64, 128, 128), translation=0),
    )
    return DataPresets(phantom=scales, real=scales)


class Presets(Strict):
    """The presets of every task in config/matrix.yaml."""

    abdomen: DataPresets = _abdomen()
    heart: DataPresets = _heart()
    abdomen_swin_unet: DataPresets = _abdomen_swin_unet()
    heart_nnformer: DataPresets = _heart_nnformer()
