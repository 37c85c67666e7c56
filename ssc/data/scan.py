"""Scans, and the checks that every one passes whatever it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ssc.errors import DataError

LENGTH_MM = 1e-3
COSINE = 1e-4
ORIGIN_VOXELS = 0.01  # of the shortest side: what rounding in another tool's header moves
LABEL_ROUNDING = 0.1  # a label that far from a whole number is one that a scaling slope has moved
HIGHEST_HU = 30_000
SOFT_TISSUE_HU = -200  # a CT whose air is above this was clipped before
USUAL_SPACING_MM = (0.2, 20.0)
USUAL_EXTENT_MM = (20.0, 2500.0)
UNORIENTED = "the header names no orientation (sform and qform have code 0): left and right may be swapped"
BESIDE_PADDING = (3, 3, 0)  # voxels x, y, z
NO_MRI = -100  # a little below 0 is resampling's; an MRI does not reach so far


class Volume(NamedTuple):
    """What a file or folder holds: an image (float32), and what was left open or out on the way."""

    image: sitk.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """One patient's scan: image (float32) and label map (uint8, our values 0–Z-1) on the same grid."""

    case: str
    source: str  # where it is from, as told to the user
    image: sitk.Image
    label: sitk.Image | None
    notes: tuple[str, ...] = ()  # what is doubtful about it


def unit_fault(image: sitk.Image, kind: str) -> str | None:
    """Why intensities can't be those of their kind, 'ct' or 'mr': CT in Hounsfield units has air near -1000."""
    array = sitk.GetArrayViewFromImage(image)
    low, high = float(array.min()), float(array.max())
    if kind == "ct" and low >= 0:
        return (
            f"no value is below 0 ({low:.0f} to {high:.0f}), and CT in Hounsfield units has air near -1000: "
            f"is its intercept lost, or is it an MRI?"
        )
    if kind == "ct" and high > HIGHEST_HU:
        return f"values go up to {high:.0f}, expected Hounsfield units, below {HIGHEST_HU}"
    if kind == "mr" and low < NO_MRI and not _padding(array):
        return f"values go down to {low:.0f}, and MRI has none below 0: is it a CT?"
    return None


def unit_notes(image: sitk.Image, kind: str) -> tuple[str, ...]:
    """What was done to intensities before."""
    array = sitk.GetArrayViewFromImage(image)
    low, high = float(array.min()), float(array.max())
    if kind == "ct" and SOFT_TISSUE_HU < low < 0:
        return (f"intensities were clipped before ({low:.0f} to {high:.0f} HU)",)
    if kind == "mr" and low < NO_MRI and _padding(array):
        return (f"padding of {low:.0f} around the image is taken as what lies beside it",)
    return ()


def check_units(image: sitk.Image, kind: str, name: str) -> tuple[str, ...]:
    """Notes on intensities. Raises DataError where they can't be those of their kind."""
    fault = unit_fault(image, kind)
    if fault:
        raise DataError(f"{name}: {fault} Expected the original archive.")
    return unit_notes(image, kind)


def check_oriented(volume: Volume, path: object) -> None:
    """Raises DataError for a labelled scan whose file leaves its orientation open."""
    if UNORIENTED in volume.notes:
        raise DataError(f"{path}: {UNORIENTED}; expected an sform or qform. Export it again.")


def grid_notes(image: sitk.Image) -> tuple[str, ...]:
    """Voxels or a field of view of no usual size."""
    spacing_mm = np.array(image.GetSpacing())
    extent_mm = spacing_mm * image.GetSize()
    notes = []
    if spacing_mm.min() < USUAL_SPACING_MM[0] or spacing_mm.max() > USUAL_SPACING_MM[1]:
        notes.append(f"voxels of {numbers(spacing_mm)} mm are unusual: is the unit right?")
    if extent_mm.min() < USUAL_EXTENT_MM[0] or extent_mm.max() > USUAL_EXTENT_MM[1]:
        notes.append(f"a field of view of {numbers(extent_mm.round())} mm is unusual: is the unit right?")
    return tuple(notes)


