"""The made-up abdomens have the archives' layout, a plausible anatomy, and are hardly easier than real scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from oracles import atlas_dice, interval_dice
from PIL import Image
from scipy import ndimage

from ssc.data.phantoms import abdomen

GRID_MM = np.array([8.0, 4.0, 4.0])
CT_CASES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 21, 22, 23, 24, 25)
MRI_CASES = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20)
CT_VALUES = {"liver": 6, "right kidney": 2, "left kidney": 3, "spleen": 1}
MRI_VALUES = {"liver": 63, "right kidney": 126, "left kidney": 189, "spleen": 252}
LIMITS_ML = {
    "liver": (900, 2200),
    "right kidney": (100, 260),
    "left kidney": (100, 260),
    "spleen": (100, 380),
}
EASIEST_INTERVAL, EASIEST_ATLAS = 0.35, 0.57


@dataclass(frozen=True)
class Scan:
    """Image and structure masks (4, D, H, W: liver, right kidney, left kidney, spleen) with spacing in mm."""

    image: NDArray
    masks: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]

    def on_grid(self) -> Scan:
        """Resample to GRID_MM: the image by Gaussian and linear, the masks by nearest neighbour."""
        factor = GRID_MM / self.spacing_mm
        shape = np.round(self.image.shape / factor).astype(int)
        axes = [(np.arange(n) + 0.5) * f - 0.5 for n, f in zip(shape, factor, strict=True)]
        nearest = np.ix_(*(np.clip(np.rint(a).astype(int), 0, None) for a in axes))
        smooth = ndimage.gaussian_filter(self.image.astype(np.float32), 0.5 * np.sqrt(np.maximum(factor**2 - 1, 0)))
        image = ndimage.map_coordinates(smooth, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")
        return Scan(image, np.stack([mask[nearest] for mask in self.masks]), GRID_MM)


def ct_scan(case: int) -> Scan:
    image, label, affine = abdomen.ct_case(case)
    masks = np.stack([(label == value).transpose(2, 1, 0) for value in CT_VALUES.values()])
    return Scan(image.transpose(2, 1, 0), masks, np.abs(np.diag(affine)[2::-1]))


def mri_scan(case: int) -> Scan:
    image, label, spacing_mm, _ = abdomen.mri_case(case)
    masks = np.stack([label == value for value in MRI_VALUES.values()])
    return Scan(image, masks, np.array(spacing_mm[::-1]))


@pytest.fixture(scope="module")
def scans() -> dict[str, list[Scan]]:
    return {"ct": [ct_scan(case) for case in CT_CASES], "mri": [mri_scan(case) for case in MRI_CASES]}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    abdomen.write_btcv(folder, ["0001", "0021"])
    abdomen.write_chaos(folder, ["1", "3"])
    return folder


def test_hardly_easier_than_real_scans(scans: dict[str, list[Scan]]) -> None:
    interval, atlas = [], []
    for modality in scans.values():
        coarse = [scan.on_grid() for scan in modality]
        interval.append(np.mean([interval_dice(s.image, s.masks) for s in coarse]))
        atlas.append(np.mean([atlas_dice([s.masks[k] for s in coarse]) for k in range(4)]))
    assert np.mean(interval) <= EASIEST_INTERVAL
    assert np.mean(atlas) <= EASIEST_ATLAS


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_organs_lie_and_measure_as_in_patients(scans: dict[str, list[Scan]], modality: str) -> None:
    for scan in scans[modality]:
        for volume, (low, high) in zip(_volumes_ml(scan), LIMITS_ML.values(), strict=True):
            assert low <= volume <= high
        liver, right, left, spleen = (np.argwhere(mask).mean(axis=0) for mask in scan.masks)
        assert max(liver[2], right[2]) < min(left[2], spleen[2])


def test_spacings_differ(scans: dict[str, list[Scan]]) -> None:
    for modality in scans.values():
        assert len({tuple(scan.spacing_mm.round(3)) for scan in modality}) == len(modality)


def test_cases_are_reproducible_and_unpaired() -> None:
    for make in (abdomen.ct_case, abdomen.mri_case):
        for once, again in zip(make(3), make(3), strict=True):
            np.testing.assert_array_equal(once, again)
    ct, mri = ct_scan(3), mri_scan(3)
    assert np.abs(_volumes_ml(ct) / _volumes_ml(mri) - 1).max() > 0.05


def _volumes_ml(scan: Scan) -> NDArray[np.float64]:
    return scan.masks.sum(axis=(1, 2, 3)) * scan.spacing_mm.prod() / 1000


def test_files_have_the_same_bytes_each_time(archives: Path, tmp_path: Path) -> None:
    abdomen.write_btcv(tmp_path, ["0001"])
    abdomen.write_chaos(tmp_path, ["3"])
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert path.read_bytes() == (archives / path.relative_to(tmp_path)).read_bytes()


def test_btcv_files(archives: Path) -> None:
    training = archives / "RawData" / "Training"
    assert sorted(p.name for p in (training / "img").iterdir()) == ["img0001.nii.gz", "img0021.nii.gz"]
    assert sorted(p.name for p in (training / "label").iterdir()) == ["label0001.nii.gz", "label0021.nii.gz"]
    image = nib.load(training / "img" / "img0001.nii.gz")
    label = nib.load(training / "label" / "label0001.nii.gz")
    assert nib.aff2axcodes(image.affine) == nib.aff2axcodes(label.affine) == ("L", "A", "S")
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
    assert image.shape == label.shape
    assert set(np.unique(label.dataobj)) == {0, 1, 2, 3, 6, 7, 8}
    values = np.asarray(image.dataobj)
    assert values.min() >= -1024
    assert values.max() <= 1500
    liver = values[np.asarray(label.dataobj) == 6]
    assert 30 < liver.mean() < 140


@pytest.mark.parametrize(("case", "direction"), [("1", 1), ("3", -1)])
def test_chaos_files(archives: Path, case: str, direction: int) -> None:
    series = archives / "Train_Sets" / "MR" / case / "T2SPIR"
    slices = sorted((series / "DICOM_anon").glob("IMG-*.dcm"))
    assert [p.stem for p in slices] == sorted(p.stem for p in (series / "Ground").glob("*.png"))
    assert 26 <= len(slices) <= 40
    images = [sitk.ReadImage(str(p)) for p in slices]
    gaps = np.diff([image.GetOrigin()[2] for image in images])
    assert np.allclose(gaps, direction * images[0].GetSpacing()[2], atol=2e-4)
    assert {image.GetPixelIDValue() for image in images} == {sitk.sitkUInt16}
    assert {image.GetMetaData("0008|0060") for image in images} == {"MR"}
    assert len({image.GetMetaData("0020|000e") for image in images}) == 1
    assert len({image.GetMetaData("0008|0018") for image in images}) == len(images)
    labels = [np.array(Image.open(series / "Ground" / f"{p.stem}.png")) for p in slices]
    assert {label.shape for label in labels} == {images[0].GetSize()[1::-1]}
    assert set(np.unique(labels)) == {0, *MRI_VALUES.values()}


def test_pictures_and_slices_share_their_rows(archives: Path) -> None:
    series = archives / "Train_Sets" / "MR" / "1" / "T2SPIR"
    stems = sorted(p.stem for p in (series / "Ground").iterdir())
    pixels = np.concatenate([_pixels(series / "DICOM_anon" / f"{s}.dcm") for s in stems])
    labels = np.stack([np.array(Image.open(series / "Ground" / f"{s}.png")) for s in stems])
    kidney = labels == MRI_VALUES["left kidney"]
    # Kidneys are far brighter than what lies at the same place upside down.
    assert pixels[kidney].mean() > 1.5 * pixels[:, ::-1][kidney].mean()


def _pixels(path: Path) -> NDArray[np.uint16]:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
