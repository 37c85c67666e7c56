"""The results on real scans that docs/results shows: tables and README follow from the kept scores of every case."""

import csv
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ssc import matrix
from ssc.matrix import ROOT
from ssc.results import claims, rendering, tables
from ssc.results.figures import overall_means
from ssc.results.rendering import number

KEPT, RIVALS = ROOT / "docs/results/real_small", ROOT / "docs/results/rivals"
TABLES = ("table2", "table6", "table7", "controls")
FROZEN = "e6241cb12f"  # the commit that froze the settings, before any test case was scored
RIVALS_FROZEN = "9ccf46177c"  # that of rivals and study, later


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """A working folder whose results are the kept ones."""
    (tmp_path / "results").symlink_to(KEPT)
    monkeypatch.chdir(tmp_path)


def test_every_run_comes_from_the_frozen_commit():
    runs = {run for name in TABLES for run in _kept(name)}
    assert len(runs) == 70 and tables.provenance(sorted(runs, key=str))["commit"] == FROZEN


@pytest.mark.parametrize("name", TABLES)
def test_a_table_follows_from_the_kept_scores(name):
    _assert_drawn(name, tables.tidy(matrix.tables()[name], _kept(name)), KEPT)


def _kept(name):
    """The runs of a table; UMMKD of Table 2 was not among them."""
    runs = matrix.table_runs(name, "real", "small", [0])
    return [run for run in runs if run.variant != "ummkd"]


def test_the_verdicts_follow_from_the_kept_scores():
    rows = claims.judge("abdomen", matrix.claims_runs("abdomen", "real", "small", [0]))
    _assert_equal(rows, KEPT / "tables/claims_abdomen.csv")


@pytest.mark.parametrize("name", ["rivals", "rivals_nnunet"])
def test_the_rivals_follow_from_their_kept_scores(tmp_path, monkeypatch, name):
    """Their table, and what the results page shows of it."""
    (tmp_path / "rivals").mkdir()
    monkeypatch.chdir(tmp_path / "rivals")
    Path("results").symlink_to(RIVALS)
    table = matrix.tables()[name]
    rows = tables.tidy(table, matrix.table_runs(name, "real", "small", [0], [0]))
    assert set(rows["commit"]) == {RIVALS_FROZEN}
    _assert_drawn(name, rows, RIVALS)
    dice = rows.query("structure == 'mean' and grid == 'native' and metric == 'dice'").set_index(["method", "modality"])
    page = (ROOT / "docs/results/README.md").read_text("utf-8")
    for method in table.methods:
        means = [f"{dice.loc[(method, m), 'mean']:.1f}" for m in ("ct", "mri", "overall")]
        line = f"\n| {matrix.variants()[method].label} | {' | '.join(means)} | "
        if not matrix.variants()[method].external:  # whose record has no costs
            took = dice.loc[(method, "ct")]
            minutes = took["seconds_a_step"] * took["steps"] / 60
            line += f"{took['parameters'] / 1e6:.2f} M | {minutes:.0f} | {took['learning_rate']:g} |\n"
        assert line in page, line


def _assert_drawn(name, rows, kept):
    _assert_equal(rows, kept / f"tables/{name}.csv")
    drawn = rendering.markdown(tables.page(matrix.tables()[name], rows))
    assert drawn == (kept / f"tables/{name}.md").read_text("utf-8")


def _assert_equal(rows, file):
    rows.to_csv("drawn.csv", index=False)
    drawn, kept = pd.read_csv("drawn.csv"), pd.read_csv(file)
    pd.testing.assert_frame_equal(drawn, kept, rtol=0, atol=1e-4)


def test_ours_on_ct_is_the_mean_over_the_cases_files():
    """By hand: of four structures, each the mean over its 30 results of five draws."""
    values = {}
    for path in sorted(KEPT.glob("predictions/real/small/abdomen/draw?/seed0/ours/test/scores.csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["modality"] == "ct" and row["grid"] == "native" and row["dice"]:
                    values.setdefault(row["structure"], []).append(float(row["dice"]))
    kept = pd.read_csv(KEPT / "tables/table6.csv")
    kept = kept.query("method == 'ours' and modality == 'ct' and grid == 'native' and metric == 'dice'")
    kept = kept.set_index("structure")["mean"]
    assert set(kept.index) == {*values, "mean"}
    assert kept["mean"] == pytest.approx(mean(map(mean, values.values())), abs=1e-4)
    for structure, of in values.items():
        assert len(of) == 30 and kept[structure] == pytest.approx(mean(of), abs=1e-4)


def test_the_readme_shows_table_6_as_kept():
    """Every line of the first screen's table: CT, MRI, overall mean with interval, the paper's number beside."""
    kept = pd.read_csv(KEPT / "tables/table6.csv")
    kept = kept.query("structure == 'mean' and grid == 'native' and metric == 'dice'").set_index(["method", "modality"])
    readme = (ROOT / "README.md").read_text("utf-8")
    for method in matrix.tables()["table6"].methods:
        cells = []
        for modality in ("ct", "mri", "overall"):
            row = kept.loc[method, modality]
            cells.append(f"{row['mean']:.1f} [{row['low']:.1f}, {row['high']:.1f}] | {row['published_mean']:.1f}")
        line = f"{matrix.variants()[method].label} | {' | '.join(cells)} |"
        assert f"\n| {line}\n" in readme, line
    control = pd.read_csv(KEPT / "tables/controls.csv").query("method == 'unet' and structure == 'mean'")
    for row in control.query("grid == 'native' and metric == 'dice' and modality != 'overall'").itertuples():
        cell = f"{row.modality.upper()} {row.mean:.1f} [{row.low:.1f}, {row.high:.1f}]"
        assert cell in " ".join(readme.split()), cell


def test_the_first_figure_shows_the_intervals_of_the_tables(tmp_path):
    rows = pd.concat([pd.read_csv(KEPT / f"tables/{name}.csv", dtype={"seed": str}) for name in ("table6", "controls")])
    labels = {method: matrix.variants()[method].label for method in rows.dropna(subset="mean")["method"].unique()}
    overall_means(rows, labels, tables.described(rows)).savefig(tmp_path / "drawn.png", dpi=200)
    drawn, kept = (
        np.asarray(Image.open(path).convert("L"), float)
        for path in (tmp_path / "drawn.png", KEPT / "figures/means_table6+controls.png")
    )
    assert drawn.shape == kept.shape and (abs(drawn - kept) > 60).mean() < 1e-3


def test_the_results_page_says_the_verdicts_as_kept():
    """One sentence a claim, on the overall mean."""
    page = (ROOT / "docs/results/five_draws.md").read_text("utf-8")
    for row in pd.read_csv(KEPT / "tables/claims_abdomen.csv").query("modality == 'overall'").itertuples():
        difference, low, high = (number(value, 1, sign=True) for value in (row.difference, row.low, row.high))
        ours = f"{difference} [{low}, {high}]"
        assert f"- {row.claim}: {row.verdict} (paper {number(row.published, 1, sign=True)}, ours {ours})." in page
