"""Reading any scan: a NIfTI file, or a folder with a DICOM series."""

from __future__ import annotations

from pathlib import Path

from ssc.data.dicom import read_dicom
from ssc.data.nifti import read_nifti
from ssc.data.scan import Volume, check_image


def read_image(path: Path, series: str | None = None) -> Volume:
    """A checked image (float32); ``series``: SeriesInstanceUID where a folder holds several. Raises DataError."""
    path = Path(path)
    volume = read_dicom(path, series)[0] if path.is_dir() else read_nifti(path)
    check_image(volume.image, str(path))
    return volume
