"""Files as they are met: valid ones are read rightly, doubtful ones said, wrong ones refused in one line."""

from __future__ import annotations

import gzip
import os
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from archives import AFFINE, SIZE, btcv_case, image_array, label_array, read_btcv, write_nifti, write_slice

from ssc import cli
from ssc.config import Settings
from ssc.data import writing
from ssc.data.dicom import dicom_kind, read_dicom
from ssc.data.nifti import read_nifti
from ssc.data.scan import without_padding
from ssc.data.writing import write_image, write_labels_like
from ssc.errors import DataError
from ssc.tasks import natural

GAP_MM = 1.25


def _image(**header):
    image = nib.Nifti1Image(image_array(1), AFFINE)
    for key, value in header.items():
        image.header[key] = value
    return image


def _array(volume):
    return sitk.GetArrayFromImage(volume.image).T


# NIfTI


@pytest.mark.parametrize(("unit", "mm"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1.0), ("unknown", 1.0)])
def test_lengths_are_in_the_headers_unit(tmp_path, unit, mm):
    affine = AFFINE.copy()
    affine[:3] /= mm
    image = nib.Nifti1Image(image_array(1), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii.gz")
    found = read_nifti(tmp_path / "scan.nii.gz").image
    assert np.allclose(found.GetSpacing(), (2, 2, 5)) and np.allclose(found.GetOrigin(), (-10, 20, 30))


def test_voxels_of_no_plausible_size_are_refused(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", image_array(1), AFFINE * 1e-3)
    with pytest.raises(DataError, match=r"0\.002 × 0\.002 × 0\.005 mm, expected 0\.01 to 100 mm"):
        read_nifti(tmp_path / "scan.nii.gz")


def test_a_header_without_orientation_is_told_and_refused_in_an_archive(tmp_path):
    path, _ = btcv_case(tmp_path, "0007")
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    image.header["sform_code"] = image.header["qform_code"] = 0
    path.write_bytes(gzip.compress(image.to_bytes()))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = bytes(4)  # qform_code and sform_code, which nibabel may have set again
    path.write_bytes(gzip.compress(bytes(raw)))
    (note,) = read_nifti(path).notes
    assert "left and right may be swapped" in note
    with pytest.raises(DataError, match="names no orientation"):
        read_btcv(tmp_path)


def test_sform_and_qform_that_contradict_are_told(tmp_path):
    image, mirrored = _image(), AFFINE.copy()
    mirrored[0] *= -1
    image.set_sform(AFFINE, 1)
    image.set_qform(mirrored, 1)
    nib.save(image, tmp_path / "scan.nii")
    volume = read_nifti(tmp_path / "scan.nii")
    assert len(volume.notes) == 1 and "the sform is taken" in volume.notes[0]
    assert np.allclose(volume.image.GetOrigin(), (-10, 20, 30))
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "scan.nii")
    assert read_nifti(tmp_path / "scan.nii").notes == ()


def test_a_fourth_axis_of_one_is_no_axis(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", image_array(1)[..., None, None])
    assert np.array_equal(_array(read_nifti(tmp_path / "scan.nii.gz")), image_array(1))


def test_a_rounded_quaternion_is_read(tmp_path):
    image = nib.Nifti1Image(image_array(1), None)
    image.set_qform(AFFINE, 1)
    raw = bytearray(image.to_bytes())
    quaternion = np.frombuffer(raw, np.float32, 3, 256).copy()
    quaternion[np.abs(quaternion).argmax()] = np.sign(quaternion[np.abs(quaternion).argmax()]) * np.float32(1 + 2.5e-7)
    raw[256:268] = quaternion.tobytes()
    (tmp_path / "scan.nii").write_bytes(bytes(raw))
    assert np.allclose(read_nifti(tmp_path / "scan.nii").image.GetSpacing(), (2, 2, 5))


@pytest.mark.parametrize(
    ("kind", "said"), [(np.complex64, "complex numbers"), ([("R", "u1"), ("G", "u1"), ("B", "u1")], "colours")]
)
def test_more_than_one_number_a_voxel_is_refused(tmp_path, kind, said):
    nib.save(nib.Nifti1Image(np.zeros(SIZE, kind), AFFINE), tmp_path / "scan.nii.gz")
    with pytest.raises(DataError, match=f"holds {said}, expected one number a voxel"):
        read_nifti(tmp_path / "scan.nii.gz")


def _packings():
    raw = _image().to_bytes()
    packed = gzip.compress(raw)
    return {
        "plain.nii.gz": raw, "footer.nii.gz": packed + b"\r\n<!-- proxy -->", "zeros.nii.gz": packed + bytes(512),
        "packed.nii": packed, "UPPER.NII.GZ": packed,
        "members.nii.gz": gzip.compress(raw[:400]) + gzip.compress(raw[400:]),
        "nifti2.nii.gz": gzip.compress(nib.Nifti2Image(image_array(1), AFFINE).to_bytes()),
    }  # fmt: skip


@pytest.mark.parametrize("name", _packings())
def test_the_content_says_what_a_file_is(tmp_path, name):
    (tmp_path / name).write_bytes(_packings()[name])
    volume = read_nifti(tmp_path / name)
    assert np.array_equal(_array(volume), image_array(1)) and np.allclose(volume.image.GetSpacing(), (2, 2, 5))


@pytest.mark.parametrize(("shift_mm", "fits"), [(0.002, True), (0.2, False)])
def test_an_origin_may_differ_by_rounding_alone(tmp_path, shift_mm, fits):
    _, label = btcv_case(tmp_path, "0007")
    affine = AFFINE.copy()
    affine[0, 3] += shift_mm
    write_nifti(label, label_array((6, 1, 2, 3)), affine)
    if fits:
        read_btcv(tmp_path)
    else:
        with pytest.raises(DataError, match=r"the label's origin is .*it differs by 0\.2"):
            read_btcv(tmp_path)


# DICOM


def _series(folder, count=8, start=0, gap_mm=GAP_MM, decimals=4, change=None, **options):
    """Slices of one series; ``change``: what is done to each file's data set."""
    files = []
    for index in range(count):
        position_mm = (-9.0, -7.5, round(20 + gap_mm * index, decimals))
        file = folder / f"{start + index:04d}.dcm"
        write_slice(file, image_array(1)[..., index % SIZE[2]].T, position_mm, **options)
        if change:
            dataset = pydicom.dcmread(file)
            change(dataset)
            dataset.save_as(file)
        files.append(file)
    return files


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_a_slice_without_its_geometry_is_refused(tmp_path, tag):
    _series(tmp_path, change=lambda dataset: delattr(dataset, tag) if tag in dataset else None)
    with pytest.raises(DataError, match=f"has no {tag}"):
        read_dicom(tmp_path)


def test_positions_rounded_to_a_tenth_are_evenly_spaced(tmp_path):
    _series(tmp_path, count=9, decimals=1)
    (image, _), _ = read_dicom(tmp_path)
    assert image.GetSpacing()[2] == pytest.approx(GAP_MM, abs=0.02)


def test_a_missing_slice_is_refused(tmp_path):
    _series(tmp_path, count=9, decimals=1)[4].unlink()
    with pytest.raises(DataError, match="Is a slice missing"):
        read_dicom(tmp_path)


@pytest.mark.parametrize("series", ["1.2.3.4", "1.2.3.9"])
def test_a_localiser_beside_the_volume_is_named_and_left_out(tmp_path, series):
    _series(tmp_path)
    write_slice(tmp_path / "loc.dcm", image_array(2)[..., 0].T, (0, -170, 20), axes=(0, 1, 0, 0, 0, -1), series=series)
    volume, files = read_dicom(tmp_path)
    assert len(files) == 8 and len(volume.notes) == 1 and "loc.dcm" in volume.notes[0]


def test_a_report_beside_the_volume_is_named_and_left_out(tmp_path):
    first = _series(tmp_path)[0]
    report = pydicom.dcmread(first)
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "PixelSpacing", "ImagePositionPatient"):
        delattr(report, name)
    report.Modality, report.SeriesInstanceUID = "SR", "1.2.3.8"
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    report.save_as(tmp_path / "report.dcm")
    volume, files = read_dicom(tmp_path)
    assert len(files) == 8 and "report.dcm is no image (SR)" in volume.notes[0]


def test_of_two_volumes_one_is_asked_for(tmp_path):
    _series(tmp_path)
    _series(tmp_path, start=100, count=6, series="1.2.3.5", modality="CT")
    with pytest.raises(DataError, match=r"2 series found.*series 1\.2\.3\.4, 8 slices.*Choose one by --series"):
        read_dicom(tmp_path)
    (image, _), files = read_dicom(tmp_path, "1.2.3.5")
    assert image.GetSize()[2] == len(files) == 6 and dicom_kind(tmp_path, "1.2.3.5") == "ct"
    with pytest.raises(DataError, match=r"no series 1\.2\.3\.7; expected one of"):
        read_dicom(tmp_path, "1.2.3.7")


def test_a_file_without_preamble_and_ending_is_dicom(tmp_path):
    for file in _series(tmp_path):
        (tmp_path / file.stem).write_bytes(file.read_bytes()[132:])
        file.unlink()
    (tmp_path / "Thumbs.db").write_bytes(bytes(300))
    (image, notes), files = read_dicom(tmp_path)
    assert image.GetSize()[2] == len(files) == 8 and not notes


def test_inverted_greys_are_refused(tmp_path):
    _series(tmp_path, change=lambda dataset: setattr(dataset, "PhotometricInterpretation", "MONOCHROME1"))
    with pytest.raises(DataError, match="MONOCHROME1, expected MONOCHROME2"):
        read_dicom(tmp_path)


def test_slices_that_cannot_be_read_are_no_shorter_volume(tmp_path):
    for file in _series(tmp_path)[5:]:
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match="can't be read as DICOM"):
        read_dicom(tmp_path)


