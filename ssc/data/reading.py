"""Reading any scan: a NIfTI file, or a folder with a DICOM series."""

from __future__ import annotations

from pathlib import Path

from ssc.data.dicom import read_dicom
from ssc.data.nifti import ENDINGS, read_nifti
from ssc.data.scan import Volume, check_image
from ssc.tasks import natural


def scans_in(path: Path) -> list[Path]:
    """The scans that a path means: a NIfTI file, each one of a folder, or the folder itself, which is of DICOM."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = [file for file in path.iterdir() if file.name.lower().endswith(ENDINGS) and not file.name.startswith(".")]
    return sorted(found, key=lambda file: natural(file.name)) or [path]


def read_image(path: Path, series: str | None = None) -> Volume:
    """A checked image (float32); ``series``: SeriesInstanceUID where a folder holds several. Raises DataError."""
    path = Path(path)
    volume = read_dicom(path, series)[0] if path.is_dir() else read_nifti(path)
    check_image(volume.image, str(path))
    return volume
