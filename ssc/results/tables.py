"""The paper's tables: a tidy CSV, and a rendering that looks like the printed one. No torch."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ssc import matrix
from ssc.statistics import add_differences, summarise

PUBLISHED = Path(__file__).with_name("published.csv")
ARROWS = {"dice": "Dice (%) ↑", "asd": "Average symmetric surface distance (mm) ↓"}
DIGITS = {"dice": 1, "asd": 2}
GRIDS = {"native": "each scan's own grid", "preprocessed": "the preprocessed grid (the paper's practice)"}
WARNINGS = {
    "phantom": "PHANTOM DATA: synthetic scans. These figures test the software and say nothing about patients.",
    "real": "Real scans: BTCV CT and CHAOS T2-SPIR MRI. Not for clinical use.",
}


def read_scores(runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """The test scores of all runs, with the run they come from."""
    frames = [
        pd.read_csv(run.predictions("test") / "scores.csv", dtype={"case": str}).assign(
            method=run.variant, split=run.split, seed=run.seed
        )
        for run in runs
    ]
    return pd.concat(frames, ignore_index=True)


def tidy(table: matrix.Table, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """The table as rows of one figure each, with the paper's figures beside ours."""
    structures = [structure.name for structure in matrix.tasks()[table.task].structures]
    rows = add_differences(summarise(read_scores(runs), table.methods, structures), table.reference)
    published = pd.read_csv(PUBLISHED, dtype={"table": str}).query("table == @table.published")
    place = ["method", "modality", "structure", "metric"]
    figures = {name: f"published_{name}" for name in ("mean", "std", "difference")}
    rows = rows.merge(published[[*place, *figures]].rename(columns=figures), on=place, how="left")
    commits = sorted({json.loads((run.folder / "run.json").read_text("utf-8"))["commit"] for run in runs})
    rows = rows.assign(
        data=runs[0].data,
        scale=runs[0].scale,
        seed=" ".join(sorted({str(run.seed) for run in runs})),
        init="random",
        commit=" ".join(commits),
    )
    columns = [*place, "mean", "std", "n", "patients", "difference", *figures.values()]
    counts = ["missed", "absent", "false_positive", "asd_common"]
    rows = rows[[*columns, *counts, "grid", "data", "scale", "seed", "init", "commit"]]
    return rows.round(dict.fromkeys(["mean", "std", "difference", "asd_common"], 4))


def markdown(table: matrix.Table, rows: pd.DataFrame) -> str:
    """The table as Markdown: ours, and the paper's figure in brackets."""
    parts = [f"# {_title(table)}", f"**{_warning(rows)}**", _caption(table, rows)]
    for grid, metric, header, body in _blocks(table, rows, _markdown_cell):
        parts.append(f"## {ARROWS[metric]}, on {GRIDS[grid]}")
        named = ["Method", *(f"{modality} {structure}" for modality, structure in header)]
        lines = [named, ["---"] * len(named), *body]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def page(table: matrix.Table, rows: pd.DataFrame) -> str:
    """The table as one HTML page that needs nothing else."""
    parts = []
    for grid, metric, header, body in _blocks(table, rows, _html_cell):
        parts.append(f"<h2>{ARROWS[metric]}, on {GRIDS[grid]}</h2>\n<table>\n{_group_row(table)}")
        parts.append(_html_row(["Method", *(structure for _, structure in header)], "th"))
        parts += [_html_row(line, "td") for line in body]
        parts.append("</table>")
        return _PAGE.format(
            title=html.escape(_title(table)),
            warning=html.escape(_warning(rows)),
            caption=html.escape(_caption(table, rows)),
            body="\n".join(parts),
        )


def _title(table: matrix.Table) -> str:
    return f"Table {table.published}: {table.title}"


def _warning(rows: pd.DataFrame) -> str:
    return f"{WARNINGS[rows['data'].iloc[0]]} Scale: {rows['scale'].iloc[0]}."


