"""A run under way: killed at any step it goes on, bit by bit the same; bad states are refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from safetensors.numpy import load_file

from ssc import matrix
from ssc.config import Settings
from ssc.data.preprocess import write_cases
from ssc.data.scan import Scan
from ssc.errors import RunError
from ssc.runs import run_settings

ROOT = Path(__file__).parents[2]
KEY = "phantom/smoke/abdomen/draw0/seed0/ours"


def _scan(case, modality, generator):
    array = generator.normal(0, 20, (16, 40, 40)).astype(np.float32)
    label = np.zeros(array.shape, np.uint8)
    for value in range(1, 5):
        corner = generator.integers(4, 24, 2)
        label[4:12, corner[0] : corner[0] + 10, corner[1] : corner[1] + 10] = value
    image, truth = sitk.GetImageFromArray(array + 100 * label), sitk.GetImageFromArray(label)
    for volume in (image, truth):
        volume.SetSpacing((6.0, 6.0, 8.0))
    return Scan(case, modality, image, truth)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with tiny cases and the settings of one smoke run of 12 steps."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    run = matrix.Run.from_key(KEY)
    settings = run_settings(Settings(), run)
    for modality in run.modalities:
        ids = [case for part in settings.cases[modality].values() for case in part]
        write_cases(
            (_scan(case, modality, generator) for case in ids),
            matrix.cases_folder(run.data, run.scale, run.task, modality),
            **matrix.tasks()[run.task].to_case(modality, run.data, run.scale) | {"plane": 40},
        )
    run.folder.mkdir(parents=True)
    fewer = settings.optimiser.model_copy(update={"steps": 12, "save_every": 2})
    short = settings.model_copy(update={"optimiser": fewer})
    (run.folder / "settings.json").write_text(short.model_dump_json(), "utf-8")
    return run


def _command(run):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "ssc", "train", str(run.folder), "--threads", "1"]
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, encoding="utf-8")


def _finish(run):
    process = _command(run)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return load_file(run.folder / "weights.safetensors"), errors


def _kill_after(run, step):
    """kill -9 once the save of this step or a later one lies there."""
    process = _command(run)
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_to_bit_identical_weights(project):
    undisturbed, _ = _finish(project)
    history = pd.read_csv(project.folder / "history.csv")
    for name in ("weights.safetensors", "history.csv", "run.json"):
        (project.folder / name).unlink()
    _kill_after(project, step=np.random.default_rng().integers(3, 9))
    assert not (project.folder / "weights.safetensors").exists()
    resumed, errors = _finish(project)
    assert "goes on at step" in errors
    assert all(np.array_equal(undisturbed[key], resumed[key]) for key in undisturbed)
    pd.testing.assert_frame_equal(pd.read_csv(project.folder / "history.csv"), history)
    record = json.loads((project.folder / "run.json").read_text("utf-8"))
    assert record["steps"] == 12 and record["threads"] == 1
    assert set(record) >= {"commit", "torch", "device", "seconds", "preprocessing", "cases", "parameters"}
    losses = history.filter(regex="^(loss|seg_ct|seg_mri|aux_ct|aux_mri|mcr|icr)$")
    assert losses.shape[1] == 7 and np.isfinite(losses).all().all()


def test_a_run_in_progress_is_not_trained_twice(project):
    first = _command(project)
    for line in first.stderr:
        if line.startswith("step 1/"):
            first.send_signal(signal.SIGSTOP)  # it stays in the middle of its run
            break
    second = _command(project)
    errors = second.communicate()[1]
    first.kill()
    first.communicate()
    assert second.returncode == 1 and "another process is training this run" in errors


def test_other_settings_do_not_resume_from_an_old_state(project):
    _kill_after(project, step=4)
    settings = json.loads((project.folder / "settings.json").read_text("utf-8"))
    settings["objective"]["alpha"] = 0.9
    (project.folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    assert "goes on at step" not in _finish(project)[1]


@pytest.mark.parametrize(("alpha", "culprit"), [(1e39, "aux_ct"), (1e37, "gradient (inf|nan)")])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run_and_names_the_cases(project, alpha, culprit):
    """1e39 overflows float32 in the loss, 1e37 in the gradient alone."""
    settings = json.loads((project.folder / "settings.json").read_text("utf-8"))
    settings["objective"]["alpha"] = alpha
    (project.folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    process = _command(project)
    errors = process.communicate()[1]
    assert process.returncode == 1 and "loss or gradient is not finite at step 1" in errors
    assert "cases ct" in errors and re.search(culprit, errors)
    assert not (project.folder / "weights.safetensors").exists()


def test_prediction_from_an_untrained_run_says_what_is_missing(project):
    import torch

    from ssc.inference import Predictor

    with pytest.raises(RunError, match=r"run\.json is missing"):
        Predictor.load(project.folder, 0.5, torch.device("cpu"))


MIXED = [name for name, row in matrix.variants().items() if not row.external]
QUICK = ("ours", "ours_unet", "ours_swin_unet")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in MIXED]
)
def test_mixed_precision_follows_full_precision(project, name):
    """What a GPU does, here by autocast on the CPU: 20 steps, each loss against float32's at the same weights."""
    import torch

    from ssc.training import Training

    torch.set_num_threads(1)
    variant = matrix.variants()[name]
    key = KEY.replace("ours", name) + ("" if variant.joint else "-ct")
    run = matrix.Run.from_key(key)
    settings = run_settings(Settings(), run)
    longer = settings.optimiser.model_copy(update={"steps": 20})
    settings = settings.model_copy(update={"optimiser": longer})
    full, mixed = (Training(run, settings, None, torch.device("cpu")) for _ in range(2))
    mixed.mixed_precision, losses = True, []
    # oneDNN's weight gradients of small bfloat16 maps read memory that was never written (torch 2.13, CPU).
    with torch.backends.mkldnn.flags(enabled=False):
        for _ in range(20):
            full.network.load_state_dict(mixed.network.state_dict())
            losses.append([float(training.advance()["loss"]) for training in (full, mixed)])
    assert all(p.dtype == torch.float32 for p in mixed.network.parameters())
    expected, found = np.array(losses).T
    assert np.isfinite(found).all() and not np.array_equal(found, expected)
    assert found == pytest.approx(expected, rel=0.02)
