"""The mended command line: what users type reaches Snakemake as they meant it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from archives import VALUES, btcv_case, chaos_case

from snakemake_logger_plugin_ssc import TimeLeft, repair
from ssc import cli
from ssc.cli import main
from ssc.data.sources import ARCHIVES
from ssc.errors import DataError
from ssc.jobs import logged
from ssc.matrix import ROOT
from ssc.tasks import tasks
from ssc.whole import whole


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--cores 8 --resources gpu=2 t.csv", "--cores 8 --resources gpu=2 -- t.csv"),
        ("--cores 8 --res gpu=2 t.csv", "--cores 8 --res gpu=2 -- t.csv"),
        ("--resources gpu=2 mem_mb=1000 t.csv u.csv -n", "--resources gpu=2 mem_mb=1000 -n -- t.csv u.csv"),
        ("--resources gpu=2 t.csv --set-resources rule:gpu=2", "--resources gpu=2 --set-resources rule:gpu=2 -- t.csv"),
        ("--resources gpu=2 a --config data=real -- b", "--resources gpu=2 --config data=real -- a b"),
        # stock spellings stay as they are
        ("--cores 8 t.csv --resources gpu=2", "--cores 8 t.csv --resources gpu=2"),
        ("--cores 8 --resources gpu=2 -- t.csv", "--cores 8 --resources gpu=2 -- t.csv"),
        ("--cores 8 --resources=gpu=2 t.csv", "--cores 8 --resources=gpu=2 t.csv"),
        ("--resources gpu=2 --cores 8 t.csv", "--resources gpu=2 --cores 8 t.csv"),
        ("--cores 8 t.csv", "--cores 8 t.csv"),
        ("", ""),
        # Snakemake's own child processes
        (
            "--resources base64//Z3B1PTI= t.csv --mode subprocess",
            "--resources base64//Z3B1PTI= t.csv --mode subprocess",
        ),
        ("--resources a b --mode=remote", "--resources a b --mode=remote"),
    ],
)
def test_repair(typed, meant):
    assert repair(typed.split()) == meant.split()


def test_a_users_mistake_is_one_line_and_exit_status_1(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("ssc: ") and shown.count("\n") == 1


def test_training_without_settings_says_how_to_make_them(tmp_path, capsys):
    assert main(["train", str(tmp_path)]) == 1
    assert "settings.json is missing" in capsys.readouterr().err


def test_fewer_cases_than_the_splits_need_are_named_before_any_is_written(tmp_path, capsys):
    btcv_case(tmp_path / "btcv", "0001")
    arguments = tasks()["abdomen"].to_case("ct", "real", "smoke")
    settings = json.dumps({"to_case": arguments, "values": VALUES["btcv"]})
    needed = ["--settings", settings, "--need", "0001", "0030"]
    assert main(["preprocess", "btcv", str(tmp_path / "btcv"), str(tmp_path / "cases"), *needed]) == 1
    assert "1 btcv cases found, the splits also need 0030" in capsys.readouterr().err
    assert not (tmp_path / "cases").exists()


def test_phantoms_never_replace_what_lies_there(tmp_path, capsys):
    (tmp_path / "scan.nii.gz").write_text("someone's only copy")
    assert main(["phantoms", "btcv", str(tmp_path)]) == 1
    assert "holds files already" in capsys.readouterr().err
    assert (tmp_path / "scan.nii.gz").read_text() == "someone's only copy"


@pytest.mark.parametrize("fault", [["--overlap", "1"], ["--threads", "0"]])
def test_a_share_or_number_that_cannot_be_is_refused_at_once(tmp_path, capsys, fault):
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path), "scan.nii.gz", "-o", "labels.nii.gz", *fault])
    assert f"argument {fault[0]}: {fault[1]}: expected" in capsys.readouterr().err


def test_a_dicom_folder_is_not_read_as_another_modality(tmp_path, folded, capsys):
    chaos_case(tmp_path, "3")
    series = next(tmp_path.rglob("DICOM_anon"))
    assert main(["predict", str(folded), str(series), "-o", str(tmp_path / "l.nii.gz"), "--modality", "ct"]) == 1
    assert "its DICOM files say mr, expected ct, as ct that was given" in capsys.readouterr().err


def test_dicom_names_a_modality_where_only_one_is_of_its_kind(tmp_path):
    from ssc.inference import _modality

    kinds = {"ct": "ct", "t1": "mr", "t2": "mr"}
    predictor = SimpleNamespace(networks=kinds, kind=kinds.get)
    assert _modality(predictor, tmp_path, None, "ct") == "ct" and _modality(predictor, tmp_path, "t2", "mr") == "t2"
    for given, kind in ((None, "mr"), (None, None), ("pet", "mr")):
        with pytest.raises(DataError, match=r"this run knows ct, t1, t2\. Give --modality"):
            _modality(predictor, tmp_path, given, kind)


def test_a_workflow_script_logs_a_users_mistake_as_one_line(tmp_path):
    with pytest.raises(SystemExit), logged(tmp_path / "log"):
        raise DataError("case 3: no label")
    assert (tmp_path / "log").read_text("utf-8") == "ssc: case 3: no label\n"
    with pytest.raises(SystemExit), logged(tmp_path / "log"):
        raise ZeroDivisionError
    assert "Traceback" in (tmp_path / "log").read_text("utf-8")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with whole(tmp_path / "new/file.txt") as path:
        path.write_text("half")
        assert not (tmp_path / "new/file.txt").exists() and path.suffix == ".txt"
    assert (tmp_path / "new/file.txt").read_text() == "half"
    with pytest.raises(OSError, match="full disk"), whole(tmp_path / "new/file.txt") as path:
        path.write_text("other")
        raise OSError("full disk")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.txt"]
    assert (tmp_path / "new/file.txt").read_text() == "half"


@pytest.mark.parametrize(
    ("run", "modality", "lowest", "said"),
    [
        ("phantom/small/abdomen/draw0/seed0/ours", "ct", -1000, ["phantoms alone"]),
        ("real/small/abdomen/draw0/seed0/ours", "ct", -1000, []),
        ("real/small/abdomen/draw0/seed0/ours", "ct", -125, []),  # clipped CT
        ("real/small/abdomen/draw0/seed0/ours", "ct", 90, ["is it an MRI"]),
        ("real/small/abdomen/draw0/seed0/ours", "ct", -1500, ["intensities from -1499 to 461 lie outside"]),
        ("real/small/abdomen/draw0/seed0/ours", "mri", -1000, ["is it a CT"]),
        ("real/small/abdomen/draw0/seed0/ours", "mri", -3, []),  # resampled, or a z-score
    ],
)
def test_a_prediction_says_why_it_may_mean_nothing(run, modality, lowest, said):
    from ssc.inference import _doubts

    kind = {"ct": "ct", "mri": "mr"}[modality]
    predictor = SimpleNamespace(
        run=run, preprocessing={modality: {"box": "image", "orientation": "RAS"}}, kind=lambda _: kind
    )
    predictor.trained_on = {modality: {"1": {"intensity": [-1010, 520], "extent_mm": [9, 1, 1]}}}
    found = _doubts(
        predictor, sitk.GetImageFromArray(np.repeat([lowest, lowest + 60.0, 500.0], 3)[None, None]), modality
    )
    assert len(found) == len(said) and all(part in whole for part, whole in zip(said, found, strict=True))


@pytest.mark.parametrize(
    "command", ["doctor {0} --source lits", "preprocess lits {0} {0} --settings {{}}", "manifest lits {0} {0}/m.json",
                "phantoms lits {0}/new"],
)  # fmt: skip
def test_an_unknown_archive_is_one_line_that_names_the_known(command, tmp_path, capsys):
    assert cli.main(command.format(tmp_path).split()) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "lits" in said and all(name in said for name in ARCHIVES)


def test_help_needs_no_configuration(tmp_path):
    """As installed from a wheel: the package alone, without the checkout's config/."""
    shutil.copytree(ROOT / "ssc", tmp_path / "ssc")
    for command in ("--help", "predict --help", "fold --help", "explain --help"):
        shown = subprocess.run(
            [sys.executable, "-m", "ssc", *command.split()], cwd=tmp_path, capture_output=True, encoding="utf-8",
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert shown.returncode == 0 and "usage: ssc" in shown.stdout, shown.stderr


def test_a_reader_that_has_seen_enough_is_no_fault():
    table = ROOT / "docs/results/real_small/tables/table6.csv"
    shown = subprocess.run(
        f"{sys.executable} -m ssc explain {table} --modality ct | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert shown.returncode == 0 and not shown.stderr and shown.stdout.startswith("table6: ours, dice")


def test_the_time_left_is_that_of_the_rules_seen_so_far():
    """Two trainings of 10 s took 20 s, one after the other: four more take 40 s. Of the unseen nothing is said."""
    left = TimeLeft()
    left.left = Counter(train=6, evaluate=6)
    left.start = time.time() - 20
    left.finished("train", 10)
    left.finished("train", 10)
    assert str(left) == ""
    left.left = Counter(train=4)
    assert str(left) == ", about 40 s left"
    left.left = Counter(train=40, table=1)
    assert str(left) == ", about 7 min left"
    left.left = Counter()
    assert str(left) == ""


def test_the_lock_of_a_snakemake_at_work_is_left_alone(tmp_path):
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    (tmp_path / "snakemake").write_text("import time; time.sleep(60)", "utf-8")
    at_work = subprocess.Popen([sys.executable, "-u", tmp_path / "snakemake"], cwd=tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, ROOT / "workflow_scripts/unlock.py"], cwd=tmp_path, capture_output=True, text=True
        )
    finally:
        at_work.kill()
        at_work.wait()
    assert (done.returncode, done.stdout) == (0, "") and list((tmp_path / ".snakemake/locks").iterdir())
