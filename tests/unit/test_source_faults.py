"""What each bad input is answered with."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from archives import (
    AFFINE,
    GAP_MM,
    SIZE,
    image_array,
    label_array,
    label_of,
    mmwhs_case,
    read_btcv,
    read_chaos,
    read_mmwhs,
    write_nifti,
    write_slice,
)
from PIL import Image

from ssc.data.dicom import read_dicom
from ssc.data.nifti import read_nifti
from ssc.data.reading import read_image
from ssc.data.scan import check_image, map_labels
from ssc.data.sources import ARCHIVES, source
from ssc.errors import DataError, MissingDataError


def fault(kind, call, *arguments) -> str:
    """The message of the error of class ``kind`` that a call raises."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert type(caught.value) is kind
    return str(caught.value)


def assert_says(message: str, *parts: str) -> None:
    """The message holds each part, and the word that introduces what was expected."""
    for part in (*parts, "xpected"):
        assert part in message, message


# Folders


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("present", [False, True])
def test_missing_raw_folder(tmp_path, name, present):
    folder = tmp_path / "raw"
    if present:
        folder.mkdir()
    archive = source(name)
    message = fault(MissingDataError, archive.cases, folder)
    assert_says(message, name, str(folder), archive.LAYOUT, archive.WHERE, "data=phantom")


def test_unknown_source():
    assert_says(fault(DataError, source, "lits"), "lits", "btcv, chaos, mmwhs_ct, mmwhs_mri")


@pytest.mark.parametrize("kept", ["img", "label"])
def test_btcv_half_a_case(btcv, kept):
    folder, image, label = btcv
    (label if kept == "img" else image).unlink()
    assert_says(fault(DataError, source("btcv").cases, folder), "btcv 0007", image.name, label.name)


@pytest.mark.parametrize("kept", ["image", "label"])
def test_mmwhs_half_a_case(mmwhs, kept):
    folder, name, image, label = mmwhs
    (label if kept == "image" else image).unlink()
    assert_says(fault(DataError, source(name).cases, folder), f"{name} 1007", image.name, label.name)


def test_mmwhs_of_one_modality_is_no_archive_of_the_other(tmp_path):
    mmwhs_case(tmp_path, "1001", "ct")
    assert source("mmwhs_ct").cases(tmp_path) == ["1001"]
    assert_says(fault(MissingDataError, source("mmwhs_mri").cases, tmp_path), "mmwhs_mri", "mr_train")


@pytest.mark.parametrize("lost", ["DICOM_anon", "Ground"])
def test_chaos_slice_without_its_partner(chaos, lost):
    folder, slices, grounds = chaos
    (slices if lost == "DICOM_anon" else grounds)[2].unlink()
    message = fault(DataError, source("chaos").cases, folder)
    assert_says(message, "chaos 3", slices[2].name, grounds[2].name)


def test_chaos_case_without_labels(chaos):
    folder, _, grounds = chaos
    shutil.rmtree(grounds[0].parent)
    assert_says(fault(DataError, source("chaos").cases, folder), "chaos 3", "Ground")


# NIfTI files


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_truncated_nifti(btcv, kept):
    folder, image, _ = btcv
    content = image.read_bytes()
    image.write_bytes(content[: int(kept * len(content))])
    assert_says(fault(DataError, read_btcv, folder), str(image), "can't be read as NIfTI")


def test_truncated_uncompressed_nifti(tmp_path):
    file = write_nifti(tmp_path / "scan.nii", image_array(1))
    file.write_bytes(file.read_bytes()[:-10])
    assert_says(fault(DataError, read_image, file), str(file), "can't be read as NIfTI")


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
@pytest.mark.parametrize("content", [b"", b"These are only words.\n" * 100])
def test_text_renamed_to_nifti(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    assert_says(fault(DataError, read_image, file), str(file), "can't be read as NIfTI")


def test_nifti_that_is_not_there(tmp_path):
    assert_says(fault(DataError, read_image, tmp_path / "scan.nii.gz"), "scan.nii.gz", "not found")


def test_nifti_with_a_time_axis(tmp_path):
    file = write_nifti(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4, 2), np.int16))
    assert_says(fault(DataError, read_nifti, file), str(file), "4 dimensions", "3")


def test_nifti_with_shear(tmp_path):
    affine = AFFINE.copy()
    affine[0, 2] = 1.5
    file = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(image_array(1), None)
    image.header.set_sform(affine, code=1)
    nib.save(image, file)
    assert_says(fault(DataError, read_nifti, file), str(file), "shear", "perpendicular")


