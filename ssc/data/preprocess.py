"""From a scan to a case: orientation, resampling, intensities, plane; and the way back to the scan.

A case keeps physical coordinates (its NIfTI affine), so the way back needs no record: probabilities are
resampled onto the scan's own grid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ssc.data.scan import Scan
from ssc.errors import DataError

Spacing = tuple[float, float, float]


def to_case(scan: Scan, spacing_mm: Spacing, plane: int, clip: tuple[float, float], classes: int) -> Scan:
    """The preprocessed scan: RAS+ axes, ``spacing_mm`` (D, H, W), ``plane``² slices, z-scored intensities.

    ``clip``: CT in Hounsfield units, MRI in percentiles of the non-zero voxels.
    """
    image = sitk.DICOMOrient(scan.image, "RAS")
    grid = _resampled_grid(image, spacing_mm)
    image = _resample_image(image, grid)
    image = _to_plane(_normalise(image, scan.modality, clip), plane)
    label = None
    if scan.label is not None:
        label = _resample_label(sitk.DICOMOrient(scan.label, "RAS"), grid, classes)
        label = _to_plane(label, plane)
    return Scan(scan.case, scan.modality, image, label)


def to_scan_grid(probabilities: np.ndarray, case: sitk.Image, scan: sitk.Image) -> np.ndarray:
    """Label map of shape (D, H, W) of ``scan`` from class probabilities (Z, D, H, W) on the grid of ``case``.

    Linear interpolation of each class, then arg-max; what lies outside the case is background.
    """
    best, labels = None, None
    for value, probability in enumerate(probabilities):
        image = sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32))
        image.CopyInformation(case)
        outside = 1.0 if value == 0 else 0.0
        resampled = sitk.GetArrayFromImage(
            sitk.Resample(image, scan, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
        )
        if best is None:
            best, labels = resampled, np.zeros(resampled.shape, np.uint8)
        else:
            labels[resampled > best] = value
            np.maximum(best, resampled, out=best)
    return labels


def _resampled_grid(image: sitk.Image, spacing_mm: Spacing) -> sitk.Image:
    """An empty image of the new spacing over the same extent, axes and centre as ``image``."""
    old = np.array(image.GetSpacing())
    new = np.array(spacing_mm[::-1])  # SimpleITK orders axes x, y, z
    size = np.array(image.GetSize())
    new_size = np.ceil(size * old / new - 1e-3).astype(int)  # the whole scan lies inside
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = centre - direction @ ((new_size - 1) / 2 * new)
    grid = sitk.Image(new_size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(new.tolist())
    grid.SetOrigin(origin.tolist())
    grid.SetDirection(image.GetDirection())
    return grid


def _resample_image(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Linear, after a Gaussian along each axis that becomes coarser (σ = half the added voxel size)."""
    for axis, (old, new) in enumerate(zip(image.GetSpacing(), grid.GetSpacing(), strict=True)):
        if new > old and image.GetSize()[axis] >= 4:  # the recursive filter needs four samples
            image = sitk.RecursiveGaussian(image, sigma=(new - old) / 2, direction=axis)
    # Voxels of the new grid may reach half a voxel past the old one: continue the nearest value there.
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)


def _resample_label(label: sitk.Image, grid: sitk.Image, classes: int) -> sitk.Image:
    """Each class linearly, then arg-max; a tie goes to the lower value."""
    shares = [
        sitk.GetArrayFromImage(
            sitk.Resample(sitk.Cast(label == value, sitk.sitkFloat32), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
        )
        for value in range(classes)
    ]
    resampled = sitk.GetImageFromArray(np.argmax(shares, axis=0).astype(np.uint8))
    resampled.CopyInformation(grid)
    return resampled


def _normalise(image: sitk.Image, modality: str, clip: tuple[float, float]) -> sitk.Image:
    """Clip, then z-score over the body: the voxels above the scan's mean (air would rule the statistics)."""
    array = sitk.GetArrayFromImage(image)
    low, high = clip if modality == "ct" else np.percentile(array[array != 0] if array.any() else array, clip)
    array = np.clip(array, low, high)
    body = array[array > array.mean()]
    if not body.size or body.std() == 0:
        raise DataError(
            f"{modality} scan: no body left after clipping to {low:g} … {high:g}; is it in the right units?"
        )
    normalised = sitk.GetImageFromArray(((array - body.mean()) / body.std()).astype(np.float32))
    normalised.CopyInformation(image)
    return normalised


def _to_plane(image: sitk.Image, plane: int) -> sitk.Image:
    """Crop or pad the two in-plane axes around their centre; padding is the image's minimum."""
    size = np.array(image.GetSize()[:2])
    lower = np.maximum(size - plane, 0) // 2
    image = sitk.Crop(image, [*lower.tolist(), 0], [*(np.maximum(size - plane, 0) - lower).tolist(), 0])
    missing = np.maximum(plane - size, 0)
    lower = missing // 2
    minimum = float(sitk.GetArrayViewFromImage(image).min())
    return sitk.ConstantPad(image, [*lower.tolist(), 0], [*(missing - lower).tolist(), 0], minimum)


def write_cases(scans: Iterable[Scan], folder: Path, **settings) -> None:
    """Preprocess and write ``CASE_image.nii.gz``, ``CASE_label.nii.gz`` and, last, ``manifest.json``.

    ``settings`` are those of ``to_case``. The manifest holds the sha256 of every file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for scan in scans:
        case = to_case(scan, **settings)
        for kind, image in (("image", case.image), ("label", case.label)):
            path = folder / f"{case.case}_{kind}.nii.gz"
            sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
            files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    partial = folder / "manifest.json.part"
    partial.write_text(json.dumps({"settings": settings, "files": files}, indent=1) + "\n", "utf-8")
    partial.replace(folder / "manifest.json")


def read_case(folder: Path, case: str) -> tuple[sitk.Image, sitk.Image]:
    """Image and label map of a preprocessed case."""
    return tuple(sitk.ReadImage(str(folder / f"{case}_{kind}.nii.gz")) for kind in ("image", "label"))
