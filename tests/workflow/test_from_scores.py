"""What follows from scores alone: rules that no run of the small matrix reaches, on kept and made-up scores."""

import shutil

import nbformat
import pandas as pd
import pytest
from made_up import write_scores
from project import ROOT, Project

from ssc import matrix

DRAW = "snakemake --cores 2 --config data=real {config} --allowed-rules {rules} -- {targets}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy without a scan or a trained network, at small scale."""
    project = Project(tmp_path_factory.mktemp("scores") / "project")
    project.edit("config/config.yaml", "scale: smoke", "scale: small")
    write_scores(matrix.table_runs("study", "real", "small", [0], range(3)), {"ours_unet_tuned": 3.0}, project.folder)
    return project


def test_learning_rates_follow_from_the_kept_scores(project):
    kept = ROOT / "docs/results/rates"
    shutil.copytree(kept / "runs", project.folder / "results/runs", dirs_exist_ok=True)
    shutil.copytree(kept / "predictions", project.folder / "results/predictions", dirs_exist_ok=True)
    table = "results/tables/rates_abdomen.csv"
    project.run(DRAW.format(config="", rules="rates", targets=table))
    pd.testing.assert_frame_equal(pd.read_csv(project.folder / table), pd.read_csv(kept / "tables/rates_abdomen.csv"))


def test_contrasts_and_their_figure_follow_from_scores(project):
    targets = "results/tables/contrasts_study.csv results/figures/contrasts_study.png"
    project.run(DRAW.format(config="folds=[0,1,2]", rules="contrasts patients_differences", targets=targets))
    rows = pd.read_csv(project.folder / "results/tables/contrasts_study.csv").query("patients == 'all patients'")
    gained = rows["method"].eq("ours_unet_tuned")
    assert len(rows) == 7 and (rows.loc[gained, "difference"] - 3).abs().max() < 0.5
    assert rows.loc[~gained, "difference"].abs().max() < 0.5
    assert (project.folder / "results/figures/contrasts_study.png").stat().st_size > 10_000


@pytest.mark.long
def test_the_notebook_of_contrasts_runs_in_the_workflow(project):
    target = "results/notebooks/contrasts_study.ipynb"
    rules = "table contrasts contrasts_notebook"
    project.run(DRAW.format(config="folds=[0,1,2]", rules=rules, targets=target))
    cells = nbformat.read(project.folder / target, as_version=4).cells
    printed = [o["text"] for cell in cells if cell.cell_type == "code" for o in cell.outputs if "text" in o]
    assert printed[0] == "27 trainings, commit abc\n"
