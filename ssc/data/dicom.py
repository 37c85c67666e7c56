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
from ssc.errors import DataError, check_name

GAP_MM = 0.01
ROUNDED_MM = 0.11  # positions may be rounded to 0.1 mm, so a gap may differ by as much
SHIFT_MM = 0.1
PERPENDICULAR = 1e-3
SAME_STACK = 0.85  # cosine between slice normals; a localiser's planes stand across
RIVAL = 0.25  # a stack with fewer slices than this share of the largest is no volume to choose
KINDS = {"CT": "ct", "MR": "mr"}
GEOMETRY = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6}  # numbers of each
READ = [*GEOMETRY, "SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Modality", "Rows", "Columns",
        "NumberOfFrames", "PhotometricInterpretation"]  # fmt: skip
COMPRESSED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")  # transfer syntaxes
PIXELS_START, PIXELS_END = b"\xe0\x7f\x10\x00", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


@dataclass(frozen=True)
class Slice:
    """The header of one file; the geometry's tags are empty where the file lacks them."""

    file: Path
    series: str
    description: str
    modality: str
    size: tuple[int, int]  # columns, rows; 0, 0: no image
    frames: int
    greys: str
    geometry: dict[str, np.ndarray]  # by tag

    @property
    def spacing_mm(self) -> np.ndarray:
        """Of rows and of columns."""
        return self.geometry["PixelSpacing"]

    @property
    def position_mm(self) -> np.ndarray:
        """Of the first voxel's centre."""
        return self.geometry["ImagePositionPatient"]

    @property
    def axes(self) -> np.ndarray:
        """Directions of rows and columns, (3, 2), of length 1."""
        axes = self.geometry["ImageOrientationPatient"].reshape(2, 3).T
        return axes / np.linalg.norm(axes, axis=0)

    @property
    def normal(self) -> np.ndarray:
        """Across the slice."""
        return np.cross(*self.axes.T)


@dataclass(frozen=True)
class Stack:
    """Slices of one series that lie in parallel planes."""

    slices: list[Slice]

    @property
    def said(self) -> str:
        """As told to the user."""
        first = self.slices[0]
        described = f" '{first.description}'" if first.description else ""
        return f"series {first.series}{described}, {len(self.slices)} slices (e.g. {first.file.name})"


def read_dicom(folder: Path, series: str | None = None) -> tuple[Volume, list[Path]]:
    """The one volume of a DICOM folder as image (float32), and its files in the order of the image's slices.

    What lies beside it (a localiser, a report) is noted. Slices are ordered by position along their normal, and their
    real distance is the spacing. ``series``: SeriesInstanceUID where several are there. Raises DataError for a folder
    without DICOM, an unreadable file, more than one volume, a slice without its geometry, slices of different
    geometry, and positions that are doubled or missing.
    """
    stack, notes = _volume(Path(folder), series)
    for one in stack.slices:
        _check_header(one)
    _check_same_slices(stack.slices)
    normal = stack.slices[0].normal
    slices = sorted(stack.slices, key=lambda one: float(normal @ one.position_mm))
    positions_mm = np.array([one.position_mm for one in slices])
    files = [one.file for one in slices]
    gap_mm = _check_gaps(positions_mm @ normal, files)
    _check_straight(positions_mm, normal, Path(folder))
    image = sitk.GetImageFromArray(np.concatenate([sitk.GetArrayFromImage(_read_slice(file)) for file in files]))
    rows_mm, columns_mm = slices[0].spacing_mm.tolist()
    image.SetSpacing((columns_mm, rows_mm, gap_mm))
    image.SetOrigin(positions_mm[0].tolist())
    image.SetDirection(np.column_stack([slices[0].axes, normal]).ravel().tolist())
    return Volume(image, notes), files


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder by name."""
    return [one.file for one in _slices(Path(folder))]


def dicom_kind(folder: Path, series: str | None = None) -> str | None:
    """'ct' or 'mr' as the DICOM folder's volume says, None where it says something else. Raises DataError."""
    stack, _ = _volume(Path(folder), series)
    return KINDS.get(stack.slices[0].modality)


def _slices(folder: Path) -> list[Slice]:
    """Every DICOM file in a folder, by name; other files are passed over, links to nothing are not."""
    check_name(folder.resolve())
    files = [file for file in sorted(folder.iterdir()) if not file.is_dir() and not file.name.startswith(".")]
    gone = [file for file in files if not file.exists()]
    if gone:
        raise DataError(f"{gone[0]}: a link to a file that is not there ({len(gone)} of {len(files)}). Copy it whole.")
    found = (_header(file) for file in files if file.name != "DICOMDIR")
    return [one for one in found if one is not None]