def without_padding(image: sitk.Image, kind: str) -> sitk.Image:
    """An MRI whose padding far below 0 became the median of what lies beside it; any other image as it is."""
    array = sitk.GetArrayViewFromImage(image)
    if kind != "mr" or array.min() >= NO_MRI or not _padding(array):
        return image
    padding = image < 0
    ring = sitk.GetArrayFromImage(sitk.BinaryDilate(padding, BESIDE_PADDING) - padding) > 0
    beside = float(np.median(array[ring])) if ring.any() else 0.0
    return sitk.Mask(image, padding == 0, beside)


def _padding(array: np.ndarray) -> bool:
    """Whether one value far below 0 fills what the scanner did not see, and all else is not negative."""
    low = array.min()
    return bool(np.all((array == low) | (array >= 0)))


def check_image(image: sitk.Image, name: str) -> None:
    """Raises DataError for an image with NaN or infinite values, or with one value only."""
    array = sitk.GetArrayViewFromImage(image)
    broken = array.size - np.count_nonzero(np.isfinite(array))
    if broken:
        raise DataError(f"{name}: {broken} voxels are NaN or infinite, expected finite values. Export it again.")
    if array.min() == array.max():
        raise DataError(f"{name}: all voxels have value {array.min():g}, expected an image. Export it again.")


def check_same_geometry(image: sitk.Image, label: sitk.Image, name: str) -> None:
    """Raises DataError unless both have the same size, spacing (1e-3 mm), direction (1e-4) and origin.

    The origin may differ by a hundredth of the shortest side of a voxel.
    """
    for what, found, expected, tolerance in (
        ("size", label.GetSize(), image.GetSize(), 0),
        ("spacing", label.GetSpacing(), image.GetSpacing(), LENGTH_MM),
        ("origin", label.GetOrigin(), image.GetOrigin(), max(LENGTH_MM, ORIGIN_VOXELS * min(image.GetSpacing()))),
        ("direction", label.GetDirection(), image.GetDirection(), COSINE),
    ):
        difference = float(np.abs(np.subtract(found, expected)).max())
        if difference > tolerance:
            raise DataError(
                f"{name}: the label's {what} is {numbers(found)}, expected {numbers(expected)} "
                f"as the image's (it differs by {difference:.3g}). Do both belong to the same scan?"
            )


def map_labels(
    array: np.ndarray, values: list[tuple[int, int]], name: str, accepted: list[tuple[int, int]]
) -> np.ndarray:
    """Our label values (uint8) of an array of source values, of the same shape.

    ``values``: first and last source value of our labels 1, 2, …; ``accepted``: ranges of all values
    that a source may hold. What is accepted and not ours becomes 0. Raises DataError for other values.
    """
    whole = np.round(array)
    for value in np.unique(array[np.abs(array - whole) > LABEL_ROUNDING]):
        raise DataError(f"{name}: label has value {value:g}, expected whole numbers. Was it interpolated?")
    array = whole
    for value in np.unique(array):
        if not any(first <= value <= last for first, last in accepted):
            expected = ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in accepted)
            raise DataError(
                f"{name}: label has value {value:g}, expected {expected}. "
                f"Is this the original archive? See docs/data.md."
            )
    labels = np.zeros(array.shape, np.uint8)
    for number, (first, last) in enumerate(values, start=1):
        labels[(array >= first) & (array <= last)] = number
    return labels


def check_labelled(labels: np.ndarray, name: str) -> None:
    """Raises DataError where nothing is labelled."""
    if not labels.any():
        raise DataError(
            f"{name}: its label map holds none of the structures, expected at least one. Is it the right file?"
        )


def numbers(values) -> str:
    """As told to the user."""
    return " × ".join(f"{value:.7g}" for value in values)
