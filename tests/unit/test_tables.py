"""Rendered tables: every block on the page, literature beside ours, runs that may stand together."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from ssc import matrix
from ssc.errors import RunError
from ssc.results import claims, rendering, tables
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
    record = {"commit": "abc", "init": init, "preprocessing": preprocessing, "parameters": 1_500_000,
              "steps": 4000, "seconds": 600.0}  # fmt: skip
    (run.folder / "run.json").write_text(json.dumps(record), "utf-8")
    (run.folder / "settings.json").write_text(json.dumps({"optimiser": {"learning_rate": 0.006}}), "utf-8")


def test_the_page_shows_every_metric_on_every_grid(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    for render in (rendering.html_page, rendering.markdown):
        text = render(tables.page(table, rows))
        for title in tables.ARROWS.values():
            assert all(f"{title}, on {grid}" in text for grid in tables.GRIDS.values())


def test_literature_stands_with_the_papers_figures_alone(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    payer = rows.query("method == 'payer' and metric == 'dice' and modality == 'ct' and grid == 'native'")
    assert payer["mean"].isna().all() and payer["published_mean"].notna().all() and len(payer) == 5
    shown = _markdown(table, rows)
    assert "| Payer et al. | – | " in shown
    assert "| Joint Training |" in shown  # Table 1's name of Joint V2


def test_differences_are_taken_from_the_reference(runs):
    table = matrix.tables()["table1"]
    ours = tables.tidy(table, runs).query("method == 'ours' and metric == 'dice' and structure == 'mean'")
    assert (ours["difference"] == 10 * (table.methods.index("ours") - table.methods.index("baseline"))).all()


def test_the_table_says_how_hearts_were_cut_out(runs):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    assert (rows["box"] == "image").all() and tables.BOXES["image"] in _markdown(table, rows)


def test_runs_of_different_starts_make_no_table(runs):
    _record(runs[0], "imagenet")
    with pytest.raises(RunError, match="must share init, found imagenet and random"):
        tables.tidy(matrix.tables()["table1"], runs)


def test_scores_without_a_modality_make_no_table(runs):
    path = next(run for run in runs if len(run.modalities) == 2).predictions("test") / "scores.csv"
    pd.read_csv(path, dtype={"case": str}).query("modality == 'ct'").to_csv(path, index=False)
    with pytest.raises(RunError, match=r"scores\.csv: no scores of mri; expected those of every modality"):
        tables.tidy(matrix.tables()["table1"], runs)


def test_the_table_names_methods_that_no_imagenet_checkpoint_fits(runs):
    for run in runs:
        _record(run, "random" if run.variant == "ummkd" else "imagenet")
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    assert (rows["init"] == "imagenet (random: UMMKD)").all()
    assert "initialisation imagenet (random: UMMKD)" in _markdown(table, rows)


def _markdown(table, rows):
    return rendering.markdown(tables.page(table, rows)).replace("\xa0", " ")


def test_latex_is_booktabs_with_the_papers_figures_and_no_raw_characters(runs):
    table = matrix.tables()["table1"]
    page = tables.page(table, tables.tidy(table, runs).assign(data="real"))  # its warning names the archives
    body = "\n".join(line for line in rendering.latex(page).splitlines() if not line.startswith("%"))
    assert body.count(r"\begin{tabular}") == body.count(r"\toprule") == len(page.sections) == 20
    assert not set("±–…↑↓†") & set(body) and not re.search(r"(?<!\\)[%_&#](?!.*\\\\)", body.replace(" & ", ""))
    assert r"mmwhs\_ct" in body and "87.2" in body and r"\textbf{" in body


def test_latex_prints_braces_and_no_ellipsis_loses_its_own():
    section = rendering.Section("", pd.DataFrame({"row": ["{ like: a_b }…"]}))
    assert r"\{ like: a\_b \}\ldots{}" in rendering.latex(rendering.Page("", "", "", (section,)))


def test_a_small_p_is_not_rounded_away():
    rows = tables.rounded(pd.DataFrame({"p": [2e-6], "p_sign_flip": [3e-6], "mean": [1 / 3]}))
    assert rows.to_dict("list") == {"p": [2e-6], "p_sign_flip": [3e-6], "mean": [0.3333]}


def test_names_that_are_markup_are_text_on_a_page():
    evil = "<script>alert(1)</script>"
    section = rendering.Section(evil, pd.DataFrame({evil: [evil]}))
    shown = rendering.html_page(rendering.Page(evil, evil, evil, (section,)))
    assert "<script" not in shown and shown.count("&lt;script&gt;") == 7


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX here")
def test_latex_fits_a_landscape_page(runs, tmp_path):
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    wide = rows.assign(mean=rows["mean"] + 100 / 3, std=33.33, missed=12).astype({"missed": "Int64"})
    claimed = claims.page("heart", _claims_of_hearts())
    for name, page in {"table": tables.page(table, wide), "claims": claimed}.items():
        document = r"\documentclass{article}\usepackage[a4paper,landscape,margin=2cm]{geometry}\usepackage{booktabs}"
        text = f"{document}\\begin{{document}}{rendering.latex(page)}\\end{{document}}"
        (tmp_path / f"{name}.tex").write_text(text, "utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="latin-1")
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull \\hbox" not in done.stdout


def test_a_table_says_what_the_correlations_know(runs):
    table = matrix.tables()["table1"]
    (run,) = [run for run in runs if run.variant == "ours"]
    record = json.loads((run.folder / "run.json").read_text("utf-8")) | {"correspondence": [0.2, 0.251, 1.0]}
    (run.folder / "run.json").write_text(json.dumps(record), "utf-8")
    text = _markdown(table, tables.tidy(table, runs))
    assert "chance 20\n\n| Method | map 1 | map 2 | map 3 |" in text.replace("chance 20 ", "chance 20")
    assert "| Ours (w/ CR) | 20 | 25 | 100 |" in text


def test_a_table_says_what_training_took(runs):
    text = _markdown(matrix.tables()["table1"], tables.tidy(matrix.tables()["table1"], runs))
    heading = "| Method | parameters | steps | a step | a training | peak learning rate |"
    took = text.split(heading)[1].split("##")[0]
    assert "| Ours (w/ CR) | 1.50 M | 4000 | 150 ms | 10.0 min | 0.006 |" in took
    assert "| Backbone | 3.00 M | 4000 | 150 ms |" in took and "Payer" not in took  # a network a modality


def test_a_caption_says_what_its_rule_can_find(runs):
    """Hearts have four test patients a modality and one split."""
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    text = _markdown(table, rows)
    assert "95 % by t over phantoms" in text and re.search(r"by Welch's t .* finding 1.8 points in \d %", text)
    verdicts = rows.set_index("method")["verdict"].dropna()
    assert verdicts["ours"] == "helps" and verdicts["backbone"] == "harms" and "baseline" not in verdicts


def test_the_best_of_a_column_is_bold_whoever_it_is(runs):
    """Ours is last of the table and best by construction; with the first method lifted above it, that one is."""
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    assert re.search(r"\| Ours \(w/ CR\) \| \*\*61\.5", _markdown(table, rows))
    best = rows.assign(mean=rows["mean"].mask(rows["method"] == "backbone", 99.0))
    lines = _markdown(table, best).splitlines()
    assert any(line.startswith("| Backbone | **99.0") for line in lines)
    native = lines[: lines.index(next(line for line in lines if "surface distance (mm)" in line))]
    assert not any(re.match(r"\| Ours \(w/ CR\) \| \*\*", line) for line in native)


def test_a_table_that_is_not_in_the_paper_has_no_column_of_it(runs):
    table = matrix.tables()["table1"].model_copy(update={"published": None, "methods": ("baseline", "ours")})
    chosen = [run for run in runs if run.variant in table.methods]
    text = _markdown(table, tables.tidy(table, chosen))
    assert "paper" not in text.partition("\n\n")[2] and "| Method | CT | MRI | Overall |" in text


def test_captions_say_what_is_there(runs):
    """Phantoms are no patients; the cases of one split don't overlap; nothing was missed, so no dagger is explained."""
    table = matrix.tables()["table1"]
    rows = tables.tidy(table, runs)
    caption = tables.page(table, rows).caption
    assert "one split (4 CT results of 4 phantoms" in caption and "patients" not in caption and "†" not in caption


