"""Tiny archives in every layout, 12 × 10 × 6 voxels a case, for tests."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from PIL import Image

from ssc.data.sources import source

SIZE = (12, 10, 6)  # x, y, z
GAP_MM = 6.0
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1]])
BTCV_VALUES = [(6, 6), (1, 1), (2, 2), (3, 3)]
CHAOS_VALUES = [(56, 70), (241, 255), (111, 135), (176, 200)]
MMWHS_VALUES = [(205, 205), (420, 421), (500, 500), (820, 820)]
VALUES = {"btcv": BTCV_VALUES, "chaos": CHAOS_VALUES, "mmwhs_ct": MMWHS_VALUES, "mmwhs_mri": MMWHS_VALUES}


def image_array(seed: int) -> np.ndarray:
    """Noise (x, y, z) that differs by seed; its mean grows from slice to slice."""
    noise = np.random.default_rng(seed).integers(0, 50, SIZE)
    return (noise + 100 * np.arange(SIZE[2])).astype(np.int16)


def label_array(values: tuple[int, ...]) -> np.ndarray:
    """Label map (x, y, z): a bar for each value, in every slice but the first."""
    label = np.zeros(SIZE, np.int16)
    for row, value in enumerate(values, start=1):
        label[2:6, row, 1:] = value
    return label


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """A NIfTI file of an array (x, y, z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def btcv_case(folder: Path, case: str) -> tuple[Path, Path]:
    """Image and label map of one BTCV case."""
    training = folder / "RawData/Training"
    image = write_nifti(training / f"img/img{case}.nii.gz", 2 * image_array(int(case)) - 1000)  # HU
    label = write_nifti(training / f"label/label{case}.nii.gz", label_array((6, 1, 2, 3, 13)))
    return image, label


def mmwhs_case(folder: Path, case: str, modality: str) -> tuple[Path, Path]:
    """Image and label map of one MM-WHS case; ``modality``: ct or mr."""
    start = folder / f"{modality}_train" / f"{modality}_train_{case}"
    image = write_nifti(Path(f"{start}_image.nii.gz"), image_array(int(case) + ord(modality[0])))
    label = write_nifti(Path(f"{start}_label.nii.gz"), label_array((205, 420, 500, 820, 850)))
    return image, label


def write_slice(
    file: Path,
    array: np.ndarray,
    position_mm: tuple[float, float, float],
    *,
    axes: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    spacing_mm: tuple[float, float] = (1.5, 1.5),
    series: str = "1.2.3.4",
    modality: str = "MR",
    compressed: bool = False,
) -> Path:
    """A DICOM file of one slice (rows, columns)."""
    image = sitk.GetImageFromArray(array[None].astype(np.uint16))
    image.SetSpacing((*spacing_mm, GAP_MM))
    tags = {
        "0008|0060": modality,
        "0020|000e": series,
        "0020|0032": "\\".join(f"{value:.4f}" for value in position_mm),
        "0020|0037": "\\".join(f"{value:.6f}" for value in axes),
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    rows, columns = np.reshape(axes, (2, 3))
    image.SetDirection(np.column_stack([rows, columns, np.cross(rows, columns)]).ravel().tolist())
    image.SetOrigin(position_mm)
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    if compressed:
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
    writer.SetFileName(str(file))
    writer.Execute(image)
    return file


def chaos_case(folder: Path, case: str, head_first: bool = False) -> tuple[list[Path], list[Path]]:
    """DICOM and PNG files of one CHAOS case by name; ``head_first``: the first name lies highest."""
    scan = folder / "Train_Sets/MR" / case / "T2SPIR"
    image, label = image_array(1000 + int(case)), label_array((63, 252, 126, 189)).astype(np.uint8)
    slices, grounds = [], []
    (scan / "Ground").mkdir(parents=True)
    for number in range(SIZE[2]):
        index = SIZE[2] - 1 - number if head_first else number
        stem = f"IMG-{int(case):04d}-{number + 1:05d}"
        position_mm = (-9.0, -7.5, 20 + GAP_MM * index)
        slices.append(write_slice(scan / f"DICOM_anon/{stem}.dcm", image[..., index].T, position_mm))
        grounds.append(scan / f"Ground/{stem}.png")
        Image.fromarray(label[..., index].T.copy()).save(grounds[-1])
    return slices, grounds


def read_btcv(folder, case="0007"):
    return source("btcv").read(folder, case, BTCV_VALUES)


def read_chaos(folder, case="3"):
    return source("chaos").read(folder, case, CHAOS_VALUES)


def read_mmwhs(folder, name, case="1007"):
    return source(name).read(folder, case, MMWHS_VALUES)


def label_of(scan) -> np.ndarray:
    """Our labels (x, y, z) of a scan."""
    return sitk.GetArrayFromImage(scan.label).T
