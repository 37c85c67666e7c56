"""Rendered tables: every block on the page, literature beside ours, runs that may stand together."""

import json
import re

import pandas as pd
import pytest

from ssc import matrix
from ssc.errors import RunError
from ssc.results import claims, tables
from ssc.results.explain import explain

STRUCTURES = [structure.name for structure in matrix.tasks()["heart"].structures]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Scores and records of Table 1's runs: every Dice is 10 x its method's place plus the structure's."""
    monkeypatch.chdir(tmp_path)
    made = matrix.table_runs("table1", "phantom", "smoke", [0])
    _write(made, matrix.tables()["table1"].methods)
    return made


def _write(runs, methods):
    for run in runs:
        place = 10 * methods.index(run.variant)
        rows = [
            {"case": case, "modality": m, "structure": name, "grid": grid, "status": "found", "dice": place + value,
             "asd_mm": 1.0, "hd95_mm": 2.0, "nsd_2mm": 50.0}
            for m in run.modalities for case in run.cases[m]["test"]
            for value, name in enumerate(STRUCTURES) for grid in ("native", "preprocessed")
        ]  # fmt: skip
        run.predictions("test").mkdir(parents=True)
        pd.DataFrame(rows).to_csv(run.predictions("test") / "scores.csv", index=False)
        run.folder.mkdir(parents=True)
        _record(run, "random")


def _record(run, init):
    preprocessing = {m: {"box": "image"} for m in run.modalities}
    record = {"commit": "abc", "init": init, "preprocessing": preprocessing}
    (run.folder / "run.json").write_text(json.dumps(record), "utf-8")


