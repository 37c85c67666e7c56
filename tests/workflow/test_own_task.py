"""To nnU-Net and back, and a user's own task of three modalities, from its folders to a table."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from ssc.cli import main
from ssc.data.preprocess import to_case
from ssc.data.sources.layouts import of_modality
from ssc.tasks import Modality, tasks

CASES = "results/cases/phantom/smoke/abdomen"
PREDICTIONS = "results/predictions/phantom/smoke/abdomen/draw0/seed0/ours/test"
SCORE = f"ssc score {PREDICTIONS}/label_maps --task abdomen"
EXTERNAL = "results/external/phantom/smoke/abdomen/draw0/seed0/nnunet"


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """Draw 0 of the abdomen in nnU-Net's layout: the scans, and the cases."""
    folders = {kind: tmp_path_factory.mktemp("nnunet") / "Dataset501" for kind in ("raw", "cases")}
    for kind, folder in folders.items():
        made.run(f"ssc export-nnunet {folder} --task abdomen --split draw0 --kind {kind}")
    return folders


@pytest.mark.parametrize("kind", ["raw", "cases"])
def test_a_split_is_exported_and_no_test_case_is_planned_with(exported, kind):
    folder, split = exported[kind], tasks()["abdomen"].splits["draw0"]
    names = {
        part: sorted(f"{m}_{case}" for m in ("ct", "mri") for case in split[m][part])
        for part in ("train", "validation", "test")
    }
    images = {
        part: sorted(f.name.removesuffix("_0000.nii.gz") for f in (folder / part).iterdir())
        for part in ("imagesTr", "imagesTs")
    }
    assert images == {"imagesTr": sorted(names["train"] + names["validation"]), "imagesTs": names["test"]}
    assert sorted(f.name.removesuffix(".nii.gz") for f in (folder / "labelsTr").iterdir()) == images["imagesTr"]
    (fold,) = json.loads((folder / "splits_final.json").read_text("utf-8"))
    assert sorted(fold["train"]) == names["train"] and sorted(fold["val"]) == names["validation"]
    content = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert content["numTraining"] == 27 + 4 and list(content["labels"].values()) == [0, 1, 2, 3, 4]


def test_the_exported_scans_are_the_same_cases_as_a_users_own_task(made, exported):
    """Label maps voxel for voxel; intensities but for the geometry's rounding, which NIfTI keeps in float32."""
    task = tasks()["abdomen"]
    for modality, case in (("ct", "0001"), ("mri", "2")):
        own = Modality(
            kind=task.modalities[modality].kind, layout="nnunet", folder=str(exported["raw"]),
            cases=(f"{modality}_*",), intensity=task.modalities[modality].intensity,
        )  # fmt: skip
        values = [(value, value) for value in range(1, 5)]
        scan = of_modality("own", own).read(exported["raw"], f"{modality}_{case}", values)
        found = to_case(scan, **task.to_case(modality, "phantom", "smoke"))
        image, label = (
            sitk.ReadImage(f"{made.folder}/{CASES}/{modality}/files/{case}_{kind}.nii.gz")
            for kind in ("image", "label")
        )
        assert np.array_equal(*map(sitk.GetArrayFromImage, (found.label, label)))
        assert np.allclose(*map(sitk.GetArrayFromImage, (found.image, image)), atol=1e-4)


def test_our_own_label_maps_score_as_the_workflow_scored_them(made):
    made.run(f"{SCORE} --split draw0 --method nnunet")
    ours, found = (
        pd.read_csv(made.folder / f"{top}/scores.csv", dtype=str) for top in (PREDICTIONS, f"{EXTERNAL}/test")
    )
    native = ours[ours["grid"] == "native"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, native)


def test_scores_of_a_fold_lie_where_its_table_looks(made):
    wanted = "results/external/phantom/smoke/abdomen/repeat0_fold3/seed3/nnunet/test/scores.csv"
    maps = made.folder / "fold"
    for modality, cases in tasks()["abdomen"].splits["repeat0_fold3"].items():
        truth = made.folder / f"{CASES}/{modality}/files/{cases['test'][0]}_label.nii.gz"
        maps.mkdir(exist_ok=True)
        shutil.copy(truth, maps / f"{modality}_{cases['test'][0]}.nii.gz")
    assert wanted in made.run("ssc score fold --task abdomen --split repeat0_fold3 --method nnunet")


