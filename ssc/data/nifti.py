"""Reading NIfTI files: what a 3D scan or label map must hold, and what is said where a file leaves it open."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from ssc.data.scan import UNORIENTED, Volume
from ssc.errors import DataError

SHEAR = 1e-3
LONGEST_MM = 100.0  # side of a voxel
SHORTEST_MM = 0.01
AFFINES_MM = 0.1  # how far sform and qform may move a corner of the grid apart
UNIT_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
GZIP = b"\x1f\x8b"
ENDINGS = (".nii.gz", ".nii")
# What nibabel and zlib raise for files that are damaged or something else.
UNREADABLE = (EOFError, zlib.error, ValueError, TypeError, ImageFileError, HeaderDataError, WrapStructError)


def stem(name: str) -> str:
    """A file's name without folder and ending."""
    name = Path(name).name
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


class _Header1(nib.Nifti1Header):
    quaternion_threshold = -1e-5  # float32 rounding by other writers; nibabel allows 4e-7


class _Header2(nib.Nifti2Header):
    quaternion_threshold = -1e-5


class _Nifti1(nib.Nifti1Image):
    header_class = _Header1


class _Nifti2(nib.Nifti2Image):
    header_class = _Header2


KINDS = {348: _Nifti1, 540: _Nifti2}  # by the header's first number


def read_nifti(path: Path) -> Volume:
    """A 3D NIfTI-1 or NIfTI-2 file as image (float32), its geometry turned from nibabel's RAS to ITK's LPS, in mm.

    Packed or not is told by the content, not the name. Raises DataError for a missing, truncated or foreign file, one
    that isn't 3D, without one number a voxel, with a sheared grid, or with voxels of no plausible size.
    """
    path = Path(path)
    try:
        volume = open_nifti(path)
        shape = volume.shape
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        kind = volume.get_data_dtype()
        plain = kind.fields is None and kind.kind in "iuf"
        array = volume.get_fdata(dtype=np.float32).reshape(shape) if len(shape) == 3 and plain else None
    except FileNotFoundError:
        raise DataError(f"{path}: not found. Expected a NIfTI file (.nii, .nii.gz) or a DICOM folder.") from None
    except (*UNREADABLE, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the system's, not nibabel's
            raise
        why = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise DataError(
            f"{path}: can't be read as NIfTI ({why}). Expected a whole .nii or .nii.gz file; a DICOM series is given "
            f"by its folder."
        ) from error
    if not plain:
        what = "complex numbers" if kind.kind == "c" else "colours"
        raise DataError(f"{path}: holds {what}, expected one number a voxel. Save magnitude or intensity alone.")
    if array is None:
        raise DataError(f"{path}: has {len(shape)} dimensions {shape}, expected 3. Save one volume alone.")
    scale_mm = UNIT_MM[volume.header.get_xyzt_units()[0]]
    affine_mm = np.diag([scale_mm] * 3 + [1.0]) @ volume.affine
    return Volume(_from_ras(array, affine_mm, path), _orientation_notes(volume, shape, scale_mm))


def open_nifti(path: Path) -> nib.Nifti1Image:
    """As nibabel's, by content. Raises what is ``UNREADABLE``, and OSError."""
    return _parse(_unpacked(path.read_bytes()))


def _unpacked(content: bytes) -> bytes:
    """The whole stream, since only its end holds the checksum; what follows a packed stream's end is no part of it."""
    if not content.startswith(GZIP):
        return content
    parts = []
    while content.startswith(GZIP):
        stream = zlib.decompressobj(wbits=31)
        parts.append(stream.decompress(content))
        if not stream.eof:
            raise EOFError("the packed stream ends too early")
        content = stream.unused_data
    return b"".join(parts)


def _parse(content: bytes) -> nib.Nifti1Image:
    size = int.from_bytes(content[:4], "little")
    size = size if size in KINDS else int.from_bytes(content[:4], "big")
    if size not in KINDS:
        raise ValueError("its header is none of NIfTI's")
    return KINDS[size].from_bytes(content)


def _orientation_notes(volume: nib.Nifti1Image, shape: tuple[int, ...], scale_mm: float) -> tuple[str, ...]:
    """What the header leaves open about orientation."""
    sform, sform_code = volume.get_sform(coded=True)
    qform, qform_code = volume.get_qform(coded=True)
    if not sform_code and not qform_code:
        return (UNORIENTED,)
    if sform_code and qform_code:
        corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
        apart_mm = scale_mm * np.abs((sform - qform) @ corners.T).max()
        if apart_mm > max(AFFINES_MM, 0.01 * scale_mm * np.abs(sform[:3, :3]).max()):
            return (f"the header's sform and qform differ by up to {apart_mm:.4g} mm; the sform is taken",)
    return ()


def _from_ras(array: np.ndarray, affine: np.ndarray, path: Path) -> sitk.Image:
    """ITK image of an array (x, y, z) and its voxel-to-RAS matrix (4, 4), in mm."""
    to_lps = np.diag([-1.0, -1.0, 1.0])
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing_mm.min() < SHORTEST_MM or spacing_mm.max() > LONGEST_MM:
        shown = " × ".join(f"{mm:.4g}" for mm in spacing_mm)
        raise DataError(
            f"{path}: voxels of {shown} mm, expected {SHORTEST_MM} to {LONGEST_MM:g} mm. Is the unit right?"
        )
    cosines = affine[:3, :3] / spacing_mm
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > SHEAR:
        raise DataError(f"{path}: its affine has shear, expected perpendicular axes. Resample it first.")
    image = sitk.GetImageFromArray(array.T)  # z, y, x
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((to_lps @ cosines).ravel().tolist())
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    return image
