"""Training batches: MONAI's crops and augmentation over cases held in memory.

What is drawn at a step depends on seed, step and modality alone: every variant sees the same sequence, and
a resumed run goes on in it.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    Lambdad,
    RandAdjustContrastd,
    RandAffined,
    RandCropByLabelClassesd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SqueezeDimd,
)
from monai.transforms.utils import map_classes_to_indices
from torch import Tensor

from ssc.data.preprocess import read_case
from ssc.settings import Sampling, View

Size = tuple[int, ...]
MOST_CENTRES = 1_000_000  # of crops, a class and case; 8 bytes each


def load_case(folder: Path, case: str, crop: Size) -> tuple[Tensor, Tensor]:
    """Image and label, each (1, D, H, W), padded with the image's minimum to at least ``crop``."""
    image, label = (torch.from_numpy(sitk.GetArrayFromImage(x))[None] for x in read_case(folder, case))
    return pad_to(image, crop, float(image.min())), pad_to(label, crop, 0)


def pad_to(x: Tensor, size: Size, value: float) -> Tensor:
    """Pad the last axes of ``x`` on both sides to at least ``size``."""
    missing = [max(0, wanted - found) for wanted, found in zip(size, x.shape[-len(size) :], strict=True)]
    widths = [n for m in reversed(missing) for n in (m // 2, m - m // 2)]
    return torch.nn.functional.pad(x, widths, value=value) if any(missing) else x


def neighbouring_slices(image: Tensor, slices: int) -> Tensor:
    """(1, D, H, W) -> (D, slices, H, W): each slice between its neighbours; the outer ones stand in for theirs."""
    padded = torch.nn.functional.pad(image, (0, 0, 0, 0, slices // 2, slices // 2), mode="replicate")
    return padded[0].unfold(0, slices, 1).permute(0, 3, 1, 2)


def augmentation(settings: Sampling, view: View, classes: int) -> Compose:
    """Crop around a class drawn by ``class_ratios``, then change geometry and intensities at random.

    In 2D the crop's slices become the image's channels and the label is the middle one's. Rotation turns
    about the slice axis only, since MONAI turns voxels and these are not cubes; borders repeat the edge,
    never a mirror image.
    """
    p, crop, shift, volumes = settings.probability, view.crop, settings.translation, view.spatial_dims == 3
    rotation = float(np.deg2rad(settings.rotation_deg))
    to_plane = SqueezeDimd("image", dim=0), Lambdad("label", lambda label: label[:, crop[0] // 2])
    return Compose(
        [
            RandCropByLabelClassesd(
                ["image", "label"],
                label_key="label",
                spatial_size=crop,
                ratios=list(settings.class_ratios),
                num_classes=classes,
                indices_key="indices",
                warn=False,
            ),
            *(() if volumes else to_plane),
            RandAffined(
                ["image", "label"],
                prob=p,
                rotate_range=(rotation, 0, 0) if volumes else (rotation,),
                translate_range=((0, shift, shift) if volumes else (shift, shift)),
                scale_range=(settings.scaling,) * view.spatial_dims,  # one number would scale the first axis alone
                mode=["bilinear", "nearest"],
                padding_mode="border",
            ),
            RandScaleIntensityd("image", factors=settings.intensity, prob=p),
            RandShiftIntensityd("image", offsets=settings.intensity, prob=p),
            RandAdjustContrastd("image", prob=p, gamma=settings.gamma),
            RandGaussianNoised("image", prob=p, std=settings.noise),
        ]
    )


class Sampler:
    """Draws batches for the modalities of a run."""

    def __init__(
        self,
        cases: dict[str, list[tuple[Tensor, Tensor]]],
        settings: Sampling,
        view: View,
        classes: int,
        seed: int,
    ):
        set_track_meta(False)
        self.images, self.seed = settings.images, seed
        self.transform = augmentation(settings, view, classes)
        self.cases = {
            modality: [
                {
                    "image": image,
                    "label": label,
                    "indices": map_classes_to_indices(label, classes, max_samples_per_class=MOST_CENTRES),
                }
                for image, label in entries
            ]
            for modality, entries in cases.items()
        }

    def batch(self, step: int) -> dict[str, dict[str, Any]]:
        """modality -> image (B, C, *S) float32, label (B, 1, *S) uint8, and the places of its cases.

        C = 1 and S = crop in 3D; C = crop's slices and S = its plane in 2D.
        """
        drawn = {}
        for modality, cases in self.cases.items():
            generator = np.random.default_rng([self.seed, step, zlib.crc32(modality.encode())])
            self.transform.set_random_state(seed=int(generator.integers(2**31)))
            chosen = [int(generator.integers(len(cases))) for _ in range(self.images)]
            samples = [self.transform(dict(cases[i]))[0] for i in chosen]
            images, labels = (torch.stack([sample[key] for sample in samples]) for key in ("image", "label"))
            drawn[modality] = {"image": images, "label": labels.to(torch.uint8), "cases": chosen}
        return drawn