@pytest.mark.parametrize(
    ("name", "splits", "said"),
    [
        ("table6", slice(None), "5 draws pooled, which overlap"),
        ("table6", slice(1), "draw0 of 5 splits"),
        ("study", slice(None), "20 splits pooled, each test case in 4 of them"),
        ("study", slice(5), "5 of 20 splits pooled, each test case in 1 of them"),
        ("study", slice(7), "7 of 20 draws pooled, which overlap"),
    ],
)
def test_a_caption_says_how_often_a_case_is_tested(name, splits, said):
    table = matrix.tables()[name]
    assert tables.pooled(table, table.draws[splits]) == said


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (0.04, "0.0"), (0.06, "+0.1"), (-0.06, "-0.1"), (93.25, "+93.2")]
)
def test_what_rounds_to_zero_has_no_sign(value, text):
    assert rendering.number(value, 1, sign=True) == text


def _claims_of_hearts():
    runs = matrix.claims_runs("heart", "phantom", "smoke", [0])
    methods = list(dict.fromkeys(run.variant for run in runs))
    for run in runs:
        shutil.rmtree(run.predictions("test"), ignore_errors=True)
        shutil.rmtree(run.folder, ignore_errors=True)
    _write(runs, methods)
    return claims.judge("heart", runs)


def test_every_claim_on_hearts_shows_both_differences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = _claims_of_hearts()
    assert len(rows) == 3 * len(matrix.claims("heart"))
    whole = rows.query("method == 'ours' and reference == 'baseline' and modality == 'overall'").iloc[0]
    assert whole["published"] == 2.5  # Table 5: 91.4 less 88.9
    methods = list(dict.fromkeys(run.variant for run in matrix.claims_runs("heart", "phantom", "smoke", [0])))
    assert whole["difference"] == 10 * (methods.index("ours") - methods.index("baseline"))
    text = rendering.markdown(claims.page("heart", rows))
    assert "PHANTOM DATA" in text and "95 % t interval over phantoms" in text and "(Ours (w/ CR) − Baseline)" in text
    # the first method's Dice is 0 to 3 %: what is compared with it has learned nothing
    judged = rows.query("modality == 'overall'")
    first = judged[(judged["method"] == methods[0]) | (judged["reference"] == methods[0])]
    assert (first["verdict"] == "nothing was learned").all() and len(first) < len(judged)
    assert rows.query("modality != 'overall'")["verdict"].isna().all()
    assert "Nothing was learned: a method's overall mean Dice is under 10" in text


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
    (tmp_path / "table1.md").touch()
    with pytest.raises(RunError, match=r"table1\.md: not a table of scores in CSV"):
        next(explain(tmp_path / "table1.md", "ours", "ct", "lac", "dice", "native"))