@pytest.mark.parametrize(
    ("what", "change"),
    [("spacing", (1.01, 0.0)), ("origin", (1.0, 0.5)), ("direction", None), ("size", None)],
)
def test_image_and_label_of_different_geometry(btcv, what, change):
    folder, _, label = btcv
    array, affine = label_array((6, 1, 2, 3)), AFFINE.copy()
    if what == "size":
        array = array[:-1]
    elif what == "direction":
        affine[:, 0] *= -1
    else:
        affine[:3, :3] *= change[0]
        affine[:3, 3] += change[1]
    write_nifti(label, array, affine)
    assert_says(fault(DataError, read_btcv, folder), "btcv img0007", what)


def test_btcv_unexpected_label(btcv):
    folder, _, label = btcv
    write_nifti(label, label_array((6, 14)))
    assert_says(fault(DataError, read_btcv, folder), "btcv label0007", "value 14", "0–13")


def test_mmwhs_unexpected_label(mmwhs):
    folder, name, _, label = mmwhs
    write_nifti(label, label_array((205, 419)))
    message = fault(DataError, read_mmwhs, folder, name)
    assert_says(message, f"{name} {label.name.split('.')[0]}", "value 419", "0, 205, 420–421, 500, 550, 600, 820, 850")


@pytest.mark.parametrize(("change", "said"), [(np.nan, "NaN"), (7, "all voxels have value 7")])
def test_mmwhs_bad_image(mmwhs, change, said):
    folder, name, image, _ = mmwhs
    array = np.full(SIZE, 7, np.float32)
    array[1, 2, 3] = change
    write_nifti(image, array)
    assert_says(fault(DataError, read_mmwhs, folder, name), f"{name} {image.name.split('.')[0]}", said)


def test_mmwhs_image_and_label_of_different_geometry(mmwhs):
    folder, name, _, label = mmwhs
    write_nifti(label, label_array((205,)), AFFINE + np.diag([0, 0, 0.1, 0]))
    assert_says(fault(DataError, read_mmwhs, folder, name), name, "spacing")


# Known faults of MM-WHS's label maps


def test_mmwhs_stray_421_counts_as_420_and_is_told(mmwhs, capsys):
    folder, name, _, label = mmwhs
    array = label_array((205, 420, 500, 820, 850))
    array[2, 2, 1:4] = 421
    write_nifti(label, array)
    np.testing.assert_array_equal(label_of(read_mmwhs(folder, name)), label_array((1, 2, 3, 4, 0)))
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert f"{name} 1007: 3 voxels" in shown


@pytest.mark.parametrize(
    ("modality", "case", "removed"), [("mr", "1002", True), ("mr", "1003", False), ("ct", "1002", False)]
)
def test_mmwhs_stray_voxels_at_the_border_vanish_in_one_case_only(tmp_path, capsys, modality, case, removed):
    _, label = mmwhs_case(tmp_path, case, modality)
    # The heart reaches the border itself (the bars end in the last slice); another speck lies inside.
    heart, inside, border = label_array((205, 420, 500, 820, 850)), (9, 8, 3), ((0, 0, 0), (11, 9, 5), (11, 8, 5))
    array = heart.copy()
    array[inside] = 820
    for voxel in border:
        array[voxel] = 205
    write_nifti(label, array)
    expected = label_array((1, 2, 3, 4, 0))
    expected[inside] = 4
    for voxel in border:
        expected[voxel] = 0 if removed else 1
    name = {"ct": "mmwhs_ct", "mr": "mmwhs_mri"}[modality]
    np.testing.assert_array_equal(label_of(read_mmwhs(tmp_path, name, case)), expected)
    shown = capsys.readouterr().err
    assert ("mmwhs_mri 1002: 3 stray" in shown) == removed
    assert shown.count("\n") == removed


def test_label_that_is_no_whole_number():
    array = np.array([0, 1.5, 2], np.float32)
    message = fault(DataError, map_labels, array, [(1, 1)], "case", [(0, 1), (2, 2)])
    assert_says(message, "case", "1.5", "whole numbers")


def test_a_label_that_a_scaling_slope_has_moved_is_the_whole_number_it_was():
    """As other tools save: 6 as 6.0157 or 5.99999, 205 as 204.99998."""
    array = np.array([0, 6.0157, 5.99999, 1.0039, 204.99998], np.float32)
    labels = map_labels(array, [(6, 6), (1, 1), (205, 205)], "case", [(0, 13), (205, 205)])
    assert labels.tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_or_infinite_image(btcv, value):
    folder, image, _ = btcv
    array = image_array(7).astype(np.float32)
    array[1, 2, 3] = value
    write_nifti(image, array)
    assert_says(fault(DataError, read_btcv, folder), "btcv img0007", "1 voxels are NaN or infinite")


def test_constant_image(btcv):
    folder, image, _ = btcv
    write_nifti(image, np.full(SIZE, -1000, np.int16))
    assert_says(fault(DataError, read_btcv, folder), "btcv img0007", "all voxels have value -1000")


