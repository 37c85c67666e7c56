"""Checksums of raw data, and the list of all faults."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from archives import (
    BTCV_VALUES,
    GAP_MM,
    SIZE,
    VALUES,
    btcv_case,
    chaos_case,
    image_array,
    mmwhs_case,
    write_nifti,
)

from ssc.cli import main
from ssc.data.verify import doctor, listing, manifest
from ssc.errors import DataError, MissingDataError

CASES = {"btcv": ("0002", "0010"), "chaos": ("2", "10"), "mmwhs_mri": ("1001", "1010")}
SPACING_MM = {"btcv": [2, 2, 5], "chaos": [1.5, 1.5, GAP_MM], "mmwhs_mri": [2, 2, 5]}
MODALITY = {"btcv": "ct", "chaos": "mri", "mmwhs_mri": "mri"}


def write_case(folder, name, case):
    """One case of any archive."""
    if name.startswith("mmwhs"):
        mmwhs_case(folder, case, {"mmwhs_ct": "ct", "mmwhs_mri": "mr"}[name])
    else:
        {"btcv": btcv_case, "chaos": chaos_case}[name](folder, case)


@pytest.fixture(params=CASES)
def name(request, tmp_path):
    """The name of an archive of two cases in tmp_path."""
    for case in CASES[request.param]:
        write_case(tmp_path, request.param, case)
    return request.param


def test_manifest_describes_every_file(tmp_path, name):
    wrapped = []
    found = manifest(name, tmp_path, VALUES[name], lambda cases: wrapped.extend(cases) or wrapped)
    assert wrapped == list(CASES[name])
    assert (found["source"], found["modality"]) == (name, MODALITY[name])
    assert found["listing"] == listing(tmp_path, name)
    assert tuple(found["cases"]) == CASES[name]
    files = {}
    for row in found["cases"].values():
        assert row["size"] == list(SIZE)
        assert row["spacing_mm"] == pytest.approx(SPACING_MM[name])
        files |= row["files"]
    expected = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*.*") if path.is_file()}
    assert files == {relative: hashlib.sha256(path.read_bytes()).hexdigest() for relative, path in expected.items()}


def test_listing_depends_on_names_and_sizes(tmp_path, name):
    before = listing(tmp_path, name)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in list(tmp_path.iterdir()):
        if folder != moved:
            shutil.move(folder, moved)
    assert listing(moved, name) == before
    file = next(path for path in sorted(moved.rglob("*.*")) if path.is_file())
    file.write_bytes(file.read_bytes() + b"more")
    assert listing(moved, name) != before


def test_listing_passes_over_other_files(tmp_path, name):
    before = listing(tmp_path, name)
    (tmp_path / "RawData").mkdir(exist_ok=True)
    (tmp_path / "RawData/notes.txt").write_text("mine", "utf-8")
    assert listing(tmp_path, name) == before


def test_manifest_refuses_two_cases_with_the_same_image(tmp_path):
    first, _ = btcv_case(tmp_path, "0002")
    second, _ = btcv_case(tmp_path, "0010")
    shutil.copy(first, second)
    with pytest.raises(DataError, match=r"btcv 0010: has the same image as btcv 0002, expected another"):
        manifest("btcv", tmp_path, BTCV_VALUES)


def test_doctor_finds_nothing_in_good_archives(tmp_path, name):
    assert doctor(tmp_path, None, VALUES.get) == [(name, case, "ok") for case in CASES[name]]
    assert doctor(tmp_path, name, VALUES.get) == [(name, case, "ok") for case in CASES[name]]


def test_doctor_collects_every_fault(tmp_path):
    files = {number: btcv_case(tmp_path, f"{number:04d}") for number in range(1, 7)}
    files[1][0].unlink()
    files[2][1].unlink()
    files[3][0].write_bytes(files[3][0].read_bytes()[:200])
    shutil.copy(files[4][0], files[5][0])
    write_nifti(files[6][1], image_array(1))
    found = {case: row for _, case, row in doctor(tmp_path, None, VALUES.get)}
    assert list(found) == [f"{number:04d}" for number in range(1, 7)]
    assert "img0001.nii.gz" in found["0001"]
    assert "label0002.nii.gz" in found["0002"]
    assert "can't be read as NIfTI" in found["0003"]
    assert found["0004"] == "ok"
    assert "same image as btcv 0004" in found["0005"]
    assert "expected 0–13" in found["0006"]


def test_doctor_collects_faults_of_slices(tmp_path):
    for case in ("1", "2", "3"):
        chaos_case(tmp_path, case)
    case = tmp_path / "Train_Sets/MR"
    next((case / "1/T2SPIR/Ground").iterdir()).unlink()
    shutil.rmtree(case / "3/T2SPIR")
    found = {case: row for _, case, row in doctor(tmp_path, None, VALUES.get)}
    assert "expected also" in found["1"]
    assert found["2"] == "ok"
    assert "DICOM_anon" in found["3"]


def test_doctor_checks_all_archives_of_a_folder_or_the_one_that_is_named(tmp_path):
    for name in ("mmwhs_ct", "mmwhs_mri", "chaos"):
        write_case(tmp_path, name, "1001")
    (tmp_path / "ct_train/ct_train_1001_label.nii.gz").unlink()
    chaos, ct, mri = doctor(tmp_path, None, VALUES.get)
    assert (chaos, mri) == (("chaos", "1001", "ok"), ("mmwhs_mri", "1001", "ok"))
    assert ct[:2] == ("mmwhs_ct", "1001")
    assert "found no ct_train_1001_label.nii.gz" in ct[2]
    assert doctor(tmp_path, "mmwhs_mri", VALUES.get) == [mri]


def test_doctor_needs_a_known_layout(tmp_path):
    with pytest.raises(MissingDataError, match=r"no archive found, expected RawData/Training.*Train_Sets/MR.*mr_train"):
        doctor(tmp_path, None, VALUES.get)


@pytest.mark.parametrize("complete", [True, False])
def test_doctors_command_names_the_splits_cases_that_are_not_there(tmp_path, capsys, complete):
    cases = [str(number) for number in range(1001, 1021)]
    for name in ("mmwhs_ct", "mmwhs_mri"):
        for case in cases if complete or name == "mmwhs_ct" else cases[:-2]:
            write_case(tmp_path, name, case)
    assert main(["doctor", str(tmp_path)]) == (0 if complete else 1)
    shown = capsys.readouterr().out.splitlines()
    assert shown[:20] == [f"mmwhs_ct {case}: ok" for case in cases]
    assert ("not there, but named in config/splits.yaml: mmwhs_mri 1019, mmwhs_mri 1020" in shown) == (not complete)