def test_the_page_shows_every_metric_on_every_grid(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    for text in (tables.page(table, rows), tables.markdown(table, rows)):
        for title in tables.ARROWS.values():
            assert all(f"{title}, on {grid}" in text for grid in tables.GRIDS.values())


def test_literature_stands_with_the_papers_figures_alone(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    payer = rows.query("method == 'payer' and metric == 'dice' and modality == 'ct' and grid == 'native'")
    assert payer["mean"].isna().all() and payer["published_mean"].notna().all() and len(payer) == 5
    assert "| Payer et al. |" in tables.markdown(table, rows)
    assert "| Joint Training |" in tables.markdown(table, rows)  # Table 1's name of Joint V2


def test_differences_are_taken_from_the_reference(runs):
    table = matrix.tables()["table1"]
    ours = tables.tidy(table, runs).query("method == 'ours' and metric == 'dice' and structure == 'mean'")
    assert (ours["difference"] == 10 * (table.methods.index("ours") - table.methods.index("baseline"))).all()


def test_the_table_says_how_hearts_were_cut_out(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    assert (rows["box"] == "image").all() and tables.BOXES["image"] in tables.markdown(table, rows)


def test_runs_of_different_starts_make_no_table(runs):
    _record(runs[0], "imagenet")
    with pytest.raises(RunError, match="must share init, found imagenet and random"):
        tables.tidy(matrix.tables()["table1"], runs)


def test_latex_is_booktabs_with_the_papers_figures_and_no_raw_characters(runs):
    table = matrix.tables()["table1"]
    text = tables.latex(table, tables.tidy(table, runs).assign(data="real"))  # its warning names the archives
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.count(r"\begin{tabular}") == 4 and body.count(r"\toprule") == 4
    assert not set("±†–…↑↓") & set(body) and not re.search(r"(?<!\\)[%_&#](?!.*\\\\)", body.replace(" & ", ""))
    assert r"mmwhs\_ct" in body and "87.2" in next(line for line in body.splitlines() if line.startswith("Payer"))


def test_a_range_is_not_sold_as_an_interval(runs):
    """Hearts have four test patients a modality: ranges, named so and set apart."""
    table = matrix.tables()["table1"]
    text = tables.markdown(table, tables.tidy(table, runs))
    assert "range over patients" in text and "bootstrap" not in text and " … " in text


def test_claims_are_judged_by_the_sign_and_the_interval():
    found = {"difference": 1.0, "low": 0.2, "high": 1.8, "interval": "bootstrap"}
    assert claims.verdict(2.6, found) == "same direction, clear"
    assert claims.verdict(-0.5, found) == "opposite direction, clear"
    assert claims.verdict(2.6, found | {"low": -0.2}) == "same direction, within chance"
    assert claims.verdict(0.0, found) == "no difference printed"
    assert claims.verdict(2.6, found | {"difference": 0.0}) == "no difference found"
    assert claims.verdict(2.6, found | {"interval": "range"}) == "not testable: too few patients"


def test_every_claim_on_hearts_shows_both_differences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = matrix.claims_runs("heart", "phantom", "smoke", [0])
    methods = list(dict.fromkeys(run.variant for run in runs))
    _write(runs, methods)
    rows = claims.judge("heart", runs)
    assert len(rows) == 3 * len(matrix.claims("heart"))
    whole = rows.query("method == 'ours' and reference == 'baseline' and modality == 'overall'").iloc[0]
    assert whole["published"] == 2.5  # Table 5: 91.4 less 88.9
    assert whole["difference"] == 10 * (methods.index("ours") - methods.index("baseline"))
    text = tables.plain_markdown(*claims.render("heart", rows))
    assert "PHANTOM DATA" in text and "lowest … highest patient" in text and "Ours (w/ CR) against Baseline" in text


def test_printed_means_bear_every_claim():
    """All claims but these are about a gain."""
    published = pd.read_csv(tables.PUBLISHED, dtype={"table": str}).query("modality == 'overall' and metric == 'dice'")
    means = published.set_index(["table", "method"])["mean"]
    for task in ("heart", "abdomen"):
        pairs = [(matrix.tables()[table].published, claim) for table, claim in matrix.claims(task)]
        worse = [claim for table, claim in pairs if means[table, claim.method] < means[table, claim.reference]]
        assert len(pairs) == 15 and all("costs" in claim.says or "gains nothing" in claim.says for claim in worse)


@pytest.mark.parametrize(("modality", "structure"), [("ct", "lac"), ("mri", "mean"), ("overall", "mean")])
def test_explain_leads_from_the_cases_to_the_cells_own_figure(runs, tmp_path, modality, structure):
    path = tmp_path / "results/tables/table1.csv"
    rows = tables.tidy(matrix.tables()["table1"], runs)
    path.parent.mkdir(parents=True)
    rows.to_csv(path, index=False)
    lines = list(explain(path, "ours", modality, structure, "dice", "native"))
    place = ["ours", modality, structure, "dice", "native"]
    cell = rows[(rows[["method", "modality", "structure", "metric", "grid"]] == place).all(axis=1)].iloc[0]
    assert f"{cell['mean']:.4f}" in lines[-1]
    assert sum(".nii.gz: found" in line for line in lines) == cell["n"]
    assert any("seed0/ours (weights.safetensors, run.json) -> " in line for line in lines)


def test_explaining_what_is_not_there_says_so(runs, tmp_path):
    with pytest.raises(RunError, match=r"table1\.csv: no table there; make it with snakemake"):
        next(explain(tmp_path / "table1.csv", "ours", "ct", "lac", "dice", "native"))
    (tmp_path / "claims_heart.csv").touch()
    with pytest.raises(RunError, match=r"claims_heart\.csv: not a table of scores"):
        next(explain(tmp_path / "claims_heart.csv", "ours", "ct", "lac", "dice", "native"))


def test_explaining_a_table_away_from_its_scores_says_so(runs, tmp_path):
    path = tmp_path / "table1.csv"
    tables.tidy(matrix.tables()["table1"], runs).to_csv(path, index=False)
    lost = runs[-1].predictions("test") / "scores.csv"
    lost.unlink()
    with pytest.raises(RunError, match=f"{lost}: not there"):
        list(explain(path, "ours", "ct", "lac", "dice", "native"))


def test_table_3_shows_built_and_printed():
    rows = pd.DataFrame(
        {"task": ["abdomen", "heart"], "backbone": ["nnformer", "swin_unet"], "row": "patch",
         "ours": ["2 × 4 × 4", "4 × 4"], "printed": ["4 × 4 × 2", ""], "data": "real", "scale": "paper"}
    )  # fmt: skip
    title, frame = tables.table3(rows)
    assert "real data" in title and "| patch | 2 × 4 × 4 [4 × 4 × 2] | 4 × 4 |" in tables.plain_markdown(title, frame)
    assert "2 × 4 × 4 [4 × 4 × 2]" in tables.plain_page(title, frame)
    assert r"4 $\times$ 4" in tables.plain_latex(title, frame) and r"swin\_unet" in tables.plain_latex(title, frame)
