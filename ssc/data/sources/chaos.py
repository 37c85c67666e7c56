"""CHAOS: abdominal T2-SPIR MRI, per case one DICOM series and a PNG label map for each slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from ssc.data.dicom import dicom_files, read_dicom
from ssc.data.scan import Scan, check_image, check_labelled, check_units, map_labels
from ssc.errors import DataError, MissingDataError
from ssc.tasks import natural


@dataclass(frozen=True)
class Archive:
    """A file to download: size in bytes, and the pattern of its members that are needed."""

    address: str
    size: int
    sha256: str
    members: str


KIND = "mr"
FOLDER = "Train_Sets/MR"
LAYOUT = f"{FOLDER}/<case>/T2SPIR/DICOM_anon/*.dcm and {FOLDER}/<case>/T2SPIR/Ground/*.png"
WHERE = "CHAOS_Train_Sets.zip at https://zenodo.org/records/3431873 (CC BY-NC-SA 4.0)"
ARCHIVE = Archive(
    address="https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip",
    size=890_771_694,
    sha256="535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
    members=f"{FOLDER}/*/T2SPIR/*",
)


def cases(folder: Path) -> list[str]:
    """Case ids ('1', '2', …) in numerical order. Raises MissingDataError, DataError for half a case."""
    found = candidates(folder)
    for case in found:
        files(folder, case)
    return found


def candidates(folder: Path) -> list[str]:
    """Ids of all cases with a folder. Raises MissingDataError where there are none."""
    found = [entry.name for entry in (Path(folder) / FOLDER).glob("*") if entry.is_dir() and entry.name.isdecimal()]
    if not found:
        raise MissingDataError(
            f"chaos: no cases in {folder}. Expected {LAYOUT} there. The workflow fetches "
            f"{WHERE}; unpack it there yourself, or use data=phantom, which needs no download."
        )
    return sorted(found, key=natural)


def files(folder: Path, case: str) -> list[Path]:
    """All slices (DICOM) and label maps (PNG) of a case. Raises DataError when one lacks its partner."""
    scan = Path(folder) / FOLDER / case / "T2SPIR"
    for part in (scan / "DICOM_anon", scan / "Ground"):
        if not part.is_dir():
            raise DataError(f"chaos {case}: no folder {part}, expected one beside the other. Unpack it again.")
    slices = {file.stem: file for file in dicom_files(scan / "DICOM_anon")}
    labels = {file.stem: file for file in (scan / "Ground").glob("[!.]*.png")}
    for stem in sorted(slices.keys() ^ labels.keys()):
        present = slices.get(stem) or labels[stem]
        missing = f"Ground/{stem}.png" if stem in slices else f"DICOM_anon/{stem}.dcm"
        raise DataError(f"chaos {case}: {present} is there, expected also {missing}. Unpack it again.")
    return sorted([*slices.values(), *labels.values()])


def read(folder: Path, case: str, values: list[tuple[int, int]]) -> Scan:
    """The scan of a case; ``values``: first and last grey value of our labels 1, 2, ….

    Raises DataError for a file that can't be read or holds something else.
    """
    given = files(folder, case)
    (image, notes), slices = read_dicom(Path(folder) / FOLDER / case / "T2SPIR" / "DICOM_anon")
    if 2 * len(slices) < len(given):  # a label map beside each
        raise DataError(f"chaos {case}: {slices[0].parent}: expected one series; {notes[0]}. Unpack it again.")
    check_image(image, f"chaos {case}")
    notes = (*notes, *check_units(image, KIND, f"chaos {case}"))
    grounds = [file.parent.parent / "Ground" / f"{file.stem}.png" for file in slices]
    columns, rows, _ = image.GetSize()
    labels = [_read_labels(file, (rows, columns), values, f"chaos {case} {file.name}") for file in grounds]
    check_labelled(np.stack(labels), f"chaos {case}")
    label = sitk.GetImageFromArray(np.stack(labels))
    label.CopyInformation(image)
    return Scan(case, "chaos", image, label, notes)


def _read_labels(file: Path, shape: tuple[int, int], values: list[tuple[int, int]], name: str) -> np.ndarray:
    """Our label values (uint8) of one slice, of ``shape`` (rows, columns)."""
    try:
        with Image.open(file) as png:
            grey = np.asarray(png)
    except (OSError, SyntaxError) as error:  # Pillow raises both for a damaged PNG
        raise DataError(f"{file}: can't be read as PNG ({error}), expected a label map. Copy it again.") from error
    if grey.shape != shape:
        raise DataError(f"{name}: PNG has shape {grey.shape}, expected {shape} as its DICOM slice. Unpack it again.")
    return map_labels(grey, values, name, accepted=[(0, 0), *values])
