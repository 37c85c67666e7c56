"""What depends on task, data and scale: grids, crops, schedules. Loads no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ssc.settings import Strict

Data = Literal["phantom", "real"]
Scale = Literal["smoke", "small", "paper"]
Init = Literal["random", "imagenet"]
Size = Annotated[int, Field(gt=0)]
Length = Annotated[float, Field(gt=0)]


class Regime(Strict):
    """How networks of 3D crops, or of 2D slices, are trained and applied."""

    crop: tuple[Size, Size, Size] = Field(
        description="training crop and inference window, D H W voxels; of slices the middle one of three is labelled"
    )
    images: int = Field(gt=0, description="images of each modality in a batch")
    steps: int = Field(ge=3, description="optimiser steps of a run")
    learning_rate: float = Field(gt=0, description="its peak")
    translation: int = Field(0, ge=0, description="shift of a crop in the plane, ± voxels, where it spans the plane")
    validations: int = Field(ge=0, description="how often the validation cases are scored during a run")
    save_every: int = Field(gt=0, description="steps between two saves of a run under way")
    overlap: float = Field(ge=0, lt=1, description="overlap of two inference windows")


class Preset(Strict):
    """Everything that depends on data and scale. All values are this project's choice unless said."""

    spacing_mm: tuple[Length, Length, Length] = Field(description="voxel of a preprocessed case, D H W")
    plane: int = Field(gt=0, description="voxels of a preprocessed slice, both axes")
    eam_heads: int = Field(gt=0, description="heads N of the External Attention Modules")
    init: Init = Field(description="backbone's start: at random, or from ImageNet as in the paper")
    schedule: Literal["one_cycle", "cosine"] = Field(description="course of the learning rate")
    warm_up: float = Field(ge=0, lt=1, description="share of the steps before the peak")
    beta2: float = Field(gt=0, lt=1, description="second-moment decay of AdamW")
    weight_decay: float = Field(ge=0, description="of AdamW, on parameters of more than one axis")
    clip: float = Field(gt=0, description="largest gradient norm")
    augmentation: float = Field(ge=0, description="strength: factor on rotation, scaling, intensity and noise")
    class_ratios: tuple[float, ...] = Field(
        description="how often a crop is centred on background, then on each structure, as ratios"
    )
    volumes: Regime = Field(description="of 3D backbones")
    slices: Regime = Field(description="of 2D backbones")

    @model_validator(mode="after")
    def _fits(self) -> Preset:
        if self.slices.crop[0] != 3:
            raise ValueError(f"slices.crop has {self.slices.crop[0]} slices, expected 3: the middle one is labelled")
        return self

    def regime(self, spatial_dims: int) -> Regime:
        """That of 3D or 2D backbones."""
        return self.volumes if spatial_dims == 3 else self.slices


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
    eam_heads=4,
    init="random",
    schedule="one_cycle",
    warm_up=0.2,
    beta2=0.95,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    class_ratios=_NEAR_ORGANS,
)
_PAPER = dict(
    eam_heads=8,
    init="imagenet",
    schedule="cosine",
    warm_up=0.02,
    beta2=0.999,
    weight_decay=0.01,
    clip=1.0,
    augmentation=1.0,
    class_ratios=_NEAR_ORGANS,
)
_ABDOMEN = dict(spacing_mm=(8.0, 1.5, 1.5), plane=256, class_ratios=_WHOLE_TRUNK)
_ABDOMEN_PHANTOM = dict(spacing_mm=(8.0, 6.0, 6.0), plane=64, augmentation=0.4)
_ABDOMEN_REAL = dict(spacing_mm=(8.0, 4.0, 4.0), plane=96, class_ratios=_WHOLE_TRUNK)
_HEART = dict(spacing_mm=(1.0, 1.0, 1.0), plane=256)
_HEART_SMALL = dict(spacing_mm=(2.0, 2.0, 2.0), plane=128, augmentation=0.4)
_HEART_SMOKE = {**_HEART_SMALL, "spacing_mm": (4.0, 4.0, 4.0), "plane": 64}


def _preset(*parts: dict[str, Any], volumes: Regime, slices: Regime) -> Preset:
    """A preset from parts, later ones first."""
    chosen = {key: value for part in parts for key, value in part.items()}
    return Preset(**chosen, volumes=volumes, slices=slices)


def _smoke(crop: tuple[int, int, int], learning_rate: float, translation: int = 0) -> Regime:
    return Regime(
        crop=crop, images=1, steps=10, learning_rate=learning_rate, translation=translation, validations=1,
        save_every=5, overlap=0.0,
    )  # fmt: skip


def _small(crop: tuple[int, int, int], steps: int, learning_rate: float, **values: Any) -> Regime:
    few = {"images": 1 if crop[0] > 3 else 4, "validations": 1, "save_every": 100, "overlap": 0.25}
    return Regime(crop=crop, steps=steps, learning_rate=learning_rate, **(few | values))


def _paper(crop: tuple[int, int, int]) -> Regime:
    images, translation = (2, 0) if crop[0] > 3 else (8, 12)
    return Regime(
        crop=crop, images=images, steps=40_000, learning_rate=3e-4, translation=translation, validations=20,
        save_every=500, overlap=0.5,
    )  # fmt: skip


def _abdomen() -> DataPresets:
    paper = _preset(_PAPER, _ABDOMEN, volumes=_paper((32, 192, 192)), slices=_paper((3, 256, 256)))
    return DataPresets(
        phantom=Scales(
            smoke=_preset(
                _SMALL, _ABDOMEN_PHANTOM, volumes=_smoke((16, 32, 32), 1.2e-2), slices=_smoke((3, 64, 64), 1.2e-2)
            ),
            small=_preset(
                _SMALL,
                _ABDOMEN_PHANTOM,
                volumes=_small((16, 48, 64), 330, 1.2e-2, validations=0),
                slices=_small((3, 64, 64), 600, 3e-3, translation=3),
            ),
            paper=paper,
        ),
        real=Scales(
            smoke=_preset(_SMALL, _ABDOMEN_REAL, volumes=_smoke((16, 64, 64), 6e-3), slices=_smoke((3, 96, 96), 6e-3)),
            small=_preset(
                _SMALL,
                _ABDOMEN_REAL,
                volumes=_small((16, 64, 64), 4_000, 6e-3, save_every=200, overlap=0.5, validations=2),
                slices=_small((3, 96, 96), 2_000, 3e-3, save_every=200, translation=5),
            ),
            paper=paper,
        ),
    )


def _heart() -> DataPresets:
    scales = Scales(
        smoke=_preset(
            _SMALL, _HEART_SMOKE, volumes=_smoke((16, 32, 32), 3e-3), slices=_smoke((3, 64, 64), 3e-3, translation=3)
        ),
        small=_preset(
            _SMALL,
            _HEART_SMALL,
            volumes=_small((32, 64, 64), 1_000, 6e-3),
            slices=_small((3, 128, 128), 600, 3e-3, translation=6),
        ),
        paper=_preset(_PAPER, _HEART, volumes=_paper((64, 128, 128)), slices=_paper((3, 256, 256))),
    )
    return DataPresets(phantom=scales, real=scales)


class Presets(Strict):
    """The presets of every task in config/matrix.yaml."""

    abdomen: DataPresets = _abdomen()
    heart: DataPresets = _heart()
