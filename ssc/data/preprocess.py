"""From a scan to a case: orientation, resampling, intensities, plane; and the way back to the scan.

A case keeps physical coordinates (its NIfTI affine), so the way back needs no record: probabilities are
resampled onto the scan's own grid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ssc.data.scan import Scan, without_padding
from ssc.data.writing import write_image
from ssc.errors import DataError, MissingDataError
from ssc.whole import whole

Spacing = tuple[float, float, float]
BOX_MARGIN_MM = 10.0
TIE_DIGITS = 4  # of the shares of two classes; NIfTI keeps geometry in float32


def to_case(
    scan: Scan,
    *,
    kind: str,
    orientation: str,
    spacing_mm: Spacing,
    plane: int,
    box: str,
    clip: tuple[float, float],
    clip_unit: str,
    z_score: str,
    classes: int,
) -> Scan:
    """The preprocessed scan: ``orientation`` axes, ``spacing_mm`` (D, H, W), ``plane``² slices, z-scored.

    ``kind``: of an 'mr' scan the padding far below 0 becomes as what lies beside it.
    ``box``: 'body' keeps all slices and cuts the plane around the patient's body, 'image' around the scan's centre,
    'paper' cuts both around the label map (a scan without one: as 'image'). ``clip``: bounds as ``clip_unit`` says,
    'value' or 'percentile_of_nonzero' of the scan itself, or 'percentile' of what mean and deviation of the
    z-score are taken over. That is ``z_score``: the scan's 'body', its voxels above the mean, or the 'box'.
    """
    image = sitk.DICOMOrient(without_padding(scan.image, kind), orientation)
    if clip_unit != "percentile":  # before smoothing can carry air or metal into an organ
        image = _clamp(image, _bounds(image, clip, clip_unit))
    grid = _resampled_grid(image, spacing_mm)
    image, label = _resample_image(image, grid), None
    if scan.label is not None:
        label = _resample_label(sitk.DICOMOrient(scan.label, orientation), grid, classes)
    notes = scan.notes
    if box == "paper" and label is not None:
        cut = _around_label(label, plane, scan)
    elif box == "body":
        cut, note = _around_body(image, plane)
        notes = (*notes, *note)
    else:
        cut = _around_centre(image, plane)
    within = cut(image) if z_score == "box" else image
    if clip_unit == "percentile":
        bounds = _bounds(within, clip, clip_unit)
        image, within = _clamp(image, bounds), _clamp(within, bounds)
    image = _pad_plane(cut(_normalise(image, within, z_score == "body", scan)), plane)
    if label is not None:
        before, label = label, _pad_plane(cut(label), plane)
        notes = (*notes, *_lost_labels(before, label))
    return Scan(scan.case, scan.source, image, label, notes)


def to_scan_grid(probabilities: np.ndarray, case: sitk.Image, scan: sitk.Image) -> np.ndarray:
    """Label map of shape (D, H, W) of ``scan`` from class probabilities (Z, D, H, W) on the grid of ``case``.

    Linear interpolation of each class, then arg-max; what lies outside the case is background.
    """
    best, labels = None, None
    for value, resampled in enumerate(on_scan_grid(probabilities, case, scan)):
        if best is None:
            best, labels = resampled, np.zeros(resampled.shape, np.uint8)
        else:
            labels[resampled > best] = value
            np.maximum(best, resampled, out=best)
    return labels


def on_scan_grid(probabilities: np.ndarray, case: sitk.Image, scan: sitk.Image) -> Iterator[np.ndarray]:
    """The probability of each class in turn, (D, H, W) of ``scan``."""
    for value, probability in enumerate(probabilities):
        image = sitk.GetImageFromArray(np.ascontiguousarray(probability, dtype=np.float32))
        image.CopyInformation(case)
        outside = 1.0 if value == 0 else 0.0
        resampled = sitk.Resample(image, scan, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
        yield sitk.GetArrayFromImage(resampled)


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
    """Each class linearly, then arg-max; a tie goes to the lower value, also where a header's rounding hides it."""
    shares = [
        sitk.GetArrayFromImage(
            sitk.Resample(sitk.Cast(label == value, sitk.sitkFloat32), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
        )
        for value in range(classes)
    ]
    resampled = sitk.GetImageFromArray(np.argmax(np.round(shares, TIE_DIGITS), axis=0).astype(np.uint8))
    resampled.CopyInformation(grid)
    return resampled


Cut = Callable[[sitk.Image], sitk.Image]


def _around_centre(image: sitk.Image, plane: int) -> Cut:
    """All slices; at most ``plane``² voxels around the middle of the two in-plane axes."""
    surplus = np.maximum(np.array(image.GetSize()[:2]) - plane, 0)
    lower = surplus // 2
    return lambda x: sitk.Crop(x, [*lower.tolist(), 0], [*(surplus - lower).tolist(), 0])


def _around_body(image: sitk.Image, plane: int) -> tuple[Cut, tuple[str, ...]]:
    """All slices; ``plane``² voxels around the body, and what of it lies outside."""
    start, extent = (side[:2] for side in body_box(image))
    lower = start + (extent - plane) // 2  # beyond the scan where the body lies at its border
    upper = np.array(image.GetSize()[:2]) - plane - lower
    lost_mm = (np.maximum(extent - plane, 0) * image.GetSpacing()[:2]).max()
    wide_mm = plane * image.GetSpacing()[0]
    note = f"{lost_mm:.0f} mm of the body lie outside the plane of {wide_mm:.0f} mm that is looked at"
    return lambda x: _cut_or_padded(x, lower, upper), (note,) if lost_mm else ()


def body_box(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and size (x, y, z) of the body: the largest component above Otsu's threshold between air and tissue.

    All of the image where nothing is above.
    """
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.OtsuThreshold(image, 0, 1)), sortByObjectSize=True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(parts == 1)
    box = shape.GetBoundingBox(1) if shape.HasLabel(1) else (0, 0, 0, *image.GetSize())
    start, size = np.array(box).reshape(2, 3)
    return start, size


def _lost_labels(label: sitk.Image, kept: sitk.Image) -> tuple[str, ...]:
    """What the plane cuts off the structures."""
    found, left = (np.count_nonzero(sitk.GetArrayViewFromImage(x)) for x in (label, kept))
    lost_ml = (found - left) * np.prod(label.GetSpacing()) / 1000
    return (f"{lost_ml:.3g} ml of its labels lie outside the plane that is looked at",) if lost_ml else ()


def _cut_or_padded(image: sitk.Image, lower: np.ndarray, upper: np.ndarray) -> sitk.Image:
    """In the plane so many voxels less at both ends, or more of the image's minimum where a number is below 0."""
    beyond = ([*np.maximum(-end, 0).tolist(), 0] for end in (lower, upper))
    image = sitk.ConstantPad(image, *beyond, float(sitk.GetArrayViewFromImage(image).min()))
    return sitk.Crop(image, *([*np.maximum(end, 0).tolist(), 0] for end in (lower, upper)))


def _around_label(label: sitk.Image, plane: int, scan: Scan) -> Cut:
    """The slices of the label map and ``BOX_MARGIN_MM`` beside; at most ``plane``² voxels around its middle."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(label > 0)
    if not shape.HasLabel(1):
        raise DataError(f"{scan.source} {scan.case}: its label map is empty, so it gives no box; use box: image")
    start, size = np.array(shape.GetBoundingBox(1)).reshape(2, 3)
    margin = round(BOX_MARGIN_MM / label.GetSpacing()[2])
    total = np.array(label.GetSize())
    lower = np.array([*(start + size // 2 - plane // 2)[:2], start[2] - margin])
    upper = np.array([*(lower[:2] + plane), start[2] + size[2] + margin])
    # A plane that reaches past the scan is moved inside it, where it fits.
    shift = np.array([*np.clip(lower[:2], 0, np.maximum(total[:2] - plane, 0)) - lower[:2], 0])
    lower, upper = np.maximum(lower + shift, 0), np.minimum(upper + shift, total)
    return lambda x: sitk.Crop(x, lower.tolist(), (total - upper).tolist())


def _bounds(image: sitk.Image, clip: tuple[float, float], clip_unit: str) -> Sequence[float]:
    """Lower and upper intensity that ``clip`` means in an image."""
    if clip_unit == "value":
        return clip
    array = sitk.GetArrayViewFromImage(image)
    if clip_unit == "percentile_of_nonzero" and array.any():
        array = array[array != 0]
    return np.percentile(array, clip).tolist()


def _clamp(image: sitk.Image, bounds: Sequence[float]) -> sitk.Image:
    return sitk.Clamp(image, sitk.sitkFloat32, *bounds)


def _normalise(image: sitk.Image, within: sitk.Image, of_body: bool, scan: Scan) -> sitk.Image:
    """z-score by the intensities ``within``, or those of its body: air would rule an abdomen's statistics."""
    array, counted = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(within)
    if of_body:
        counted = counted[counted > counted.mean()]
    if not counted.size or counted.std() == 0:
        raise DataError(f"{scan.source} {scan.case}: no contrast left after clipping; is it in the right units?")
    normalised = sitk.GetImageFromArray(((array - counted.mean()) / counted.std()).astype(np.float32))
    normalised.CopyInformation(image)
    return normalised


def _pad_plane(image: sitk.Image, plane: int) -> sitk.Image:
    """Pad the two in-plane axes on both sides to ``plane`` with the image's minimum."""
    missing = np.maximum(plane - np.array(image.GetSize()[:2]), 0)
    lower = missing // 2
    minimum = float(sitk.GetArrayViewFromImage(image).min())
    return sitk.ConstantPad(image, [*lower.tolist(), 0], [*(missing - lower).tolist(), 0], minimum)


def write_cases(scans: Iterable[Scan], folder: Path, **settings) -> None:
    """Preprocess and write ``files/CASE_image.nii.gz``, ``_label``, ``_truth`` and, last, ``manifest.json``.

    ``_truth`` is the label map on the scan's own grid, which predictions are scored on. ``settings`` are those of
    ``to_case``. The manifest holds the sha256 of every file, the scans' ranges and doubts about cases.
    """
    files, warnings, ranges = {}, {}, {}
    for scan in scans:
        case = to_case(scan, **settings)
        ranges[case.case] = scan_range(scan.image, settings["orientation"])
        if case.notes:
            warnings[case.case] = case.notes
        for kind, image in (("image", case.image), ("label", case.label), ("truth", scan.label)):
            path = case_file(folder, case.case, kind)
            write_image(image, path, compression=1)
            files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with whole(folder / "manifest.json") as path:
        found = {"settings": settings, "warnings": warnings, "ranges": ranges, "files": files}
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def scan_range(image: sitk.Image, orientation: str) -> dict[str, list[float]]:
    """Percentiles 1 and 99 of a scan's intensities, of every third voxel an axis; its extent in mm, x, y, z."""
    image = sitk.DICOMOrient(image, orientation)
    extent_mm = np.multiply(image.GetSize(), image.GetSpacing())
    few = sitk.GetArrayViewFromImage(image)[::3, ::3, ::3]
    return {"intensity": np.percentile(few, (1, 99)).round(3).tolist(), "extent_mm": extent_mm.round(1).tolist()}


def case_file(folder: Path, case: str, kind: str) -> Path:
    """One file of a preprocessed case: its 'image' or 'label', or the 'truth' on the scan's own grid."""
    return folder / "files" / f"{case}_{kind}.nii.gz"


def read_case(folder: Path, case: str) -> tuple[sitk.Image, sitk.Image]:
    """Image and label map of a preprocessed case. Raises MissingDataError where it is not made yet."""
    return _read(folder, case, "image"), _read(folder, case, "label")


def read_truth(folder: Path, case: str) -> sitk.Image:
    """The label map of a case on its scan's own grid. Raises MissingDataError where it is not made yet."""
    return _read(folder, case, "truth")


def _read(folder: Path, case: str, kind: str) -> sitk.Image:
    path = case_file(folder, case, kind)
    if not path.is_file():
        raise MissingDataError(f"{path}: not there; make it with snakemake --cores all -- {folder}/manifest.json")
    return sitk.ReadImage(str(path))
