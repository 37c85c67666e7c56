"""Notebook, figure, report, prediction of a user's own scan, a kill in the middle: the rest of what a user types."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image
from project import BIN, SHOWN, trained

from ssc.cli import main

RUN = "results/runs/phantom/smoke/abdomen/draw0/seed0/ours"
RUN_OF_SEED = "results/predictions/phantom/smoke/abdomen/draw0/seed{}/ours/test/scores.csv"


def test_the_readmes_graph_is_the_workflows(made):
    drawn = made.run("snakemake --rulegraph mermaid-js all")
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", drawn)}
    readme = (made.folder / "README.md").read_text("utf-8").split("```mermaid")[1].split("```")[0]
    assert set(re.findall(r"(\w+) --> (\w+)", readme)) == {(a, b) for a, b in edges if b != "all"}


def test_the_notebook_is_whole_and_knows_no_machine(shown):
    path = shown.folder / "results/notebooks/abdomen.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert len(outputs) >= 6 and all(output.output_type != "error" for output in outputs)
    assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert str(shown.folder) not in path.read_text("utf-8")


def test_the_figure_is_drawn_as_pdf_and_png(shown):
    figures = shown.folder / "results/figures"
    assert (figures / "figure4_abdomen.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(figures / "figure4_abdomen.png") as picture:
        assert min(picture.size) > 700
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 1000


@pytest.mark.parametrize("orientation", ["PIR", pytest.param("LPS", marks=pytest.mark.long)])
def test_a_users_scan_comes_back_in_its_own_geometry(made, tmp_path, orientation):
    """Another orientation and a finer grid than any training case."""
    raw = sitk.ReadImage(str(made.folder / "data/phantom/btcv/RawData/Training/img/img0002.nii.gz"))
    finer = sitk.Resample(raw, [n * 2 - 1 for n in raw.GetSize()], sitk.Transform(), sitk.sitkLinear,
                          raw.GetOrigin(), [s / 2 for s in raw.GetSpacing()], raw.GetDirection())  # fmt: skip
    sitk.WriteImage(sitk.DICOMOrient(finer, orientation), str(tmp_path / "scan.nii.gz"))
    out = tmp_path / "a new/folder/labels.nii.gz"
    shown = made.run(f"ssc predict {RUN} {tmp_path}/scan.nii.gz -o '{out}' --modality ct --threads 1")
    given, labels = nib.load(tmp_path / "scan.nii.gz"), nib.load(out)
    counts = np.bincount(np.asarray(labels.dataobj).ravel(), minlength=5)[1:]
    volumes = np.rint(counts * np.prod(given.header.get_zooms()) / 1000).astype(int)
    names = ("liver", "spleen", "right_kidney", "left_kidney")
    assert f"{out}: label map of {tmp_path}/scan.nii.gz, CT, " in shown
    assert ", ".join(f"{name} {ml} ml" for name, ml in zip(names, volumes, strict=True)) in shown
    assert "trained on phantoms alone" in shown and "is it a" not in shown
    assert labels.shape == given.shape and np.array_equal(labels.affine, given.affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b"):
        assert np.array_equal(labels.header[field], given.header[field]), field
    assert np.array_equal(labels.header["pixdim"][:4], given.header["pixdim"][:4])  # the others belong to no axis
    assert set(np.unique(labels.dataobj)) <= set(range(5))


def test_a_dicom_folder_names_its_own_modality(made, tmp_path):
    series = made.folder / "data/phantom/chaos/Train_Sets/MR/2/T2SPIR/DICOM_anon"
    made.run(f"ssc predict {RUN} {series} -o {tmp_path}/labels.nii.gz --threads 1")
    labels = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert labels.GetSize()[2] == len(list(series.iterdir()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("scan.nii.gz -o labels.nii.gz", "Give --modality"),
        ("nothing.nii.gz -o labels.nii.gz --modality ct", "not found"),
        ("scan.nii.gz -o labels.png --modality ct", "expected a name ending in .nii"),
        ("scan.nii.gz -o scan.nii.gz/labels.nii.gz --modality ct", "no folder can be made there"),
        ("scan.nii.gz -o scan.nii.gz --modality ct", "another file than the scan"),
    ],
)
def test_a_prediction_that_cannot_be_is_one_line_and_no_file(made, tmp_path, monkeypatch, capsys, arguments, message):
    shutil.copy(made.folder / "data/phantom/btcv/RawData/Training/img/img0002.nii.gz", tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(made.folder / RUN), *arguments.split(), "--threads", "1"]) == 1
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


@pytest.mark.long
def test_a_run_is_what_its_settings_say_wherever_it_lies(made, tmp_path):
    """A copied and renamed run gives a scan the workflow's labels, and is refused in one line if of another version."""
    scan = made.folder / "data/phantom/btcv/RawData/Training/img/img0002.nii.gz"
    copied = shutil.copytree(made.folder / RUN, tmp_path / "my run")
    made.run(f"ssc predict '{copied}' {scan} -o {tmp_path}/labels.nii --modality ct --overlap 0 --threads 1")
    found = np.asarray(nib.load(tmp_path / "labels.nii").dataobj).transpose(2, 1, 0)
    workflow = made.folder / RUN.replace("runs", "predictions", 1) / "test/label_maps/ct_0002.nii.gz"
    assert np.mean(found == sitk.GetArrayFromImage(sitk.ReadImage(str(workflow)))) > 0.9999
    settings = json.loads((copied / "settings.json").read_text("utf-8"))
    old = {"key": settings["key"], "flags": {"eam": True}, "losses": {"alpha": 0.4}}
    (copied / "settings.json").write_text(json.dumps(old), "utf-8")
    shown = made.run(f"ssc predict '{copied}' {scan} -o {tmp_path}/d.nii.gz --modality ct", check=False)
    assert "written by another version of ssc (format 1, expected 3)" in shown and "Traceback" not in shown