def test_a_table_is_explained_from_its_own_folder_and_its_commit_is_no_number(runs, tmp_path, monkeypatch):
    path = tmp_path / "results/tables/table1.csv"
    path.parent.mkdir(parents=True)
    tables.tidy(matrix.tables()["table1"], runs).assign(commit="1234567e89").to_csv(path, index=False)
    monkeypatch.chdir(path.parent)
    lines = list(explain(Path("table1.csv"), "ours", "ct", "lac", "dice", "native"))
    assert lines[1].endswith("commit 1234567e89") and "predictions/" in lines[3]


def test_explaining_a_table_away_from_its_scores_says_so(runs, tmp_path):
    path = tmp_path / "results/tables/table1.csv"
    path.parent.mkdir(parents=True)
    tables.tidy(matrix.tables()["table1"], runs).to_csv(path, index=False)
    lost = runs[-1].predictions("test") / "scores.csv"
    lost.unlink()
    with pytest.raises(RunError, match=f"{tmp_path / lost}: not there"):
        list(explain(path, "ours", "ct", "lac", "dice", "native"))


def test_table_3_shows_built_and_printed():
    rows = pd.DataFrame(
        {"task": ["abdomen", "heart"], "backbone": ["nnformer", "swin_unet"], "row": "patch",
         "ours": ["2 × 4 × 4", "4 × 4"], "printed": ["4 × 4 × 2", ""], "data": "real", "scale": "paper"}
    )  # fmt: skip
    page = tables.table3(rows)
    shown = rendering.markdown(page).replace("\xa0", " ")
    assert "real data" in page.title and "| patch | 2 × 4 × 4 [4 × 4 × 2] | 4 × 4 |" in shown
    assert "2 × 4 × 4 [4 × 4 × 2]" in rendering.html_page(page)
    assert r"4 $\times$ 4" in rendering.latex(page) and r"swin\_unet" in rendering.latex(page)