def _caption(table: matrix.Table, rows: pd.DataFrame) -> str:
    task = matrix.tasks()[table.task]
    single = rows[(rows["structure"] != "mean") & (rows["grid"] == "native")]
    counts = ", ".join(
        f"{group['n'].max()} {modality.upper()} results of {group['patients'].max()} patients"
        for modality, group in single.groupby("modality", sort=False)
    )
    return (
        f"Mean ± standard deviation over the test results of {len(task.draws)} draws pooled ({counts}); "
        f"draws overlap. In brackets after a mean: the difference to {matrix.variants()[table.reference].label}. "
        f"Second figure of a cell: the paper's. A dagger and a number: so many results in which the structure "
        f"was missed; they count as Dice 0 and have no surface distance (a mean is over the structures that have one), "
        f"so compare asd_common in the CSV. "
        f"Seeds {rows['seed'].iloc[0]}, initialisation {rows['init'].iloc[0]}, commit {rows['commit'].iloc[0]}."
    )


Cell = Callable[[pd.Series], str]


def _blocks(table: matrix.Table, rows: pd.DataFrame, cell: Cell):
    """(grid, metric, header, body) of every printed block, native grid first.

    A header cell is modality and structure, a line of the body is the method's label and its cells.
    """
    task = matrix.tasks()[table.task]
    labels = {structure.name: structure.label for structure in task.structures} | {"mean": "Mean"}
    names = {modality: modality.upper() for modality in task.modalities} | {"overall": "Overall"}
    for (grid, metric), block in rows.groupby(["grid", "metric"], sort=False):
        lines = [block[block["method"] == method] for method in table.methods]
        places = zip(lines[0]["modality"], lines[0]["structure"], strict=True)
        header = [(names[modality], labels[structure]) for modality, structure in places]
        body = [
            [matrix.variants()[method].label, *(cell(row) for _, row in line.iterrows())]
            for method, line in zip(table.methods, lines, strict=True)
        ]
        yield grid, metric, header, body


def _figure(row: pd.Series, prefix: str = "") -> str:
    """mean±std, or mean (+difference) in a mean's column; '–' where there is none."""
    mean, std, difference = (row[f"{prefix}{name}"] for name in ("mean", "std", "difference"))
    digits = DIGITS[row["metric"]]
    if pd.isna(mean):
        return "–"
    text = f"{mean:.{digits}f}"
    if not pd.isna(std):
        return f"{text}±{std:.{digits}f}"
    return text if pd.isna(difference) else f"{text} ({difference:+.{digits}f})"


def _missed(row: pd.Series) -> str:
    return f"†{row['missed']}" if row["missed"] else ""


def _markdown_cell(row: pd.Series) -> str:
    return f"{_figure(row)}{_missed(row)} [{_figure(row, 'published_')}]"


def _html_cell(row: pd.Series) -> str:
    return f"{_figure(row)}<sup>{_missed(row)}</sup><br><small>{_figure(row, 'published_')}</small>"


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _group_row(table: matrix.Table) -> str:
    task = matrix.tasks()[table.task]
    spans = "".join(f'<th colspan="{task.classes}">{m.upper()}</th>' for m in task.modalities)
    return f"<tr><th></th>{spans}<th>Overall</th></tr>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 "Times New Roman", Georgia, serif; margin: 2em; color: #111; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; margin-bottom: 1.5em; }}
th, td {{ padding: .2em .55em; text-align: center; white-space: nowrap; }}
tr:nth-child(2) th {{ border-bottom: 1px solid; }}
td:first-child {{ text-align: left; }}
tr:last-child td {{ font-weight: bold; }}
small {{ color: #555; font-weight: normal; }}
.warning {{ background: #fff3cd; border: 1px solid #d9b44a; padding: .5em .8em; font-weight: bold; }}
</style></head><body>
<h1>{title}</h1>
<p class="warning">{warning}</p>
<p>{caption}</p>
{body}
</body></html>
"""
