"""Writing an MRI phantom as CHAOS does: one DICOM file and one PNG label map a slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from ssc.data.phantoms.painting import SEED, Triple

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"


def write_series(
    series: Path,
    case: int,
    image: NDArray[np.uint16],
    label: NDArray[np.uint8],
    spacing_mm: Triple,
    origin_mm: Triple,
) -> None:
    """Write one file pair a slice; every third case is numbered from the head, as some in the archive are."""
    for part in ("DICOM_anon", "Ground"):
        (series / part).mkdir(parents=True, exist_ok=True)
    order = range(len(image)) if case % 3 else reversed(range(len(image)))
    for number, index in enumerate(order, start=1):
        stem = f"IMG-{case:04d}-{number:05d}"
        position = (*origin_mm[:2], origin_mm[2] + index * spacing_mm[2])
        tags = _tags(case, number, position, spacing_mm)
        _write_slice(series / "DICOM_anon" / f"{stem}.dcm", image[index], tags)
        Image.fromarray(label[index]).save(series / "Ground" / f"{stem}.png")


def _tags(case: int, number: int, position_mm: Triple, spacing_mm: Triple) -> dict[str, str]:
    uid = f"2.25.{SEED}{case:04d}"
    return {
        "0008|0016": MR_IMAGE_STORAGE,
        # GDCM would write the present date and time.
        "0008|0020": "20200101",
        "0008|0030": "120000",
        "0008|0018": f"{uid}3{number:05d}",
        "0008|0060": "MR",
        "0018|0050": f"{spacing_mm[2]:.4f}",
        "0018|0088": f"{spacing_mm[2]:.4f}",
        "0018|5100": "HFS",
        "0020|000d": f"{uid}1",
        "0020|000e": f"{uid}2",
        "0020|0013": str(number),
        "0020|0032": "\\".join(f"{p:.4f}" for p in position_mm),
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0028|0030": f"{spacing_mm[1]:.4f}\\{spacing_mm[0]:.4f}",
    }


def _write_slice(path: Path, pixels: NDArray[np.uint16], tags: dict[str, str]) -> None:
    image = sitk.GetImageFromArray(pixels[None])
    row, column = (float(v) for v in tags["0028|0030"].split("\\"))
    image.SetSpacing((column, row, float(tags["0018|0088"])))
    image.SetOrigin([float(v) for v in tags["0020|0032"].split("\\")])
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
