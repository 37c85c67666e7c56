"""Scans: reading NIfTI files and DICOM series, and the checks that every scan passes."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ssc.errors import DataError

GAP_MM = 0.01  # positions in DICOM files are rounded, so gaps differ a little
SHIFT_MM = 0.1
LENGTH_MM = 1e-3
COSINE = 1e-4
SHEAR = 1e-3
MODALITIES = {"CT": "ct", "MR": "mri"}
# What nibabel and gzip raise for files that are damaged or something else.
UNREADABLE = (
    OSError, EOFError, zlib.error, ValueError, TypeError, ImageFileError, HeaderDataError, WrapStructError
)  # fmt: skip
COMPRESSED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")  # transfer syntaxes
PIXELS_START, PIXELS_END = b"\xe0\x7f\x10\x00", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
SERIES, MODALITY = "0020|000e", "0008|0060"


@dataclass(frozen=True)
class Scan:
    """One patient's scan: image (float32) and label map (uint8, our values 0–Z-1) on the same grid."""

    case: str
    modality: str
    image: sitk.Image
    label: sitk.Image | None


def read_image(path: Path) -> sitk.Image:
    """A checked image (float32) from a NIfTI file or a folder with one DICOM series. Raises DataError."""
    path = Path(path)
    image = read_dicom(path)[0] if path.is_dir() else read_nifti(path)
    check_image(image, str(path))
    return image


def read_nifti(path: Path) -> sitk.Image:
    """A 3D NIfTI file as image (float32), its geometry turned from nibabel's RAS to ITK's LPS, in mm.

    Raises DataError for a missing, truncated or foreign file, one that isn't 3D, and a sheared grid.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        # The whole stream is unpacked: only its end holds the checksum.
        volume = nib.Nifti1Image.from_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)
        shape, affine = volume.shape, volume.affine
        array = volume.get_fdata(dtype=np.float32) if len(shape) == 3 else None
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found. Expected a NIfTI file (.nii, .nii.gz) or a DICOM folder.") from error
    except UNREADABLE as error:
        raise DataError(
            f"{path}: can't be read as NIfTI ({error}). Expected a whole .nii or .nii.gz file; copy it again."
        ) from error
    if array is None:
        raise DataError(f"{path}: has {len(shape)} dimensions {shape}, expected 3. Save one volume alone.")
    return _from_ras(array, affine, path)


def _from_ras(array: np.ndarray, affine: np.ndarray, path: Path) -> sitk.Image:
    """ITK image of an array (x, y, z) and its voxel-to-RAS matrix (4, 4), in mm."""
    to_lps = np.diag([-1.0, -1.0, 1.0])
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing_mm.min() <= 0:
        raise DataError(f"{path}: its affine has spacing {spacing_mm} mm, expected lengths above 0.")
    cosines = affine[:3, :3] / spacing_mm
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > SHEAR:
        raise DataError(f"{path}: its affine has shear, expected perpendicular axes. Resample it first.")
    image = sitk.GetImageFromArray(array.T)  # z, y, x
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((to_lps @ cosines).ravel().tolist())
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    return image


def read_dicom(folder: Path) -> tuple[sitk.Image, list[Path]]:
    """One DICOM series as image (float32), and its files in the order of the image's slices.

    Slices are ordered by position along the slice normal; their real distance is the spacing.
    Raises DataError for a folder without DICOM, an unreadable file, more than one series, slices of
    different geometry, and positions that are doubled or missing.
    """
    folder = Path(folder)
    slices = {file: _read_slice(file) for file in dicom_files(folder)}
    if len(slices) < 2:
        raise DataError(f"{folder}: {len(slices)} DICOM file(s) found, expected a series of at least 2 slices.")
    _check_one_series(slices, folder)
    _check_same_slices(slices)
    normal = _normal(next(iter(slices.values())))
    files = sorted(slices, key=lambda file: float(normal @ slices[file].GetOrigin()))
    origins_mm = np.array([slices[file].GetOrigin() for file in files])
    gap_mm = _check_gaps(origins_mm @ normal, files)
    _check_straight(origins_mm, normal, folder)
    first = slices[files[0]]
    image = sitk.GetImageFromArray(np.concatenate([sitk.GetArrayViewFromImage(slices[file]) for file in files]))
    image.SetSpacing((*first.GetSpacing()[:2], gap_mm))
    image.SetOrigin(first.GetOrigin())
    image.SetDirection(np.column_stack([_axes(first), normal]).ravel().tolist())
    return image, files


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder by name: those that end in .dcm or begin as DICOM files do."""
    visible = (file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith("."))
    return [file for file in visible if file.name != "DICOMDIR" and _is_dicom(file)]


def dicom_modality(folder: Path) -> str | None:
    """'ct' or 'mri' as a DICOM folder's first file says, None where it says something else."""
    files = dicom_files(Path(folder))
    return MODALITIES.get(_tag(_read_slice(files[0]), MODALITY)) if files else None


def _is_dicom(file: Path) -> bool:
    if file.suffix.lower() == ".dcm":
        return True
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_slice(file: Path) -> sitk.Image:
    try:
        if _is_cut(file.read_bytes()):
            raise RuntimeError("the compressed pixels have no end")
        image = sitk.ReadImage(str(file), sitk.sitkFloat32, imageIO="GDCMImageIO")
    except (OSError, RuntimeError) as error:
        raise DataError(f"{file}: can't be read as DICOM, expected a whole image file. Copy it again.") from error
    if image.GetDimension() != 3 or image.GetSize()[2] != 1:
        raise DataError(f"{file}: holds an image of size {image.GetSize()}, expected one slice a file.")
    return image