def test_padding_of_an_mri_becomes_what_lies_beside_it():
    array = np.full((4, 12, 12), 100.0, np.float32)
    array[:, 0], array[:, 1:4] = -2000, 7
    found = sitk.GetArrayFromImage(without_padding(sitk.GetImageFromArray(array), "mr"))
    assert np.array_equal(found, np.where(array < 0, 7, array))
    assert sitk.GetArrayFromImage(without_padding(sitk.GetImageFromArray(array), "ct")).min() == -2000


def test_an_unknown_kind_of_dicom_is_not_called_a_broken_copy(tmp_path):
    for file in _series(tmp_path):
        header = pydicom.dcmread(file)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.3.4"
        header.save_as(file)
    with pytest.raises(DataError, match=r"SOP class 1\.2\.3\.4\) is unknown, expected CT or MR images"):
        read_dicom(tmp_path)


# Writing, and what the system refuses


def test_a_write_that_is_cut_leaves_the_older_file(tmp_path, monkeypatch):
    labels = sitk.GetImageFromArray(label_array((1, 2)).astype(np.uint8).T)
    write_image(labels, tmp_path / "labels.nii.gz")
    before, whole = (tmp_path / "labels.nii.gz").read_bytes(), writing.sitk.WriteImage

    def cut(image, path, **options):
        """As SimpleITK on a full disk: less is written, nothing is said."""
        whole(image, path, **options)
        with open(path, "r+b") as file:
            file.truncate(60)

    monkeypatch.setattr(writing.sitk, "WriteImage", cut)
    with pytest.raises(DataError, match="could not be written whole"):
        write_image(labels, tmp_path / "labels.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.nii.gz"]
    assert (tmp_path / "labels.nii.gz").read_bytes() == before


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_label_map_keeps_the_scans_geometry_and_nothing_else(tmp_path, kind):
    image = kind(image_array(1), AFFINE)
    image.header["descrip"], image.header["cal_max"] = b"somebody", 99
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a patient's name"))
    nib.save(image, tmp_path / "scan.nii.gz")
    labels = label_array((1, 2)).astype(np.uint8)
    write_labels_like(labels.T, tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz")
    found = nib.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(found.affine, image.affine) and np.array_equal(np.asarray(found.dataobj), labels)
    assert not found.header.extensions and not found.header["descrip"] and not found.header["cal_max"]


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 250 + ".nii.gz", "the name is too long"), ("folder.nii.gz", "it is a folder")]
)
def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path, capsys, name, said):
    (tmp_path / "folder.nii.gz").mkdir()
    assert cli.main(["predict", str(tmp_path), str(tmp_path / "scan.nii"), "-o", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_a_home_folder_is_spelt_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings(btcv="~/scans").btcv == "/home/somebody/scans"


def test_sources_inside_another_repository_have_no_commit(tmp_path, monkeypatch):
    from ssc import matrix, training

    (tmp_path / "ssc").mkdir()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(matrix, "ROOT", tmp_path / "ssc")
    assert training.commit() == "unknown"


def test_a_series_with_links_to_nothing_is_no_shorter_volume(tmp_path):
    for file in _series(tmp_path)[5:]:
        file.unlink()
        file.symlink_to(tmp_path / "gone" / file.name)
    with pytest.raises(DataError, match="a link to a file that is not there"):
        read_dicom(tmp_path)


def test_a_folder_named_in_another_encoding_is_refused_before_itk_sees_it(tmp_path):
    folder = tmp_path / os.fsdecode("Schädel".encode("latin-1"))
    (tmp_path / "scan").mkdir()
    _series(tmp_path / "scan")
    (tmp_path / "scan").rename(folder)
    with pytest.raises(DataError, match="its name is not in UTF-8"):
        read_dicom(folder)


def test_a_case_id_with_a_digit_that_is_no_number_is_sorted_too():
    assert sorted(["10", "²0", "9"], key=natural) == ["9", "10", "²0"]
