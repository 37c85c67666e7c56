"""Writing images and label maps: proven whole before a file gets its name."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from ssc.data.nifti import UNREADABLE, open_nifti
from ssc.errors import DataError, check_name
from ssc.whole import whole

GEOMETRY = ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c",
            "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")  # fmt: skip


def write_image(image: sitk.Image, path: Path, compression: int = -1) -> None:
    """A NIfTI file (.nii.gz) of an image or label map; ``compression`` 1 (fast) to 9, -1: zlib's choice.

    Raises DataError where the file could not be written whole; the one before it stays as it was.
    """
    check_name(path)
    with whole(path) as partial:
        try:
            # SimpleITK says nothing of a full disk.
            sitk.WriteImage(image, str(partial), useCompression=True, compressionLevel=compression)
        except RuntimeError as error:
            raise _unwritten(path, error) from None
        _prove(partial, path, sitk.GetArrayViewFromImage(image).T)


def write_labels_like(labels: np.ndarray, scan: Path, path: Path) -> None:
    """A label map (D, H, W) with the geometry of a NIfTI scan and nothing else of its header.

    Raises DataError as ``write_image``.
    """
    given = open_nifti(scan)
    array, header = labels.transpose(2, 1, 0), type(given.header)()
    for name in GEOMETRY:
        header[name] = given.header[name]
    header.set_data_dtype(np.uint8)
    image = type(given)(array, None, header)
    with whole(path) as partial:
        nib.save(image, partial)
        _prove(partial, path, array)


def _prove(partial: Path, path: Path, array: np.ndarray) -> None:
    """Read back: the checksum at the stream's end, and every voxel."""
    try:
        same = np.array_equal(np.asanyarray(open_nifti(partial).dataobj), array)
    except (*UNREADABLE, OSError) as error:
        raise _unwritten(path, error) from None
    if not same:
        raise _unwritten(path, "it reads back differently")


def _unwritten(path: Path, why: object) -> DataError:
    reason = str(why).strip().splitlines()[-1] if str(why).strip() else "nothing was written"
    return DataError(f"{path}: could not be written whole ({reason}). Is the disk full? A file before it stays.")