def _is_cut(content: bytes) -> bool:
    """Whether a DICOM file's compressed pixels lack their end: GDCM's decoder may never return from those."""
    if not any(syntax in content[:1024] for syntax in COMPRESSED):
        return False
    return content.rfind(PIXELS_END) < content.rfind(PIXELS_START)


def _tag(image: sitk.Image, tag: str) -> str:
    return image.GetMetaData(tag).strip() if image.HasMetaDataKey(tag) else ""


def _axes(image: sitk.Image) -> np.ndarray:
    """Directions of a slice's rows and columns, (3, 2)."""
    return np.array(image.GetDirection()).reshape(3, 3)[:, :2]


def _normal(image: sitk.Image) -> np.ndarray:
    return np.cross(*_axes(image).T)


def _check_one_series(slices: dict[Path, sitk.Image], folder: Path) -> None:
    examples = {_tag(image, SERIES): file.name for file, image in slices.items()}
    if len(examples) > 1:
        names = " and ".join(sorted(examples.values())[:2])
        raise DataError(
            f"{folder}: {len(examples)} series found (e.g. {names}), expected 1. Keep each in its own folder."
        )


def _check_same_slices(slices: dict[Path, sitk.Image]) -> None:
    (first, reference), *others = slices.items()
    for file, image in others:
        for what, found, expected, tolerance in (
            ("size", image.GetSize()[:2], reference.GetSize()[:2], 0),
            ("pixel spacing", image.GetSpacing()[:2], reference.GetSpacing()[:2], LENGTH_MM),
            ("orientation", _axes(image).T.ravel(), _axes(reference).T.ravel(), COSINE),
        ):
            if np.abs(np.subtract(found, expected)).max() > tolerance:
                raise DataError(
                    f"{file}: {what} is {_numbers(found)}, expected {_numbers(expected)} as in {first.name}. "
                    f"Keep only the slices of one series."
                )


def _check_gaps(positions_mm: np.ndarray, files: list[Path]) -> float:
    """The distance of neighbouring slices in mm, once it's known to be the same for all."""
    gaps_mm = np.diff(positions_mm)
    expected_mm = float(np.quantile(gaps_mm, 0.5, method="lower"))
    closest, oddest = int(gaps_mm.argmin()), int(np.abs(gaps_mm - expected_mm).argmax())
    if gaps_mm[closest] <= GAP_MM:
        low, high = files[closest : closest + 2]
        raise DataError(
            f"{high.parent}: {low.name} and {high.name} have one position, {positions_mm[closest]:.3f} mm, "
            f"expected one file a position. Remove one of them."
        )
    if abs(gaps_mm[oddest] - expected_mm) > max(GAP_MM, 0.01 * expected_mm):
        low, high = files[oddest : oddest + 2]
        raise DataError(
            f"{high.parent}: {low.name} and {high.name} lie {gaps_mm[oddest]:.3f} mm apart, "
            f"expected {expected_mm:.3f} mm. Is a slice missing?"
        )
    return float(positions_mm[-1] - positions_mm[0]) / len(gaps_mm)


def _check_straight(origins_mm: np.ndarray, normal: np.ndarray, folder: Path) -> None:
    """The slices lie straight above each other; a tilted gantry's don't."""
    offsets = origins_mm - origins_mm[0]
    shift_mm = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if shift_mm > SHIFT_MM:
        raise DataError(
            f"{folder}: slices are shifted sideways by up to {shift_mm:.2f} mm, expected 0 (tilted gantry?). "
            f"Resample the series to a straight grid first."
        )


def check_image(image: sitk.Image, name: str) -> None:
    """Raises DataError for an image with NaN or infinite values, or with one value only."""
    array = sitk.GetArrayViewFromImage(image)
    broken = array.size - np.count_nonzero(np.isfinite(array))
    if broken:
        raise DataError(f"{name}: {broken} voxels are NaN or infinite, expected finite values. Export it again.")
    if array.min() == array.max():
        raise DataError(f"{name}: all voxels have value {array.min():g}, expected an image. Export it again.")


def check_same_geometry(image: sitk.Image, label: sitk.Image, name: str) -> None:
    """Raises DataError unless both have the same size, spacing, origin (1e-3 mm) and direction (1e-4)."""
    for what, found, expected, tolerance in (
        ("size", label.GetSize(), image.GetSize(), 0),
        ("spacing", label.GetSpacing(), image.GetSpacing(), LENGTH_MM),
        ("origin", label.GetOrigin(), image.GetOrigin(), LENGTH_MM),
        ("direction", label.GetDirection(), image.GetDirection(), COSINE),
    ):
        if np.abs(np.subtract(found, expected)).max() > tolerance:
            raise DataError(
                f"{name}: the label's {what} is {_numbers(found)}, expected {_numbers(expected)} "
                f"as the image's. Do both belong to the same scan?"
            )


def map_labels(
    array: np.ndarray, values: list[tuple[int, int]], name: str, accepted: list[tuple[int, int]]
) -> np.ndarray:
    """Our label values (uint8) of an array of source values, of the same shape.

    ``values``: first and last source value of our labels 1, 2, …; ``accepted``: ranges of all values
    that a source may hold. What is accepted and not ours becomes 0. Raises DataError for other values.
    """
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


def _numbers(values) -> str:
    return " × ".join(f"{value:.5g}" for value in values)
