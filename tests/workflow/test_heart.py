"""The cardiac half: its tables by the same command, few-shot, boxes, ImageNet, folding."""

import hashlib
import json
import re
import shutil
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from project import ROOT

TABLES = "results/tables/table1.csv results/tables/table4.csv results/tables/table5.csv"
FEW = "results/runs/phantom/smoke/heart/fixed/seed0/ours_1_mri/settings.json"
RUNS = "results/runs/phantom/smoke/heart/fixed/seed0"


@pytest.fixture(scope="module")
def hearts(made):
    made.run(f"snakemake --cores 2 results/tables/table5.csv {FEW}")
    return made


@pytest.mark.long
def test_the_other_tables_are_complete(hearts):
    hearts.run(f"snakemake --cores 2 {TABLES}")
    for number, methods in (("1", 5), ("4", 3)):
        table = pd.read_csv(hearts.folder / f"results/tables/table{number}.csv")
        assert table["method"].nunique() == methods and table["published_mean"].notna().any()
    ummkd = pd.read_csv(hearts.folder / "results/tables/table1.csv").query("method == 'ummkd' and metric == 'dice'")
    assert ummkd["mean"].notna().all() and ummkd["published_mean"].notna().any()


def test_the_table_names_box_and_start(hearts):
    table = pd.read_csv(hearts.folder / "results/tables/table5.csv")
    assert table["method"].nunique() == 3
    assert set(table["box"]) == {"image"} and set(table["init"]) == {"random"}
    assert table["published_mean"].notna().any()
    cell = table.query("method == 'ours' and metric == 'dice' and modality == 'overall' and grid == 'native'").iloc[0]
    assert cell["patients"] == 4 and cell["published_mean"] == 91.4


def test_few_shot_trains_on_the_drawn_case_alone(hearts):
    settings = json.loads((hearts.folder / RUNS / "ours_1_mri/settings.json").read_text("utf-8"))
    everything = json.loads((hearts.folder / RUNS / "ours/settings.json").read_text("utf-8"))
    assert len(settings["cases"]["mri"]["train"]) == 1 and len(settings["cases"]["ct"]["train"]) == 14
    assert settings["optimiser"] == everything["optimiser"] and settings["sampling"] == everything["sampling"]


def test_the_quirks_of_the_archive_are_noted(hearts):
    log = (hearts.folder / "logs/verify/phantom/mmwhs_mri.log").read_text("utf-8")
    assert "1002" in log and "421" in log


def test_another_box_makes_all_cases_anew(hearts):
    jobs = hearts.jobs("snakemake --cores 2 --config tasks='{heart: {box: paper}}' -- results/tables/table5.csv")
    assert jobs == {"preprocess": 2, "train": 4, "evaluate": 4, "table": 1}


def test_imagenet_is_fetched_or_asked_for_but_never_left_out(hearts):
    jobs = hearts.jobs("snakemake --cores 2 --config init=imagenet -- results/tables/table5.csv")
    assert jobs == {"download_swin_tiny": 1, "settings": 4, "train": 4, "evaluate": 4, "table": 1}
    shown = hearts.run("snakemake -n --cores 2 --config init=imagenet -- results/tables/table6.csv", check=False)
    assert "no download of them is known" in shown and "init=random" in shown
    given = "--config init=imagenet swin_tiny=/nowhere"
    shown = hearts.run(f"snakemake -n --cores 2 {given} -- results/tables/table5.csv", check=False)
    assert "/nowhere is not there" in shown and "init=random" in shown


@pytest.mark.long
def test_a_run_starts_from_a_checkpoint_and_says_what_became_of_it(hearts, tmp_path):
    """Random weights in Swin-T's shapes, into Swin-Unet of width 96; another seed, beside the other runs."""
    import torch
    from checkpoints import swin_state

    torch.save({"model": swin_state(96, (3, 6, 12, 24))}, tmp_path / "swin tiny.pth")
    given = f"--config init=imagenet swin_tiny='{tmp_path}/swin tiny.pth'"
    folder = RUNS.replace("seed0", "seed1") + "/ours"
    small, wide = "{ width: 12, heads: [1, 2, 4, 8] }", "{ width: 96, heads: [3, 6, 12, 24] }"
    hearts.edit("config/matrix.yaml", small, wide)
    try:
        hearts.run(f"snakemake --cores 2 {given} -- {folder}/run.json")
    finally:
        hearts.edit("config/matrix.yaml", f"smoke: {wide}", f"smoke: {small}")
    record = json.loads((hearts.folder / folder / "run.json").read_text("utf-8"))
    digest = hashlib.sha256((tmp_path / "swin tiny.pth").read_bytes()).hexdigest()
    assert record["init"] == "imagenet" and record["imagenet"]["sha256"] == digest
    tensors = record["imagenet"]["tensors"]
    assert tensors["backbone.encoder.patch_embedding.conv.weight"] == "loaded patch_embed.proj.weight"
    assert tensors["backbone.encoder.stages.0.blocks.0.attention.bias_table"].startswith("resized ")
    assert tensors["backbone.heads.output.weight"] == "random" and "head.weight" in record["imagenet"]["unused"]


