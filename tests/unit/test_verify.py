"""Checksums of raw data, and the list of all faults."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from archives import (
    BTCV_VALUES,
    GAP_MM,
    SIZE,
    VALUES,
    btcv_case,
    chaos_case,
    image_array,
    label_array,
    mmwhs_case,
    write_nifti,
)

from ssc.cli import _use_of, main
from ssc.data.verify import doctor, listing, manifest
from ssc.errors import DataError, MissingDataError

CASES = {"btcv": ("0002", "0010"), "chaos": ("2", "10"), "mmwhs_mri": ("1001", "1010")}
SPACING_MM = {"btcv": [2, 2, 5], "chaos": [1.5, 1.5, GAP_MM], "mmwhs_mri": [2, 2, 5]}


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
    assert found["source"] == name
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
    for named in (None, name):
        found = list(doctor(tmp_path, named, _use_of))
        assert [(f.source, f.case, f.fault) for f in found] == [(name, case, None) for case in CASES[name]]
        assert all(len(f.volumes_ml) == 4 and all(f.volumes_ml.values()) for f in found)


def test_doctor_collects_every_fault(tmp_path):
    files = {number: btcv_case(tmp_path, f"{number:04d}") for number in range(1, 7)}
    files[1][0].unlink()
    files[2][1].unlink()
    files[3][0].write_bytes(files[3][0].read_bytes()[:200])
    shutil.copy(files[4][0], files[5][0])
    write_nifti(files[6][1], image_array(1))
    found = {f.case: f.fault for f in doctor(tmp_path, None, _use_of)}
    assert list(found) == [f"{number:04d}" for number in range(1, 7)]
    assert "img0001.nii.gz" in found["0001"]
    assert "label0002.nii.gz" in found["0002"]
    assert "can't be read as NIfTI" in found["0003"]
    assert found["0004"] is None
    assert "same image as btcv 0004" in found["0005"]
    assert "expected 0–13" in found["0006"]


def test_doctor_collects_faults_of_slices(tmp_path):
    for case in ("1", "2", "3"):
        chaos_case(tmp_path, case)
    case = tmp_path / "Train_Sets/MR"
    next((case / "1/T2SPIR/Ground").iterdir()).unlink()
    shutil.rmtree(case / "3/T2SPIR")
    found = {f.case: f.fault for f in doctor(tmp_path, None, _use_of)}
    assert "expected also" in found["1"]
    assert found["2"] is None
    assert "DICOM_anon" in found["3"]


def test_doctor_checks_all_archives_of_a_folder_or_the_one_that_is_named(tmp_path):
    for name in ("mmwhs_ct", "mmwhs_mri", "chaos"):
        write_case(tmp_path, name, "1001")
    (tmp_path / "ct_train/ct_train_1001_label.nii.gz").unlink()
    chaos, ct, mri = doctor(tmp_path, None, _use_of)
    assert [(f.source, f.case) for f in (chaos, ct, mri)] == [(n, "1001") for n in ("chaos", "mmwhs_ct", "mmwhs_mri")]
    assert chaos.fault is None and mri.fault is None
    assert "found no ct_train_1001_label.nii.gz" in ct.fault
    assert list(doctor(tmp_path, "mmwhs_mri", _use_of)) == [mri]


def test_doctor_needs_a_known_layout(tmp_path):
    with pytest.raises(MissingDataError, match=r"no archive found, expected RawData/Training.*Train_Sets/MR.*mr_train"):
        list(doctor(tmp_path, None, _use_of))


@pytest.mark.parametrize("complete", [True, False])
def test_doctors_command_names_the_splits_cases_that_are_not_there(tmp_path, capsys, complete):
    cases = [str(number) for number in range(1001, 1021)]
    for name in ("mmwhs_ct", "mmwhs_mri"):
        for case in cases if complete or name == "mmwhs_ct" else cases[:-2]:
            write_case(tmp_path, name, case)
    assert main(["doctor", str(tmp_path)]) == (0 if complete else 1)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in shown[:20]] == [f"mmwhs_ct {case}: ok" for case in cases]
    assert ("not there, but named in a split: mmwhs_mri 1019, mmwhs_mri 1020" in shown) == (not complete)


def _relabelled(tmp_path, change):
    """The doctor's finding for a BTCV case whose label map (x, y, z) was changed."""
    _, label = btcv_case(tmp_path, "0001")
    write_nifti(label, change(label_array((6, 1, 2, 3))))
    (found,) = doctor(tmp_path, "btcv", _use_of)
    return found


def test_a_label_map_without_an_organ_is_a_warning_and_without_any_a_fault(tmp_path):
    found = _relabelled(tmp_path, lambda label: np.where(label == 6, 0, label))
    assert found.fault is None and "no liver is labelled" in found.warnings and found.volumes_ml["liver"] == 0
    assert "holds none of the structures" in _relabelled(tmp_path, np.zeros_like).fault


def test_volumes_are_millilitres_and_odd_ones_are_told(tmp_path):
    """Tiny archives: 4 × 1 voxels of 2 × 2 × 5 mm on five slices, 0.4 ml."""
    found = _relabelled(tmp_path, lambda label: label)
    assert found.volumes_ml == pytest.approx(dict.fromkeys(found.volumes_ml, 0.4))
    assert "liver has 0 ml, usual are 500 to 4000" in found.warnings


def test_slices_that_lack_an_organ_between_others_are_told(tmp_path):
    def without_slice(label):
        label[..., 3][label[..., 3] == 1] = 0
        return label

    found = _relabelled(tmp_path, without_slice)
    assert [w for w in found.warnings if "lacks" in w] == ["spleen all but lacks on slices 4 between such that hold it"]


@pytest.mark.parametrize(("shift", "said"), [(1000, "no value is below 0"), (40_000, "expected Hounsfield units")])
def test_a_ct_out_of_its_units_is_a_fault(tmp_path, shift, said):
    image, _ = btcv_case(tmp_path, "0001")
    array = image_array(1).astype(np.float32) - 1000
    write_nifti(image, array + shift if shift == 1000 else np.where(array > -600, np.float32(shift), array))
    (found,) = doctor(tmp_path, "btcv", _use_of)
    assert said in found.fault


def test_a_clipped_ct_is_a_warning(tmp_path):
    image, _ = btcv_case(tmp_path, "0001")
    write_nifti(image, np.clip(image_array(1) - 300, -125, 275).astype(np.int16))
    (found,) = doctor(tmp_path, "btcv", _use_of)
    assert found.fault is None and any("clipped before (-125 to " in w for w in found.warnings)


def test_the_doctor_writes_its_findings_for_programs(tmp_path, capsys):
    btcv_case(tmp_path / "raw", "0001")
    main(["doctor", str(tmp_path / "raw"), "--json", str(tmp_path / "found.json")])
    (found,) = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert (found["source"], found["case"], found["fault"]) == ("btcv", "0001", None)
    assert found["warnings"] and found["volumes_ml"]["liver"] == pytest.approx(0.4)
