"""Reading DICOM folders: one volume, chosen or asked for, and the checks that its slices pass."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

from ssc.data.scan import COSINE, LENGTH_MM, Volume, numbers
from ssc.errors import DataError

GAP_MM = 0.01
ROUNDED_MM = 0.11  # positions may be rounded to 0.1 mm, so a gap may differ by as much
SHIFT_MM = 0.1
SAME_STACK = 0.85  # cosine between slice normals; a localiser's planes stand across
RIVAL = 0.25  # a stack with fewer slices than this share of the largest is no volume to choose
MODALITIES = {"CT": "ct", "MR": "mri"}
NEEDED = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
READ = [*NEEDED, "SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "Rows", "Columns",
        "NumberOfFrames", "PhotometricInterpretation"]  # fmt: skip
COMPRESSED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")  # transfer syntaxes
PIXELS_START, PIXELS_END = b"\xe0\x7f\x10\x00", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@dataclass(frozen=True)
class Stack:
    """Slices of one series that lie in parallel planes."""

    series: str
    headers: dict[Path, Dataset]

    @property
    def said(self) -> str:
        """As told to the user."""
        file, header = next(iter(self.headers.items()))
        described = f" '{header.SeriesDescription}'" if header.get("SeriesDescription") else ""
        return f"series {self.series}{described}, {len(self.headers)} slices (e.g. {file.name})"


def read_dicom(folder: Path, series: str | None = None) -> tuple[Volume, list[Path]]:
    """The one volume of a DICOM folder as image (float32), and its files in the order of the image's slices.

    What lies beside it (a localiser, a report) is noted. Slices are ordered by position along their normal, and their
    real distance is the spacing. ``series``: SeriesInstanceUID where several are there. Raises DataError for a folder
    without DICOM, an unreadable file, more than one volume, a slice without its geometry, slices of different
    geometry, and positions that are doubled or missing.
    """
    stack, notes = _volume(Path(folder), series)
    headers = stack.headers
    for file, header in headers.items():
        _check_header(file, header)
    _check_same_slices(headers)
    normal = _normal(next(iter(headers.values())))
    files = sorted(headers, key=lambda file: float(normal @ _position(headers[file])))
    positions_mm = np.array([_position(headers[file]) for file in files])
    gap_mm = _check_gaps(positions_mm @ normal, files)
    _check_straight(positions_mm, normal, Path(folder))
    slices = [_read_slice(file) for file in files]
    image = sitk.GetImageFromArray(np.concatenate([sitk.GetArrayViewFromImage(one) for one in slices]))
    row_mm, column_mm = (float(mm) for mm in headers[files[0]].PixelSpacing)
    image.SetSpacing((column_mm, row_mm, gap_mm))
    image.SetOrigin(positions_mm[0].tolist())
    image.SetDirection(np.column_stack([_axes(headers[files[0]]), normal]).ravel().tolist())
    return Volume(image, notes), files


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder by name."""
    return list(_headers(Path(folder)))


def dicom_modality(folder: Path, series: str | None = None) -> str | None:
    """'ct' or 'mri' as the DICOM folder's volume says, None where it says something else. Raises DataError."""
    stack, _ = _volume(Path(folder), series)
    return MODALITIES.get(next(iter(stack.headers.values())).get("Modality"))


