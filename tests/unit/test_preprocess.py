"""Preprocessing against closed forms: millimetres stay, sides stay, the way back is exact."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ssc.data.preprocess import read_case, read_truth, to_case, to_scan_grid, write_cases
from ssc.data.scan import Scan
from ssc.errors import MissingDataError

SPACING, PLANE = (8.0, 4.0, 4.0), 48
ABDOMEN = {
    "kind": "ct", "orientation": "RAS", "spacing_mm": SPACING, "plane": PLANE, "box": "body", "clip": (-1000.0, 1000.0),
    "clip_unit": "value", "z_score": "body", "classes": 2,
}  # fmt: skip
HEART = {
    **ABDOMEN, "box": "image", "orientation": "RSA", "spacing_mm": (2.0, 2.0, 2.0), "plane": 64, "clip": (0.0, 98.0),
    "clip_unit": "percentile", "z_score": "box",
}  # fmt: skip
CENTRE = np.array([12.0, -20.0, 30.0])  # LPS mm


def _ball_scan(spacing=(2.0, 2.5, 5.0), size=(70, 60, 24), orientation="RAS", oblique_deg=0.0, radius=30.0):
    """A ball of 500 in a body of 100 in air of -900, on any grid."""
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    c, s = np.cos(np.deg2rad(oblique_deg)), np.sin(np.deg2rad(oblique_deg))
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    image.SetDirection(direction.ravel().tolist())
    half = (np.array(size) - 1) / 2 * spacing
    image.SetOrigin((CENTRE - direction @ half).tolist())
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    points = np.array(image.GetOrigin()) + (index * spacing) @ direction.T
    distance = np.linalg.norm(points - CENTRE - [10.0, 0, 0], axis=-1)  # off centre, to the patient's left
    body = np.linalg.norm((points - CENTRE) / [1, 1, 2], axis=-1) < 60
    array = np.where(distance < radius, 500.0, np.where(body, 100.0, -900.0)).astype(np.float32)
    filled = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    filled.CopyInformation(image)
    label = sitk.Cast(filled == 500, sitk.sitkUInt8)
    orient = lambda x: sitk.DICOMOrient(x, orientation)  # noqa: E731
    return Scan("1", "ct", orient(filled), orient(label))


def _case(scan):
    return to_case(scan, **ABDOMEN)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_a_case_has_ras_axes_the_grid_and_the_plane(orientation, tmp_path):
    case = _case(_ball_scan(orientation=orientation))
    sitk.WriteImage(case.image, str(tmp_path / "x.nii.gz"))
    loaded = nib.load(tmp_path / "x.nii.gz")
    assert nib.aff2axcodes(loaded.affine) == ("R", "A", "S")
    assert loaded.shape[:2] == (PLANE, PLANE)
    assert np.allclose(loaded.header.get_zooms(), SPACING[::-1])


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("oblique_deg", [0.0, 8.0])
def test_a_ball_keeps_place_and_volume_in_millimetres(orientation, oblique_deg):
    case = _case(_ball_scan(orientation=orientation, oblique_deg=oblique_deg))
    found = np.argwhere(sitk.GetArrayFromImage(case.label) == 1)[:, ::-1]
    points = np.array([case.label.TransformIndexToPhysicalPoint(tuple(map(int, i))) for i in found])
    assert np.abs(points.mean(0) - CENTRE - [10.0, 0, 0]).max() < 1.0
    assert len(found) * np.prod(SPACING) == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.06)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL"])
def test_the_way_back_reproduces_the_label_in_the_scans_geometry(orientation):
    scan = _ball_scan(orientation=orientation, oblique_deg=5.0)
    case = _case(scan)
    one = sitk.GetArrayFromImage(case.label).astype(np.float32)
    back = to_scan_grid(np.stack([1 - one, one]), case.image, scan.image)
    truth = sitk.GetArrayFromImage(scan.label)
    assert back.shape == truth.shape
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.93


def test_outside_the_case_is_background():
    scan = _ball_scan(size=(120, 120, 24))
    case = to_case(scan, **ABDOMEN | {"plane": 16}).image  # a plane far smaller than the scan
    ones = np.ones((1, *case.GetSize()[::-1]), np.float32)
    labels = to_scan_grid(np.concatenate([0 * ones, ones]), case, scan.image)
    assert labels[12, 60, 60] == 1 and labels[:, 0, 0].max() == 0


def test_intensities_are_clipped_and_scored_over_the_body():
    """Voxels above the scan's mean have mean 0 and deviation 1; padding is the scan's minimum."""
    array = sitk.GetArrayFromImage(to_case(_ball_scan(), **ABDOMEN | {"plane": 96, "clip": (-125.0, 275.0)}).image)
    inside = array[array > array.min()]
    body = array[array > array[:, 30:60, 30:60].mean()]
    assert array[:, 0, 0].tolist() == [array.min()] * len(array)
    assert abs(body.mean()) < 0.3 and 0.5 < body.std() < 1.5 and len(inside) > 0


def test_ct_is_clipped_before_it_is_smoothed():
    """Else the air around a body would darken its rim: a scan clipped beforehand gives the same case."""
    scan, settings = _ball_scan(), ABDOMEN | {"clip": (-125.0, 275.0)}
    clipped = Scan("1", "ct", sitk.Clamp(scan.image, sitk.sitkFloat32, -125, 275), None)
    case, of_clipped = (sitk.GetArrayFromImage(to_case(x, **settings).image) for x in (scan, clipped))
    assert np.array_equal(case, of_clipped)


def test_mri_clips_percentiles_of_what_is_not_zero():
    """The same as clipping to those percentiles as values, however much of the field of view is empty."""
    scan = _ball_scan()
    array = np.zeros(scan.image.GetSize()[::-1], np.float32)
    array[:, 20:40, 20:40] = np.random.default_rng(0).uniform(100, 200, (24, 20, 20))
    array[12, 30, 30] = 1e6
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(scan.image)
    low, high = np.percentile(array[array != 0], (0.5, 99.5))
    settings = [
        ABDOMEN | {"clip": (0.5, 99.5), "clip_unit": "percentile_of_nonzero"},
        ABDOMEN | {"clip": (low, high), "clip_unit": "value"},
    ]
    case, expected = (sitk.GetArrayFromImage(to_case(Scan("1", "mri", image, None), **s).image) for s in settings)
    assert np.allclose(case, expected, atol=1e-5)


def test_labels_of_neighbouring_classes_do_not_mix():
    """Between labels 1 and 3, interpolating numbers would invent a 2."""
    array = np.ones((8, 32, 32), np.uint8)
    array[:, :, 16:] = 3
    label = sitk.GetImageFromArray(array)
    label.SetSpacing((3.0, 3.0, 8.0))
    scan = Scan("1", "ct", sitk.Cast(label, sitk.sitkFloat32), label)
    case = to_case(scan, **ABDOMEN | {"plane": 24, "classes": 4})
    assert set(np.unique(sitk.GetArrayFromImage(case.label))) <= {1, 3}


def test_written_cases_are_listed_with_their_checksums(tmp_path):
    scan, cases = _ball_scan(), tmp_path / "cases"
    write_cases([scan], cases, **ABDOMEN)
    image, label = read_case(cases, "1")
    assert image.GetSize() == label.GetSize()
    first = (cases / "manifest.json").read_bytes()
    listed = json.loads(first)["files"]
    assert set(listed) == {path.name for path in (cases / "files").iterdir()} and len(listed) == 3
    assert all(hashlib.sha256((cases / "files" / n).read_bytes()).hexdigest() == digest for n, digest in listed.items())
    write_cases([_ball_scan()], cases, **ABDOMEN)
    assert (cases / "manifest.json").read_bytes() == first


def test_a_case_keeps_the_truth_of_its_scan(tmp_path):
    scan = _ball_scan(orientation="PIR", oblique_deg=20.0)
    write_cases([scan], tmp_path, **ABDOMEN)
    truth = read_truth(tmp_path, "1")
    assert np.array_equal(*map(sitk.GetArrayFromImage, (truth, scan.label)))
    for field in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(truth, field)(), getattr(scan.label, field)(), atol=1e-4)


def test_a_case_that_is_not_made_yet_is_one_line_with_the_way(tmp_path):
    with pytest.raises(MissingDataError, match=r"9_image.nii.gz: not there; make it with snakemake .*manifest.json"):
        read_case(tmp_path, "9")


@pytest.mark.parametrize("oblique_deg", [0.0, 20.0])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_a_hearts_slices_are_coronal(orientation, oblique_deg, tmp_path):
    case = to_case(_ball_scan(orientation=orientation, oblique_deg=oblique_deg), **HEART)
    sitk.WriteImage(case.image, str(tmp_path / "x.nii.gz"))
    loaded = nib.load(tmp_path / "x.nii.gz")
    assert nib.aff2axcodes(loaded.affine) == ("R", "S", "A") and loaded.shape[:2] == (64, 64)


def test_the_honest_box_does_not_look_at_the_label():
    scan = _ball_scan()
    moved = Scan(scan.case, scan.source, scan.image, sitk.Cast(scan.image < -800, sitk.sitkUInt8))
    a, b = (to_case(s, **HEART).image for s in (scan, moved))
    assert np.array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))
    assert a.GetOrigin() == b.GetOrigin()


def test_the_papers_box_is_centred_on_the_label():
    """Ball of radius 20 mm, 10 mm off centre: slices 2 × (20 + 10 mm margin) / 2 mm, plane around the ball."""
    scan = _ball_scan(size=(70, 60, 40), radius=20.0)
    case = to_case(scan, **HEART | {"box": "paper", "plane": 32}).label
    assert abs(case.GetSize()[2] - 30) <= 1 and case.GetSize()[:2] == (32, 32)
    centre = case.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in case.GetSize()])
    assert np.abs(np.array(centre) - CENTRE - [10.0, 0, 0]).max() < 2.5
    assert sitk.GetArrayFromImage(case).sum() == pytest.approx(4 / 3 * np.pi * 20**3 / 8, rel=0.06)


def test_a_paper_box_without_a_label_map_is_the_honest_one():
    scan = _ball_scan()
    unlabelled = Scan(scan.case, scan.source, scan.image, None)
    a, b = (to_case(unlabelled, **HEART | {"box": box}).image for box in ("paper", "image"))
    assert np.array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))


def test_a_heart_boxs_brightest_voxels_are_clipped_and_all_of_it_is_scored():
    array = sitk.GetArrayFromImage(to_case(_ball_scan(size=(64, 64, 26)), **HEART | {"plane": 40}).image)
    assert abs(array.mean()) < 1e-3 and array.std() == pytest.approx(1, abs=1e-3)
    assert (array == array.max()).mean() >= 0.02


@pytest.mark.parametrize("air", [((0, 40), (0, 0)), ((40, 0), (0, 0)), ((0, 0), (0, 60)), ((30, 0), (60, 0))])
def test_the_plane_follows_the_body_in_a_large_field_of_view(air):
    """Air on one side, as where a patient lies off the centre: the same case as without it."""
    scan = _ball_scan()
    (left, right), (front, back) = air
    padded = [
        sitk.ConstantPad(x, [left, front, 0], [right, back, 0], v) for x, v in ((scan.image, -900.0), (scan.label, 0))
    ]
    here, there = _case(scan), _case(Scan("1", "ct", *padded))
    labels = [sitk.GetArrayFromImage(case.label) for case in (here, there)]
    assert int(labels[1].sum()) == pytest.approx(int(labels[0].sum()), rel=0.02)  # grids shift by parts of a voxel
    centres = [np.argwhere(x).mean(axis=0) for x in labels]
    assert np.abs(centres[0] - centres[1]).max() < 1.5 and there.notes == ()


def test_a_body_wider_than_the_plane_is_told():
    case = to_case(_ball_scan(), **ABDOMEN | {"plane": 24})
    (note,) = case.notes
    assert "of the body lie outside the plane of 96 mm" in note
    assert 16 <= float(note.split()[0]) <= 32  # 120 mm across