def test_a_run_explains_itself(made):
    record = json.loads((made.folder / RUN / "run.json").read_text("utf-8"))
    assert set(record["cases"]["ct"]) >= {"0001_image.nii.gz"} and len(record["cases"]["mri"]) == 60
    settings = json.loads((made.folder / RUN / "settings.json").read_text("utf-8"))
    terms = {"alpha": 0.4, "aux_target": "soft", "beta": 0.1, "gamma": 0.1, "tau": 4.0, "shuffled": False}
    rivals = {"kd": None, "kd_absent": "skip", "segmentation": "paper"}
    assert settings["objective"] == terms | rivals and len(record["correspondence"]) == 3
    history = pd.read_csv(made.folder / RUN / "history.csv")
    assert {"loss", "seg_ct", "aux_mri", "mcr", "icr", "dice"} <= set(history)


def test_the_report_holds_all_in_one_file_that_needs_no_network(shown):
    shown.run(f"snakemake --report report.html {SHOWN}")
    report = (shown.folder / "report.html").read_text("utf-8")
    for held in ("table6.html", "table3.html", "figure4_abdomen.png", "figure1.png", "curves_abdomen.png"):
        assert held in report, held
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(https?:)?//", report)


@pytest.mark.long
def test_the_report_opens_on_the_headline_table_and_figure(everything):
    everything.run("snakemake --report report.html all")
    report = (everything.folder / "report.html").read_text("utf-8")
    first = report.split("var workflow_desc = ")[1].split("</script>")[0]
    assert all(text in first for text in ("Table 6: ", "Ours (w/ CR)", "93.3", "data:image/png;base64,", "Table 5: "))
    assert '"trainings in this folder":' in report  # without it Snakemake opens on the rule graph


@pytest.mark.long
def test_more_seeds_are_more_runs_and_a_spread_of_their_own(made):
    """Joint V3 and Ours with a second seed; then the first seed's table comes back without a training."""
    before = trained(made)
    made.run("snakemake --cores 2 --config 'seeds=[0,1]' -- results/tables/table7.csv")
    table = pd.read_csv(made.folder / "results/tables/table7.csv")
    assert set(table["seed"]) == {"0 1"}
    runs = {seed: pd.read_csv(made.folder / RUN_OF_SEED.format(seed)) for seed in (0, 1)}
    cell = {"modality": "ct", "structure": "liver", "grid": "native"}
    dice = [rows[(rows[list(cell)] == list(cell.values())).all(axis=1)]["dice"] for rows in runs.values()]
    row = table[(table[list(cell)] == list(cell.values())).all(axis=1)].query("method == 'ours' and metric == 'dice'")
    assert row["mean"].item() == pytest.approx(pd.concat(dice).mean(), abs=1e-3)
    assert row["std_over_seeds"].item() == pytest.approx(pd.Series([d.mean() for d in dice]).std(ddof=0), abs=1e-3)
    after = trained(made)
    assert len(after) == len(before) + 2 and before.items() <= after.items()
    assert "train" not in made.run("snakemake --cores 2 -- results/tables/table7.csv").split()
    assert trained(made) == after


def test_a_killed_workflow_goes_on_once_its_lock_is_cleared(made, tmp_path):
    """Power loss: Snakemake and its job are killed; the lock is cleared, the training resumes, not restarts."""
    project = made.copy(tmp_path / "project")
    target = RUN.replace("smoke", "small") + "/weights.safetensors"
    project.edit("config/scales.yaml", "save_every: 100", "save_every: 3")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(project.folder)}
    snakemake = subprocess.Popen(
        ["snakemake", "--cores", "2", target], cwd=project.folder, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    state = project.folder / target.replace("results/runs", "state").replace("weights.safetensors", "state.pt")
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    assert list(project.folder.glob(".snakemake/locks/*")) and not (project.folder / target).exists()
    assert "clearing the lock" in project.run("python workflow_scripts/unlock.py")
    log = project.folder / "logs/train/phantom/small/abdomen/draw0/seed0/ours.log"
    resumed = subprocess.Popen(
        ["snakemake", "--cores", "2", target], cwd=project.folder, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (log.exists() and "goes on at step" in log.read_text("utf-8")) and time.monotonic() < deadline + 60:
        time.sleep(0.2)
    os.killpg(resumed.pid, signal.SIGKILL)
    resumed.wait()
    assert re.search(r"goes on at step [1-9]", log.read_text("utf-8"))
    plan = project.run("make -n table6")  # the README's target clears the lock first
    assert 0 < plan.index("python workflow_scripts/unlock.py") < plan.index("-- results/tables/table6.csv")