def test_good_image_passes():
    check_image(sitk.GetImageFromArray(np.arange(8.0).reshape(2, 2, 2)), "scan")


# DICOM series and PNG label maps


@pytest.mark.parametrize("kept", [0, 100, -200, -1])
def test_truncated_dicom(chaos, kept):
    folder, slices, _ = chaos
    slices[1].write_bytes(slices[1].read_bytes()[:kept])
    assert_says(fault(DataError, read_chaos, folder), str(slices[1]), "can't be read as DICOM")


def test_truncated_compressed_dicom(tmp_path):
    file = tmp_path / "1.dcm"
    for index in range(2):
        write_slice(tmp_path / f"{index}.dcm", image_array(1)[..., index].T, (0, 0, 5.0 * index), compressed=True)
    assert read_image(tmp_path).image.GetSize() == (*SIZE[:2], 2)
    file.write_bytes(file.read_bytes()[:-60])
    assert_says(fault(DataError, read_dicom, tmp_path), str(file), "can't be read as DICOM")


def test_text_renamed_to_dicom(chaos):
    folder, slices, _ = chaos
    slices[1].write_text("These are only words.\n" * 100, "utf-8")
    assert_says(fault(DataError, read_chaos, folder), str(slices[1]), "can't be read as DICOM")


def test_folder_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here", "utf-8")
    assert_says(fault(DataError, read_image, tmp_path), str(tmp_path), "0 DICOM", "series")


def test_missing_slice(chaos):
    folder, slices, grounds = chaos
    slices[2].unlink()
    grounds[2].unlink()
    message = fault(DataError, read_chaos, folder)
    assert_says(message, slices[1].name, slices[3].name, "12.000 mm apart", "6.000 mm")


def test_duplicate_position(chaos):
    folder, slices, grounds = chaos
    copy = slices[2].with_name("IMG-0003-00099.dcm")
    shutil.copy(slices[2], copy)
    shutil.copy(grounds[2], grounds[2].with_name("IMG-0003-00099.png"))
    assert_says(fault(DataError, read_chaos, folder), slices[2].name, copy.name, "one position, 32.000 mm")


@pytest.mark.parametrize(
    ("what", "columns", "change"),
    [
        ("size", 8, {}),
        ("pixel spacing", 12, {"spacing_mm": (1.5, 1.6)}),
        ("orientation", 12, {"axes": (0.8, 0.6, 0, -0.6, 0.8, 0)}),
    ],
)
def test_slices_of_different_geometry(chaos, what, columns, change):
    folder, slices, _ = chaos
    array = image_array(1)[:columns, :, 0].T
    write_slice(slices[4], array, (-9.0, -7.5, 20 + 4 * GAP_MM), **change)
    assert_says(fault(DataError, read_chaos, folder), slices[4].name, f"{what} is", slices[0].name)


def test_two_series(chaos):
    folder, slices, _ = chaos
    array = image_array(1)[..., 5].T
    write_slice(slices[5], array, (-9.0, -7.5, 20 + 5 * GAP_MM), series="1.2.3.5")
    message = fault(DataError, read_chaos, folder)
    assert_says(message, str(slices[0].parent), "one series", "series 1.2.3.5", slices[5].name)


def test_tilted_gantry(tmp_path):
    for index in range(4):
        write_slice(tmp_path / f"{index}.dcm", image_array(1)[..., index].T, (0, 1.0 * index, 5.0 * index))
    assert_says(fault(DataError, read_image, tmp_path), str(tmp_path), "sideways by up to 3.00 mm")


def test_png_of_another_size(chaos):
    folder, _, grounds = chaos
    Image.fromarray(np.zeros((10, 11), np.uint8)).save(grounds[3])
    assert_says(fault(DataError, read_chaos, folder), f"chaos 3 {grounds[3].name}", "(10, 11)", "(10, 12)")


def test_unexpected_grey_value(chaos):
    folder, _, grounds = chaos
    Image.fromarray(np.full((10, 12), 90, np.uint8)).save(grounds[3])
    message = fault(DataError, read_chaos, folder)
    assert_says(message, f"chaos 3 {grounds[3].name}", "value 90", "0, 56–70, 241–255, 111–135, 176–200")


def test_damaged_png(chaos):
    folder, _, grounds = chaos
    grounds[3].write_bytes(grounds[3].read_bytes()[:50])
    assert_says(fault(DataError, read_chaos, folder), str(grounds[3]), "can't be read as PNG", "label map")


def test_constant_mri(chaos):
    folder, slices, _ = chaos
    for index, file in enumerate(slices):
        write_slice(file, np.full((10, 12), 7), (-9.0, -7.5, 20 + GAP_MM * index))
    assert_says(fault(DataError, read_chaos, folder), "chaos 3", "all voxels have value 7")