def test_an_external_method_stands_in_a_table_and_a_missing_map_counts_as_missed(made, tmp_path):
    """Values of another program, one case without a file, and one wholly wrong map on the case's grid."""
    maps = tmp_path / "maps"
    maps.mkdir()
    theirs = {0: 0, 1: 5, 2: 1, 3: 2, 4: 3}
    for file in sorted((made.folder / PREDICTIONS / "label_maps").glob("*.nii.gz"))[1:]:
        image = nib.load(file)
        array = np.vectorize(theirs.get)(np.asarray(image.dataobj)).astype(np.uint8)
        nib.save(nib.Nifti1Image(array, image.affine), maps / file.name)
    options = "--task abdomen --split draw0 --method nnunet --map 5=liver,1=spleen,2=right_kidney,3=left_kidney"
    said = made.run(f"ssc score {maps} {options}")
    assert "no label map of ct 0002: missed" in said
    scores = pd.read_csv(made.folder / EXTERNAL / "test/scores.csv", dtype={"case": str})
    ours = pd.read_csv(made.folder / PREDICTIONS / "scores.csv", dtype={"case": str}).query("grid == 'native'")
    both = scores.merge(ours, on=["case", "modality", "structure"], suffixes=("", "_ours"))
    assert set(both.loc[both["case"] == "0002", "status"]) == {"missed"}
    others = both[both["case"] != "0002"]
    assert np.allclose(others["dice"], others["dice_ours"], equal_nan=True) and len(others) == 28
    made.edit("config/matrix.yaml", "[baseline, joint_v2, unet, ours_shuffled, ours]", "[baseline, nnunet, ours]")
    try:
        made.run("snakemake --cores 2 -- results/tables/controls.csv")
    finally:
        made.edit("config/matrix.yaml", "[baseline, nnunet, ours]", "[baseline, joint_v2, unet, ours_shuffled, ours]")
    table = pd.read_csv(made.folder / "results/tables/controls.csv")
    row = table.query("method == 'nnunet' and modality == 'ct' and structure == 'liver' and metric == 'dice'")
    assert row["mean"].iloc[0] == pytest.approx(
        scores.query("modality == 'ct' and structure == 'liver'")["dice"].mean(), abs=1e-4
    )
    assert row["missed"].iloc[0] >= 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (f"{SCORE} --split draw0 --method ours", "method ours: not external"),
        (f"{SCORE} --split drw0 --method nnunet", "did you mean 'draw0'?"),
        (
            f"{SCORE} --split draw0 --method nnunet --map 1=livr",
            "did you mean 'liver'?",
        ),
        ("ssc score logs --task abdomen --split draw0 --method nnunet", "expected names such as ct_0002.nii.gz"),
        ("ssc export-nnunet results --task abdomen --split draw0", "holds files already"),
    ],
)
def test_a_mistake_is_one_line(made, monkeypatch, capsys, command, said):
    monkeypatch.chdir(made.folder)
    assert main([*command.split()[1:], "--scale", "smoke"]) == 1
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_a_fold_that_a_table_lacks_is_said_in_plain_words(made):
    shown = made.run("snakemake -n --cores 1 --config folds=[1] -- results/tables/table6.csv", check=False)
    assert "folds: 1 is none of table table6" in shown and "Traceback (most recent call last)" not in shown


@pytest.mark.long
def test_three_modalities_go_from_folders_to_a_table_and_a_notebook(made, exported, tmp_path):
    """The third is the MRI's contrast turned around: other patients' names, the same anatomy."""
    third = tmp_path / "Dataset503"
    for part in ("imagesTr", "labelsTr"):
        (third / part).mkdir(parents=True)
        for file in (exported["raw"] / part).glob("mri_*"):
            image = nib.load(file)
            array = np.asarray(image.dataobj)
            array = array.max() - array if part == "imagesTr" else array
            nib.save(nib.Nifti1Image(array, image.affine), third / part / file.name.replace("mri_", "Pat 0"))
    (third / "dataset.json").write_text((exported["raw"] / "dataset.json").read_text("utf-8"), "utf-8")
    raw = exported["raw"]
    made.run(f"ssc task organs ct={raw} t2={raw} t1='{third}' --cases 'ct=ct_*' 't2=mri_*' --backbone unet")
    try:
        made.run("snakemake --cores 2 --config folds=[0] -- results/tables/organs.csv results/notebooks/organs.ipynb")
        figures = "results/figures/curves_organs.pdf results/figures/learned_organs.pdf"
        made.run(f"snakemake --cores 2 --config folds=[0] -- {figures}")
    finally:
        (made.folder / "config/tasks/organs.yaml").unlink()
    table = pd.read_csv(made.folder / "results/tables/organs.csv")
    assert set(table["modality"]) == {"ct", "t2", "t1", "overall"} and table["mean"].notna().any()
    assert set(table["data"]) == {"real"} and set(table["splits"]) == {"fold0"}
    assert not (made.folder / "data/phantom/organs_t1").exists()
