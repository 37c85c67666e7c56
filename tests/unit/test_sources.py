"""What is read from an archive as it should be."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from archives import (
    GAP_MM,
    SIZE,
    btcv_case,
    chaos_case,
    image_array,
    label_array,
    label_of,
    read_btcv,
    read_chaos,
    read_mmwhs,
    write_nifti,
    write_slice,
)

from ssc.data.dicom import dicom_kind, read_dicom
from ssc.data.nifti import read_nifti
from ssc.data.reading import read_image
from ssc.data.scan import check_same_geometry
from ssc.data.sources import source


def test_btcv_case_is_read_with_our_labels(btcv):
    scan = read_btcv(btcv[0])
    assert (scan.case, scan.source) == ("0007", "btcv")
    assert scan.image.GetPixelID() == sitk.sitkFloat32
    assert scan.label.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image).T, 2 * image_array(7) - 1000)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.label).T, label_array((1, 2, 3, 4, 0)))
    check_same_geometry(scan.image, scan.label, "btcv")


def test_mmwhs_case_is_read_with_our_labels(mmwhs, capsys):
    folder, name, image, label = mmwhs
    scan = read_mmwhs(folder, name)
    assert (scan.case, scan.source) == ("1007", name)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image).T, nib.load(image).get_fdata())
    np.testing.assert_array_equal(label_of(scan), label_array((1, 2, 3, 4, 0)))
    check_same_geometry(scan.image, scan.label, "mmwhs")
    assert source(name).cases(folder) == ["1007", "1010"]
    assert source(name).files(folder, "1007") == [image, label]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("head_first", [False, True])
def test_chaos_slices_come_in_order_of_position_with_their_own_labels(tmp_path, head_first):
    chaos_case(tmp_path, "3", head_first)
    scan = read_chaos(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image).T, image_array(1003))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.label).T, label_array((1, 2, 3, 4)))
    assert scan.image.GetOrigin() == pytest.approx((-9, -7.5, 20))
    assert scan.image.GetSpacing() == pytest.approx((1.5, 1.5, GAP_MM))
    check_same_geometry(scan.image, scan.label, "chaos")


def test_cases_are_sorted_as_numbers(tmp_path):
    for case in ("10", "2"):
        chaos_case(tmp_path, case)
        btcv_case(tmp_path, f"{int(case):04d}")
    assert source("chaos").cases(tmp_path) == ["2", "10"]
    assert source("btcv").cases(tmp_path) == ["0002", "0010"]


def test_files_of_a_case_are_sorted(btcv, chaos):
    folder, image, label = btcv
    assert source("btcv").files(folder, "0007") == [image, label]
    assert source("chaos").files(folder, "3") == sorted([*chaos[1], *chaos[2]])


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_nifti_geometry_is_that_of_itk(tmp_path, flips, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(np.multiply(flips, (1.5, 0.75, 5)))
    affine[:3, 3] = (-30, 12.5, 200)
    file = write_nifti(tmp_path / "scan.nii.gz", image_array(1), affine)
    ours, theirs = read_nifti(file).image, sitk.ReadImage(str(file), sitk.sitkFloat32)
    check_same_geometry(theirs, ours, "scan")
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(theirs))


def test_oblique_dicom_geometry(tmp_path):
    rows, columns = (0.8, 0.6, 0), (-0.6, 0.8, 0)
    for index in range(4):
        position_mm = (1.0, 2.0, 3.0 - 4.5 * index)
        write_slice(tmp_path / f"{index}.dcm", image_array(1)[..., index].T, position_mm, axes=(*rows, *columns))
    (image, _), files = read_dicom(tmp_path)
    assert [file.stem for file in files] == ["3", "2", "1", "0"]
    assert image.GetOrigin() == pytest.approx((1, 2, 3 - 4.5 * 3))
    assert image.GetSpacing() == pytest.approx((1.5, 1.5, 4.5))
    direction = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction, np.column_stack([rows, columns, (0, 0, 1)]), atol=1e-6)
    assert np.linalg.det(direction) == pytest.approx(1)


def test_rounded_positions_are_no_missing_slices(tmp_path):
    for index in range(5):
        write_slice(tmp_path / f"{index}.dcm", image_array(1)[..., index].T, (0, 0, round(index * 20 / 3, 3)))
    assert read_dicom(tmp_path)[0].image.GetSpacing()[2] == pytest.approx(20 / 3, abs=1e-3)


def test_users_own_scan_may_be_nifti_or_dicom(btcv, chaos):
    assert read_image(btcv[1]).image.GetSize() == SIZE
    folder = chaos[1][0].parent
    (folder / "notes.txt").write_text("no DICOM, passed over", "utf-8")
    chaos[1][0].rename(folder / "without_suffix")
    assert read_image(folder).image.GetSize() == SIZE


@pytest.mark.parametrize(("tag", "expected"), [("CT", "ct"), ("MR", "mr"), ("PT", None)])
def test_dicom_kind(tmp_path, tag, expected):
    for index in range(2):
        write_slice(tmp_path / f"{index}.dcm", image_array(1)[..., index].T, (0, 0, 5.0 * index), modality=tag)
    assert dicom_kind(tmp_path) == expected