def _header(file: Path) -> Slice | None:
    """None for another kind of file. Raises DataError for a broken one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=READ)
            known = bool(header.get("SOPClassUID") or header.get("Rows"))
    except PermissionError:
        raise
    except Exception:  # whatever pydicom's parser stumbles over in a file of another kind
        known = False
    if not known:
        if file.suffix.lower() == ".dcm":
            raise _unreadable(file)
        return None
    columns, rows, frames = (int(_numbers(file, header, tag, 1)[0]) if header.get(tag) else 0 for tag in
                             ("Columns", "Rows", "NumberOfFrames"))  # fmt: skip
    return Slice(
        file,
        series=str(header.get("SeriesInstanceUID", "")),
        description=str(header.get("SeriesDescription", "")),
        modality=str(header.get("Modality", "")),
        size=(columns, rows),
        frames=frames,
        greys=str(header.get("PhotometricInterpretation", "MONOCHROME2")),
        geometry={tag: _numbers(file, header, tag, count) for tag, count in GEOMETRY.items() if header.get(tag)},
    )


def _numbers(file: Path, header: Dataset, tag: str, count: int) -> np.ndarray:
    try:
        found = np.array(header[tag].value, dtype=float).reshape(-1)
    except Exception:  # as pydicom's conversions do
        found = np.array([])
    if found.size != count or not np.isfinite(found).all():
        raise DataError(f"{file}: its {tag} can't be read, expected {count} numbers. Is its copy complete?")
    return found


def _unreadable(file: Path) -> DataError:
    return DataError(f"{file}: can't be read as DICOM, expected a whole image file. Is its copy complete?")


def _volume(folder: Path, series: str | None) -> tuple[Stack, tuple[str, ...]]:
    """The stack to read, and what lies beside it."""
    found = _slices(folder)
    images = [one for one in found if all(one.size)]
    notes = [f"{one.file.name} is no image ({one.modality}) and is left out" for one in found if one not in images]
    frames = [one.file for one in images if one.frames > 1]
    if frames:
        raise DataError(
            f"{frames[0]}: holds several frames, expected one slice a file. Convert it to NIfTI (dcm2niix)."
        )
    stacks = sorted(_stacks(images), key=lambda stack: -len(stack.slices))
    if series is not None:
        chosen = [stack for stack in stacks if stack.slices[0].series == series]
        if not chosen:
            known = "; ".join(stack.said for stack in stacks) or "none"
            raise DataError(f"{folder}: no series {series}; expected one of: {known}")
        stacks = chosen
    if not stacks or len(stacks[0].slices) < 2:
        raise DataError(
            f"{folder}: {len(images)} DICOM images found, expected a series of at least 2 slices. "
            f"Give the folder that holds the slices themselves."
        )
    rivals = [stack for stack in stacks if len(stack.slices) >= max(2, RIVAL * len(stacks[0].slices))]
    if len(rivals) > 1:
        raise DataError(
            f"{folder}: {len(rivals)} series found, expected 1: {'; '.join(stack.said for stack in rivals)}. "
            f"Choose one by --series UID, or keep each in its own folder."
        )
    return stacks[0], tuple([*notes, *(f"left out: {stack.said}" for stack in stacks[1:])])


def _stacks(images: list[Slice]) -> list[Stack]:
    stacks: list[Stack] = []
    for one in images:
        for stack in stacks:
            if stack.slices[0].series == one.series and _parallel(one, stack.slices[0]):
                stack.slices.append(one)
                break
        else:
            stacks.append(Stack([one]))
    return stacks


def _parallel(a: Slice, b: Slice) -> bool:
    if any("ImageOrientationPatient" not in one.geometry for one in (a, b)):
        return True
    return abs(float(a.normal @ b.normal)) > SAME_STACK


def _check_header(one: Slice) -> None:
    missing = [tag for tag in GEOMETRY if tag not in one.geometry]
    if missing:
        raise DataError(
            f"{one.file}: has no {', no '.join(missing)}, expected the geometry of its slice. Export it again."
        )
    if one.spacing_mm.min() <= 0 or abs(np.linalg.norm(one.normal) - 1) > PERPENDICULAR:
        found = f"pixel spacing {numbers(one.spacing_mm)} mm and axes {numbers(one.axes.T.ravel())}"
        raise DataError(f"{one.file}: has {found}, expected lengths above 0 and perpendicular axes. Export it again.")
    if one.greys != "MONOCHROME2":
        raise DataError(f"{one.file}: its grey values are {one.greys}, expected MONOCHROME2. Export it again so.")


def _read_slice(file: Path) -> sitk.Image:
    try:
        if _is_cut(file.read_bytes()):
            raise RuntimeError("the compressed pixels have no end")
        image = sitk.ReadImage(str(file), sitk.sitkFloat32, imageIO="GDCMImageIO")
    except (EOFError, RuntimeError) as error:
        kind = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"]).SOPClassUID
        if kind.name == str(kind):  # in no dictionary
            raise DataError(
                f"{file}: its kind (SOP class {kind}) is unknown, expected CT or MR images. Export it again so."
            ) from error
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


def _check_same_slices(slices: list[Slice]) -> None:
    first, *others = slices
    for one in others:
        for what, found, expected, tolerance in (
            ("size", one.size, first.size, 0),
            ("pixel spacing", one.spacing_mm, first.spacing_mm, LENGTH_MM),
            ("orientation", one.axes.T.ravel(), first.axes.T.ravel(), COSINE),
        ):
            if np.abs(np.subtract(found, expected)).max() > tolerance:
                raise DataError(
                    f"{one.file}: {what} is {numbers(found)}, expected {numbers(expected)} as in {first.file.name}. "
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
