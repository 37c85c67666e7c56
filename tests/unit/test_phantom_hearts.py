"""The made-up hearts have MM-WHS's layout and faults, a plausible anatomy, and are no easier than they may be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from oracles import atlas_dice, interval_dice
from scipy import ndimage

from ssc.data.phantoms import WRITERS, heart
from ssc.data.sources import source

SPACING_MM, PLANE = 2.0, 128
CASES = range(1003, 1010)
MYOCARDIUM, ATRIUM, VENTRICLE, AORTA = SCORED = (205, 420, 500, 820)
RIGHT_ATRIUM, RIGHT_VENTRICLE = 550, 600
LIMITS_ML = {MYOCARDIUM: (60, 280), ATRIUM: (30, 130), VENTRICLE: (40, 200), AORTA: (30, 150)}
EASIEST_INTERVAL, EASIEST_ATLAS = 0.50, 0.65
VALUES = [(205, 205), (420, 421), (500, 500), (820, 820)]
TOUCHING = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Heart:
    """Image and label (X, Y, Z) with the affine to RAS mm."""

    image: NDArray
    label: NDArray[np.int16]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def volume_ml(self, value: int) -> float:
        return float((self.label == value).sum() * self.spacing_mm.prod() / 1000)

    def place_mm(self, value: int) -> NDArray[np.float64]:
        """Centre of a structure: to the right, front and head."""
        return nib.affines.apply_affine(self.affine, np.argwhere(self.label == value).mean(axis=0))

    def neighbours(self, value: int) -> NDArray[np.int16]:
        """Labels of all voxels that touch a structure from outside."""
        inside = self.label == value
        return self.label[ndimage.binary_dilation(inside, TOUCHING) & ~inside]

    def coronal(self) -> tuple[NDArray, NDArray]:
        """Image and label on SPACING_MM, slices from back to front, padded to PLANE in the plane."""
        methods = (self.image, sitk.sitkLinear), (self.label, sitk.sitkNearestNeighbor)
        return tuple(self._resampled(*pair) for pair in methods)

    def _resampled(self, array: NDArray, method: int) -> NDArray:
        image = sitk.GetImageFromArray(array.T.astype(np.float32))
        image.SetSpacing(self.spacing_mm.tolist())
        image.SetDirection((np.diag([-1, -1, 1]) @ self.affine[:3, :3] / self.spacing_mm).ravel().tolist())
        image = sitk.DICOMOrient(image, "RSA")
        old = np.array(image.GetSpacing())
        size = np.ceil(image.GetSize() * old / SPACING_MM).astype(int).tolist()
        like = (size, sitk.Transform(), method, image.GetOrigin(), [SPACING_MM] * 3, image.GetDirection())
        found = sitk.GetArrayFromImage(sitk.Resample(image, *like, float(array.min())))
        missing = np.maximum(PLANE - np.array(found.shape), 0) * (0, 1, 1)
        return np.pad(found, [(n // 2, n - n // 2) for n in missing], constant_values=array.min())


@pytest.fixture(scope="module")
def hearts() -> dict[str, list[Heart]]:
    makers = {"ct": heart.ct_case, "mri": heart.mri_case}
    return {modality: [Heart(*make(case)) for case in CASES] for modality, make in makers.items()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mmwhs")
    WRITERS["mmwhs_ct"](folder, ["1001"])
    WRITERS["mmwhs_mri"](folder, ["1002", "1010"])
    return folder


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_no_easier_than_they_may_be(hearts: dict[str, list[Heart]], modality: str) -> None:
    images, labels = zip(*(scan.coronal() for scan in hearts[modality]), strict=True)
    masks = [[label == value for value in SCORED] for label in labels]
    interval = [interval_dice(*pair) for pair in zip(images, masks, strict=True)]
    atlas = [atlas_dice(structure) for structure in zip(*masks, strict=True)]
    assert np.mean(interval) <= EASIEST_INTERVAL
    assert np.mean(atlas) <= EASIEST_ATLAS


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_structures_measure_and_lie_as_in_patients(hearts: dict[str, list[Heart]], modality: str) -> None:
    for scan in hearts[modality]:
        for value, (low, high) in LIMITS_ML.items():
            assert low <= scan.volume_ml(value) <= high, value
        right, front, up = range(3)
        places = {value: scan.place_mm(value) for value in (*SCORED, RIGHT_ATRIUM, RIGHT_VENTRICLE)}
        assert places[RIGHT_ATRIUM][right] > places[VENTRICLE][right]
        assert places[RIGHT_VENTRICLE][front] > places[VENTRICLE][front]
        assert places[ATRIUM][front] < places[VENTRICLE][front]
        assert places[AORTA][up] > max(places[VENTRICLE][up], places[ATRIUM][up])


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_myocardium_wraps_a_ventricle_that_opens_into_atrium_and_aorta(
    hearts: dict[str, list[Heart]], modality: str
) -> None:
    for scan in hearts[modality]:
        around = scan.neighbours(VENTRICLE)
        assert 0.6 < np.mean(around == MYOCARDIUM) < 0.95
        assert {ATRIUM, AORTA} <= set(around)
        assert set(around) <= {0, MYOCARDIUM, ATRIUM, AORTA}
        for value in SCORED:
            parts, _ = ndimage.label(scan.label == value, np.ones((3, 3, 3)))
            sizes = np.bincount(parts.ravel())[1:]
            assert sizes.max() > 0.97 * sizes.sum(), value


@pytest.mark.parametrize(("modality", "contrast"), [("ct", 120), ("mri", 0)])
def test_blood_is_brighter_than_muscle(hearts: dict[str, list[Heart]], modality: str, contrast: float) -> None:
    for scan in hearts[modality]:
        blood, muscle = (scan.image[scan.label == value] for value in (VENTRICLE, MYOCARDIUM))
        assert np.median(blood) - np.median(muscle) > contrast
        assert np.quantile(blood, 0.3) > np.quantile(muscle, 0.8)


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_every_case_has_its_own_oblique_grid(hearts: dict[str, list[Heart]], modality: str) -> None:
    angles = []
    for scan in hearts[modality]:
        cosines = scan.affine[:3, :3] / scan.spacing_mm
        np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-6)
        # The turn away from the nearest signed permutation of the body's axes.
        trace = max(np.abs(cosines[list(order)].diagonal()).sum() for order in permutations(range(3)))
        angles.append(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))
        assert scan.label.size <= 1.2e6
        assert scan.spacing_mm[0] == pytest.approx(scan.spacing_mm[1])
        assert 1.6 <= scan.spacing_mm[0] <= 2.2 < scan.spacing_mm[2] <= 3
    assert len({angle.round(3) for angle in angles}) == len(angles)
    assert 10 < max(angles) <= 25


def test_stacks_lie_along_all_body_axes_in_mri_and_upwards_in_ct(hearts: dict[str, list[Heart]]) -> None:
    codes = {modality: {nib.aff2axcodes(s.affine) for s in scans} for modality, scans in hearts.items()}
    assert codes["ct"] == {("L", "A", "S")}
    stacks = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}
    assert {stacks[code[2]] for code in codes["mri"]} == {"sagittal", "coronal", "axial"}


def test_cases_are_reproducible_and_unpaired(hearts: dict[str, list[Heart]]) -> None:
    for once, again in zip(heart.mri_case(CASES[0]), heart.mri_case(CASES[0]), strict=True):
        np.testing.assert_array_equal(once, again)
    for ct, mri in zip(hearts["ct"], hearts["mri"], strict=True):
        assert max(abs(ct.volume_ml(value) / mri.volume_ml(value) - 1) for value in SCORED) > 0.05


def test_files(archive: Path) -> None:
    found = sorted(path.relative_to(archive).as_posix() for path in archive.rglob("*.nii.gz"))
    cases = ("ct_train/ct_train_1001", "mr_train/mr_train_1002", "mr_train/mr_train_1010")
    assert found == [f"{case}_{kind}.nii.gz" for case in cases for kind in ("image", "label")]
    ct, mri, label = (nib.load(archive / found[index]) for index in (0, 2, 3))
    assert (ct.get_data_dtype(), mri.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint16, np.int16)
    np.testing.assert_array_equal(mri.affine, label.affine)
    assert set(np.unique(label.dataobj)) == {0, 205, 420, 500, 550, 600, 820, 850}


def test_files_have_the_same_bytes_each_time(archive: Path, tmp_path: Path) -> None:
    WRITERS["mmwhs_ct"](tmp_path, ["1001"])
    for path in tmp_path.rglob("*.nii.gz"):
        assert path.read_bytes() == (archive / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize(("case", "line"), [("1002", "stray label voxels at the border"), ("1010", "label 421")])
def test_the_archives_faulty_labels_are_there(
    archive: Path, case: str, line: str, capsys: pytest.CaptureFixture
) -> None:
    scan = source("mmwhs_mri").read(archive, case, VALUES)
    assert line in capsys.readouterr().err
    label = sitk.GetArrayFromImage(scan.label)
    assert set(np.unique(label)) == {0, 1, 2, 3, 4}
    assert ndimage.label(label == 2, np.ones((3, 3, 3)))[1] <= 2