def _headers(folder: Path) -> dict[Path, Dataset]:
    """Header of every DICOM file in a folder, by name; other files are passed over."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.name != "DICOMDIR":
            header = _header(file)
            if header is not None:
                found[file] = header
    return found


def _header(file: Path) -> Dataset | None:
    """None for another kind of file. Raises DataError for a broken one that is named as DICOM."""
    named = file.suffix.lower() == ".dcm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=READ)
            if header.get("SOPClassUID") or header.get("Rows"):
                return header
    except PermissionError:
        raise
    except Exception:  # whatever pydicom's parser stumbles over in a file of another kind
        pass
    if named:
        raise _unreadable(file)
    return None


def _unreadable(file: Path) -> DataError:
    return DataError(f"{file}: can't be read as DICOM, expected a whole image file. Is its copy complete?")


def _volume(folder: Path, series: str | None) -> tuple[Stack, tuple[str, ...]]:
    """The stack to read, and what lies beside it."""
    headers = _headers(folder)
    images = {file: header for file, header in headers.items() if header.get("Rows")}
    notes = [f"{file.name} is no image ({header.get('Modality', '?')}) and is left out" for file, header in
             headers.items() if file not in images]  # fmt: skip
    frames = {file: header for file, header in images.items() if int(header.get("NumberOfFrames") or 1) > 1}
    if frames:
        raise DataError(
            f"{next(iter(frames))}: holds several frames, expected one slice a file. Convert it to NIfTI (dcm2niix)."
        )
    stacks = sorted(_stacks(images), key=lambda stack: -len(stack.headers))
    if series is not None:
        chosen = [stack for stack in stacks if stack.series == series]
        if not chosen:
            known = "; ".join(stack.said for stack in stacks) or "none"
            raise DataError(f"{folder}: no series {series}; expected one of: {known}")
        stacks = chosen
    if not stacks or len(stacks[0].headers) < 2:
        raise DataError(
            f"{folder}: {len(images)} DICOM images found, expected a series of at least 2 slices. "
            f"Give the folder that holds the slices themselves."
        )
    rivals = [stack for stack in stacks if len(stack.headers) >= max(2, RIVAL * len(stacks[0].headers))]
    if len(rivals) > 1:
        raise DataError(
            f"{folder}: {len(rivals)} series found, expected 1: {'; '.join(stack.said for stack in rivals)}. "
            f"Choose one by --series UID, or keep each in its own folder."
        )
    return stacks[0], tuple([*notes, *(f"left out: {stack.said}" for stack in stacks[1:])])


def _stacks(images: dict[Path, Dataset]) -> list[Stack]:
    stacks: list[Stack] = []
    for file, header in images.items():
        series = str(header.get("SeriesInstanceUID", ""))
        for stack in stacks:
            if stack.series == series and _parallel(header, next(iter(stack.headers.values()))):
                stack.headers[file] = header
                break
        else:
            stacks.append(Stack(series, {file: header}))
    return stacks


def _parallel(a: Dataset, b: Dataset) -> bool:
    if not (a.get("ImageOrientationPatient") and b.get("ImageOrientationPatient")):
        return True
    return abs(float(_normal(a) @ _normal(b))) > SAME_STACK


def _check_header(file: Path, header: Dataset) -> None:
    missing = [name for name in NEEDED if not header.get(name)]
    if missing:
        raise DataError(f"{file}: has no {', no '.join(missing)}, expected the geometry of its slice. Export it again.")
    if header.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        raise DataError(
            f"{file}: its grey values are {header.PhotometricInterpretation}, expected MONOCHROME2. Export it again so."
        )


def _read_slice(file: Path) -> sitk.Image:
    try:
        if _is_cut(file.read_bytes()):
            raise RuntimeError("the compressed pixels have no end")
        image = sitk.ReadImage(str(file), sitk.sitkFloat32, imageIO="GDCMImageIO")
    except (EOFError, RuntimeError) as error:
        raise DataError(
            f"{file}: can't be read as DICOM, expected a whole image file. Is its copy complete?"
        ) from error
    if image.GetDimension() != 3 or image.GetSize()[2] != 1:
        raise DataError(f"{file}: holds an image of size {image.GetSize()}, expected one slice a file.")
    return image


def _is_cut(content: bytes) -> bool:
    """Whether a DICOM file's compressed pixels lack their end: GDCM's decoder may never return from those."""
    if not any(syntax in content[:1024] for syntax in COMPRESSED):
        return False
    return content.rfind(PIXELS_END) < content.rfind(PIXELS_START)


def _position(header: Dataset) -> np.ndarray:
    return np.array([float(mm) for mm in header.ImagePositionPatient])


def _axes(header: Dataset) -> np.ndarray:
    """Directions of a slice's rows and columns, (3, 2), of length 1."""
    axes = np.array([float(x) for x in header.ImageOrientationPatient]).reshape(2, 3).T
    return axes / np.linalg.norm(axes, axis=0)


def _normal(header: Dataset) -> np.ndarray:
    return np.cross(*_axes(header).T)


def _check_same_slices(headers: dict[Path, Dataset]) -> None:
    def geometry(header: Dataset) -> dict[str, tuple[list[float], float]]:
        return {
            "size": ([header.Columns, header.Rows], 0),
            "pixel spacing": ([float(mm) for mm in header.PixelSpacing], LENGTH_MM),
            "orientation": (_axes(header).T.ravel().tolist(), COSINE),
        }

    (first, reference), *others = headers.items()
    for file, header in others:
        for what, (found, tolerance) in geometry(header).items():
            expected, _ = geometry(reference)[what]
            if np.abs(np.subtract(found, expected)).max() > tolerance:
                raise DataError(
                    f"{file}: {what} is {numbers(found)}, expected {numbers(expected)} as in {first.name}. "
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
            f"expected one file a position. Two phases, echoes or copies? Keep one in a folder of its own."
        )
    if abs(gaps_mm[oddest] - expected_mm) > max(min(ROUNDED_MM, expected_mm / 4), 0.01 * expected_mm):
        low, high = files[oddest : oddest + 2]
        raise DataError(
            f"{high.parent}: {low.name} and {high.name} lie {gaps_mm[oddest]:.3f} mm apart, "
            f"expected {expected_mm:.3f} mm. Is a slice missing?"
        )
    return float(positions_mm[-1] - positions_mm[0]) / len(gaps_mm)


def _check_straight(positions_mm: np.ndarray, normal: np.ndarray, folder: Path) -> None:
    """The slices lie straight above each other; a tilted gantry's don't."""
    offsets = positions_mm - positions_mm[0]
    shift_mm = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if shift_mm > SHIFT_MM:
        raise DataError(
            f"{folder}: slices are shifted sideways by up to {shift_mm:.2f} mm, expected 0 (tilted gantry?). "
            f"Resample the series to a straight grid first."
        )
