"""MM-WHS 2017: cardiac CT and MRI, one NIfTI file each for image and label map of a case, in a folder a modality."""

from __future__ import annotations

import sys

import numpy as np
from scipy import ndimage

from ssc.data.sources.nifti_pairs import numbered_pairs

WHERE = (
    "the training data of MM-WHS 2017, which its organisers hand out after registration "
    "(ask at https://zmiclab.github.io/zxh/0/mmwhs),"
)
STRAY_VALUE = 421  # some label maps hold it for 420, the left atrium
LABEL_VALUES = ((0, 0), (205, 205), (420, STRAY_VALUE), (500, 500), (550, 550), (600, 600), (820, 820), (850, 850))
STRAY_VOXELS = "1002"  # the MRI case with specks of labels at its border


def _mend_ct(labels: np.ndarray, case: str) -> np.ndarray:
    _note_stray_value(labels, f"mmwhs_ct {case}")
    return labels


def _mend_mri(labels: np.ndarray, case: str) -> np.ndarray:
    _note_stray_value(labels, f"mmwhs_mri {case}")
    return _without_specks(labels, f"mmwhs_mri {case}") if case == STRAY_VOXELS else labels


def _note_stray_value(labels: np.ndarray, name: str) -> None:
    """A line on stderr; the value itself lies in the range that a task gives for the left atrium."""
    count = np.count_nonzero(labels == STRAY_VALUE)
    if count:
        print(f"{name}: {count} voxels have label {STRAY_VALUE}, taken as 420", file=sys.stderr)


def _without_specks(labels: np.ndarray, name: str) -> np.ndarray:
    """The label map without its parts that touch the border, the largest excepted; a line on stderr says so."""
    parts, count = ndimage.label(labels != 0, structure=np.ones((3, 3, 3)))
    border = np.ones(labels.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    specks = np.setdiff1d(parts[border], [0, sizes.argmax()])
    removed = int(sizes[specks].sum())
    if removed:
        print(f"{name}: {removed} stray label voxels at the border set to background", file=sys.stderr)
    return np.where(np.isin(parts, specks), 0, labels)


CT = numbered_pairs(
    name="mmwhs_ct",
    kind="ct",
    folder="ct_train",
    image="ct_train_{case}_image.nii.gz",
    label="ct_train_{case}_label.nii.gz",
    where=WHERE,
    label_values=LABEL_VALUES,
    mend=_mend_ct,
)
MRI = numbered_pairs(
    name="mmwhs_mri",
    kind="mr",
    folder="mr_train",
    image="mr_train_{case}_image.nii.gz",
    label="mr_train_{case}_label.nii.gz",
    where=WHERE,
    label_values=LABEL_VALUES,
    mend=_mend_mri,
)