def test_a_checkpoint_that_does_not_fit_is_an_error(hearts, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"no checkpoint")
    shown = hearts.run(f"ssc train {RUNS}/ours --imagenet {tmp_path}/weights.pth --threads 1", check=False)
    assert "init is random" in shown and "Traceback" not in shown


@pytest.mark.parametrize(("task", "split", "case"), [("heart", "fixed", "1003"), ("abdomen", "draw0", "0002")])
def test_a_folded_network_predicts_the_same(hearts, tmp_path, task, split, case):
    import torch

    from ssc.data.preprocess import read_case
    from ssc.inference import Predictor

    run = hearts.folder / f"results/runs/phantom/smoke/{task}/{split}/seed0/ours"
    hearts.run(f"ssc fold {run} {tmp_path}/folded")
    card = json.loads((tmp_path / "folded/ct.folded.json").read_text("utf-8"))
    assert card["labels"] and card["preprocessing"]["spacing_mm"] and card["network"]["view"]["crop"]
    image, _ = read_case(hearts.folder / f"results/cases/phantom/smoke/{task}/ct", case)
    whole, folded = (
        Predictor.load(folder, 0.25, torch.device("cpu")).case_probabilities(image, "ct")
        for folder in (run, tmp_path / "folded")
    )
    assert np.abs(whole - folded).max() < 1e-4 and whole.std() > 0.01


@pytest.mark.long
def test_a_folded_network_segments_a_users_scan(hearts, tmp_path):
    scan = hearts.folder / "data/phantom/mmwhs_mri/mr_train/mr_train_1007_image.nii.gz"
    hearts.run(f"ssc fold {RUNS}/ours {tmp_path}/folded")
    hearts.run(f"ssc predict {tmp_path}/folded {scan} -o {tmp_path}/labels.nii.gz --modality mri --threads 1")
    given, labels = nib.load(scan), nib.load(tmp_path / "labels.nii.gz")
    assert labels.shape == given.shape and np.array_equal(labels.affine, given.affine)


@pytest.mark.long
def test_a_folded_network_is_enough_without_the_checkout(hearts, installed, tmp_path):
    """The installed package and the folded folder alone."""
    scan = hearts.folder / "data/phantom/mmwhs_mri/mr_train/mr_train_1007_image.nii.gz"
    hearts.run(f"ssc fold {RUNS}/ours {tmp_path}/folded")
    arguments = f"{tmp_path}/folded {scan} -o {tmp_path}/alone.nii.gz --modality mri --threads 1"
    hearts.run(f"cd {tmp_path} && PYTHONPATH={installed} {sys.executable} -m ssc predict {arguments}")
    hearts.run(f"ssc predict {arguments.replace('alone', 'whole')}")
    alone, whole = (np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj) for name in ("alone", "whole"))
    assert np.array_equal(alone, whole)


def test_a_backbone_is_free_to_choose(hearts):
    jobs = hearts.jobs(
        "snakemake --cores 2 results/predictions/phantom/smoke/heart/fixed/seed0/ours_nnformer/test/scores.csv"
    )
    assert jobs == {"settings": 1, "train": 1, "evaluate": 1}  # cases serve every backbone
    jobs = hearts.jobs("snakemake --cores 2 results/tables/abdomen_swin_unet.csv")
    assert jobs == {"settings": 4, "train": 4, "evaluate": 4, "table": 1}


DOCUMENTED = re.findall(r"```yaml\n(  attention.*?)```", (ROOT / "docs/extending.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.long
@pytest.mark.parametrize(("task", "split", "dims"), [("abdomen", "draw0", 3), ("heart", "fixed", 2)])
def test_a_backbone_that_nobody_knows_yet_is_one_row(hearts, tmp_path, task, split, dims):
    """The example of docs/extending.md: trained, scored, used, folded; nothing else is touched, nothing else trains."""
    text = (hearts.folder / "config/matrix.yaml").read_text("utf-8")
    scan = {3: "btcv/RawData/Training/img/img0002.nii.gz", 2: "mmwhs_ct/ct_train/ct_train_1003_image.nii.gz"}[dims]
    backbone, variant = DOCUMENTED
    backbone = backbone.replace("spatial_dims: 3", f"spatial_dims: {dims}")
    run = f"phantom/smoke/{task}/{split}/seed0/attention"
    try:
        changed = text.replace("\nbackbones:\n", f"\nbackbones:\n{backbone}").replace(
            "\nvariants:\n", f"\nvariants:\n{variant}"
        )
        (hearts.folder / "config/matrix.yaml").write_text(changed, "utf-8")
        jobs = hearts.jobs(f"snakemake --cores 2 results/predictions/{run}/test/scores.csv")
        assert jobs == {"settings": 1, "train": 1, "evaluate": 1}
        hearts.run(f"snakemake --cores 2 results/predictions/{run}/test/scores.csv")
        hearts.run(f"ssc fold results/runs/{run} {tmp_path}/folded")
        for folder in (f"results/runs/{run}", f"{tmp_path}/folded"):
            hearts.run(f"ssc predict {folder} data/phantom/{scan} -o {tmp_path}/l.nii.gz --modality ct --threads 1")
    finally:
        (hearts.folder / "config/matrix.yaml").write_text(text, "utf-8")
        for folder in ("runs", "predictions"):
            shutil.rmtree(hearts.folder / "results" / folder / run, ignore_errors=True)
