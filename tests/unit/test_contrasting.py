"""The contrasts of a table: what is judged, on whom, and with which seeds."""

import pandas as pd
import pytest
from made_up import write_scores

from ssc import matrix
from ssc.config import Settings
from ssc.contrasts import contrast, paired
from ssc.results import contrasting, rates, rendering, tables
from ssc.results.explain import explain
from ssc.results.notebooks import contrasts_notebook, execute
from ssc.results.tables import read_scores
from ssc.runs import run_settings

STUDY = matrix.tables()["study"]


def test_a_fold_has_a_seed_and_a_repeat_patients_of_its_own():
    runs = matrix.table_runs("study", "real", "small", [0])
    assert len(runs) == 20 * 9  # one network a modality counts twice
    assert len({(run.split, run.seed) for run in runs}) == len({run.seed for run in runs}) == 20
    assert {run.configured_seed for run in runs} == {0}
    tested = [case for run in runs if run.variant == "ours" and run.seed // 10 == 2 for case in run.cases["ct"]["test"]]
    assert len(tested) == len(set(tested)) == 30


def test_arms_share_all_but_what_they_are_compared_by():
    """Cases, crops, steps and seed; shuffled class names are the one difference to Ours, rate included."""
    settings = Settings.read({"data": "real"})
    arms = {
        name: run_settings(settings, matrix.runs_of(name, "abdomen", "repeat1_fold3", "real", "small", 13)[0])
        for name in STUDY.trained
    }
    shared = [
        (arm.sampling, arm.optimiser.model_copy(update={"learning_rate": 0}), arm.cases["ct"]) for arm in arms.values()
    ]
    assert all(each == shared[0] for each in shared)
    ours, shuffled = arms["ours_unet_tuned"].model_dump(), arms["ours_shuffled_unet_tuned"].model_dump()
    assert (ours["objective"].pop("shuffled"), shuffled["objective"].pop("shuffled")) == (False, True)
    assert ours.pop("key") != shuffled.pop("key") and ours == shuffled


def test_methods_are_trained_at_the_rates_that_the_kept_trainings_chose(tmp_path, monkeypatch):
    (tmp_path / "results").symlink_to(matrix.ROOT / "docs/results/rates")
    monkeypatch.chdir(tmp_path)
    rows = rates.choose("abdomen", matrix.rates_runs("abdomen", "real", "small", 0))
    kept = pd.read_csv("results/tables/rates_abdomen.csv")
    pd.testing.assert_frame_equal(rows.astype(kept.dtypes), kept, atol=1e-4)
    chosen = rows.query("chosen")
    factors = {row.method if row.factor == 1 else f"{row.method}_tuned": row.factor for row in chosen.itertuples()}
    assert {name: matrix.variants()[name].settings.learning_rate or 1 for name in factors} == factors
    trained = {name for table in ("study", "rivals") for name in matrix.tables()[table].methods}
    assert trained - {"ours_shuffled_unet_tuned"} == set(factors)


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A working folder with scores of the study, in which two methods gain 3 points; its runs."""
    monkeypatch.chdir(tmp_path)
    runs = matrix.table_runs("study", "real", "small", [0])
    write_scores(runs, {"ours_unet_tuned": 3.0, "ours_shuffled_unet_tuned": 3.0})
    return runs


def test_a_gain_that_was_put_in_is_found_and_no_other(made_up):
    runs = matrix.table_runs("study", "real", "small", [0], range(10))  # two repeats take half the time of four
    rows = contrasting.judge(STUDY, runs)
    sets = (contrasting.ALL, contrasting.UNSEEN, "without MRI 15 and 36")
    assert rows.groupby("patients", sort=False).size().to_dict() == dict.fromkeys(sets, 7)
    whole = rows[rows["patients"] == contrasting.ALL].set_index(["method", "reference"])
    assert whole["verdict"]["ours_unet_tuned", "joint_plain_unet_tuned"] == "helps"
    assert set(whole["verdict"].drop(("ours_unet_tuned", "joint_plain_unet_tuned"))) == {"no effect above 1 point"}
    assert abs(whole["difference"]["ours_unet_tuned", "joint_plain_unet_tuned"] - 3) < 0.3
    assert abs(whole["mixed"] - whole["difference"]).max() < 0.05
    assert whole["power_1_point"].min() > 0.99  # this noise is small; with that of our kept results it is 0.5
    few = rows[rows["patients"] == sets[-1]].set_index(["method", "reference"])["difference"]
    scores = read_scores(runs).query("modality == 'ct' or case not in ('15', '36')")
    own = contrast(paired(scores, "ours", "joint_plain_tuned"), 0.4)
    assert few["ours", "joint_plain_tuned"] == pytest.approx(own.difference, abs=1e-4)
    text = rendering.markdown(contrasting.page(STUDY, rows)).replace("\xa0", " ")
    assert "Ours, U-Net − Joint, U-Net" in text and "10 of 20 splits pooled, each test case in 2 of them" in text
    assert "## Without the development split's validation cases (24 CT + 16 MRI)\n" in text
    assert rows["rule"].nunique() == 1 and f"verdicts and p by {rows['rule'].iloc[0]}, Holm-corrected" in text


def test_a_study_that_is_under_way_stands_in_tables_and_is_explained(made_up, tmp_path):
    """Seven of its folds: a table without verdicts, contrasts by a rule of its own, and the way to each case."""
    runs = matrix.table_runs("study", "real", "small", [0], range(7))
    for run in made_up:
        if run not in runs:
            (run.predictions("test") / "scores.csv").unlink()
    rows = tables.tidy(STUDY, runs)
    assert rows[["p", "verdict", "rule"]].isna().all(axis=None) and rows["difference_low"].notna().any()
    caption = tables.page(STUDY, rows).caption
    assert "7 of 20 draws pooled, which overlap (42 CT results of 30 patients, 28 MRI results of 20" in caption
    assert "Verdicts stand in contrasts_study. " in caption and "Seeds 0," in caption
    path = tmp_path / "results/tables/study.csv"
    path.parent.mkdir()
    rows.to_csv(path, index=False)
    lines = list(explain(path, "ours", "ct", "liver", "dice", "native"))
    assert sum(".nii.gz: found" in line for line in lines) == 42
    assert any("repeat1_fold1/seed11" in line for line in lines)
    few = STUDY.model_copy(update={"contrasts": STUDY.contrasts[:2]})
    judged = contrasting.judge(few, runs)
    assert set(judged["splits"].str.split().str.len()) == {7}
    assert "(30 CT + 20 MRI)\n" in rendering.markdown(contrasting.page(few, judged)).replace("\xa0", " ")


@pytest.mark.long
def test_the_notebook_draws_the_contrasts_from_the_scores(made_up, tmp_path):
    rows = contrasting.judge(STUDY, made_up)
    folder = tmp_path / "results/tables"
    folder.mkdir()
    rows.to_csv(folder / "contrasts_study.csv", index=False)
    for name in ("study", "contrasts_study"):
        (folder / f"{name}.html").write_text("<body>the page</body>", "utf-8")
    notebook = contrasts_notebook(STUDY, made_up, [0], None)
    execute(notebook, folder / "contrasts.ipynb")
    printed = [o["text"] for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs if "text" in o]
    assert printed[0] == "180 trainings, commit abc\n"
    assert float(printed[1].split(": ")[1]) < 1e-4
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 1
