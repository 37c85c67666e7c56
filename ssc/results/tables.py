"""The paper's tables: a tidy CSV, and a rendering that looks like the printed one. No torch."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssc import matrix
from ssc.errors import RunError
from ssc.statistics import (
    SIGNIFICANT,
    add_difference_intervals,
    add_differences,
    add_intervals,
    add_seed_spread,
    add_tests,
    summarise,
)

PUBLISHED = Path(__file__).with_name("published.csv")
ARROWS = {"dice": "Dice (%) ↑", "asd": "Average symmetric surface distance (mm) ↓"}
DIGITS = {"dice": 1, "asd": 2}
GRIDS = {"native": "each scan's own grid", "preprocessed": "the preprocessed grid"}
BOXES = {
    "image": "Test cases are cut out around the scan's centre; the label map takes no part.",
    "paper": "Test cases are cut out around their label maps, as the paper's predecessors did.",
}


def warning(data: str, *tasks: matrix.Task) -> str:
    """The line that stands above everything that shows results of these tasks."""
    if data == "phantom":
        return "PHANTOM DATA: synthetic scans. These numbers test the software and say nothing about patients."
    archives = ", ".join(archive for task in tasks for archive in task.modalities.values())
    return f"Real scans: {archives}. Not for clinical use."


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
    """The table as rows of one number each, with the paper's beside ours.

    Literature has rows with the paper's numbers alone. Raises RunError where the runs differ in what a table's
    runs must share.
    """
    structures = [structure.name for structure in matrix.tasks()[table.task].structures]
    scores = read_scores(runs)
    rows = add_differences(summarise(scores, table.trained, structures), table.reference)
    rows = add_difference_intervals(add_intervals(rows, scores), scores, table.reference)
    rows = add_tests(rows, scores, table.reference)
    rows = add_seed_spread(rows, scores, table.trained, structures)
    published = pd.read_csv(PUBLISHED, dtype={"table": str}).query("table == @table.published")
    place = ["method", "modality", "structure", "metric"]
    numbers = {name: f"published_{name}" for name in ("mean", "std", "difference")}
    published = published[[*place, *numbers]].rename(columns=numbers)
    literature = _literature(rows, published[published["method"].isin(set(table.methods) - set(table.trained))])
    rows = pd.concat([rows.merge(published, on=place, how="left"), literature], ignore_index=True)
    rows = rows.assign(**provenance(runs))
    columns = [
        *place,
        "mean",
        "low",
        "high",
        "interval",
        "std",
        "std_over_seeds",
        "n",
        "patients",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        *numbers.values(),
    ]
    counts = ["missed", "absent", "false_positive"]
    rows = rows[[*columns, *counts, "asd_common", "grid", "data", "scale", "seed", "init", "box", "commit"]]
    rows = rows.astype(dict.fromkeys(["n", "patients", *counts], "Int64"))
    return rows.round(4)


def _literature(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers of methods that we do not train, on every grid of our rows."""
    places = rows[["grid", "metric", "modality", "structure"]].drop_duplicates()
    methods = published[["method"]].drop_duplicates()
    return places.merge(methods, how="cross").merge(published, how="left")


def provenance(runs: Sequence[matrix.Run]) -> dict[str, str]:
    """Data, scale, seeds and commits of the runs; initialisation and heart box, which all of them must share."""
    records = [json.loads((run.folder / "run.json").read_text("utf-8")) for run in runs]
    shared = {
        "init": {record["init"] for record in records},
        "box": {arguments["box"] for record in records for arguments in record["preprocessing"].values()},
    }
    for name, values in shared.items():
        if len(values) > 1:
            raise RunError(f"the runs of a table must share {name}, found {' and '.join(sorted(values))}: run again")
    return {
        "data": runs[0].data,
        "scale": runs[0].scale,
        "seed": " ".join(sorted({str(run.seed) for run in runs})),
        **{name: values.pop() for name, values in shared.items()},
        "commit": " ".join(sorted({record["commit"] for record in records})),
    }


def markdown(table: matrix.Table, rows: pd.DataFrame) -> str:
    """The table as Markdown: ours, and the paper's number in brackets."""
    parts = [f"# {_title(table)}", f"**{_warning(table, rows)}**", _caption(table, rows)]
    for grid, metric, header, body in _blocks(table, rows, _markdown_cell):
        parts.append(f"## {ARROWS[metric]}, on {GRIDS[grid]}")
        named = ["Method", *(f"{modality} {structure}" for modality, structure in header)]
        parts.append(_pipes([named, ["---"] * len(named), *body]))
    return "\n\n".join(parts) + "\n"


def page(table: matrix.Table, rows: pd.DataFrame) -> str:
    """The table as one HTML page that needs nothing else."""
    parts = []
    for grid, metric, header, body in _blocks(table, rows, _html_cell):
        parts.append(f"<h2>{ARROWS[metric]}, on {GRIDS[grid]}</h2>\n<table class='methods'>\n{_group_row(table)}")
        parts.append(_html_row(["Method", *(structure for _, structure in header)], "th"))
        for method, line in zip(table.methods, body, strict=True):
            parts.append(_html_row(line, "td", "ours" if method == "ours" else ""))
        parts.append("</table>")
    return _PAGE.format(
        title=html.escape(_title(table)),
        warning=html.escape(_warning(table, rows)),
        caption=html.escape(_caption(table, rows)),
        body="\n".join(parts),
    )


def table3(rows: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Title, and one line a row of Table 3: each backbone as built, the paper's entry in brackets."""
    first = rows.iloc[0]
    cells = rows["ours"].astype(str) + rows["printed"].map(lambda printed: f" [{printed}]" if printed else "")
    wide = rows.assign(cell=cells).pivot(index="row", columns="backbone", values="cell").loc[rows["row"].unique()]
    frame = wide.rename_axis(index=None, columns=None).fillna("").reset_index(names="")
    return f"Table 3: the backbones at {first['scale']} scale, {first['data']} data; in brackets: printed", frame


def plain_markdown(title: str, frame: pd.DataFrame, warning: str = "", caption: str = "") -> str:
    """A frame of texts as Markdown."""
    body = _pipes([frame.columns, ["---"] * len(frame.columns), *frame.to_numpy()])
    return "\n\n".join(filter(None, [f"# {title}", warning and f"**{warning}**", caption, body])) + "\n"


def plain_page(title: str, frame: pd.DataFrame, warning: str = "", caption: str = "") -> str:
    """A frame of texts as an HTML page."""
    texts = {name: html.escape(text) for name, text in (("title", title), ("warning", warning), ("caption", caption))}
    return _PAGE.format(**texts, body=frame.to_html(index=False, border=0))


def plain_latex(title: str, frame: pd.DataFrame, warning: str = "", caption: str = "") -> str:
    """A frame of texts as LaTeX (booktabs)."""
    texts = frame.map(_latex_text).rename(columns=_latex_text)
    whole = " ".join(filter(None, [f"{title}.", warning, caption])) if warning or caption else title
    return texts.style.hide(axis="index").to_latex(hrules=True, caption=_latex_text(whole))


def write_plain(output: Any, title: str, frame: pd.DataFrame, warning: str = "", caption: str = "") -> None:
    """A frame of texts as ``output.markdown``, ``output.html`` and ``output.latex``."""
    for kind, render in (("markdown", plain_markdown), ("html", plain_page), ("latex", plain_latex)):
        Path(output[kind]).write_text(render(title, frame, warning, caption), encoding="utf-8")


def _pipes(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(table: matrix.Table) -> str:
    return f"Table {table.published}: {table.title}" if table.published else f"{table.title} (not in the paper)"


def _warning(table: matrix.Table, rows: pd.DataFrame) -> str:
    return f"{warning(rows['data'].iloc[0], matrix.tasks()[table.task])} Scale: {rows['scale'].iloc[0]}."


def _caption(table: matrix.Table, rows: pd.DataFrame) -> str:
    single = rows[(rows["structure"] != "mean") & (rows["grid"] == "native")]
    counts = ", ".join(
        f"{group['n'].max()} {modality.upper()} results of {group['patients'].max()} patients"
        for modality, group in single.groupby("modality", sort=False)
    )
    box = f"{BOXES[rows['box'].iloc[0]]} " if matrix.tasks()[table.task].preprocessing == "heart" else ""
    several = f"{len(table.draws)} draws pooled, which overlap" if len(table.draws) > 1 else "one split"
    return (
        f"Mean ± standard deviation over the test results of {several} ({counts}). "
        f"After a mean: {_spread_name(rows)}its {_interval_name(rows)}, and in round brackets the difference to "
        f"{_label(table, table.reference)}. {_tests(table, rows)} Second number of a cell: the paper's. "
        "A dagger and a number: so many results in which the structure was missed; they count as Dice 0 and have "
        "no surface distance (a mean is over the structures that have one), so compare asd_common in the CSV. "
        f"{box}Seeds {rows['seed'].iloc[0]}, initialisation {rows['init'].iloc[0]}, commit {rows['commit'].iloc[0]}."
    )


def _spread_name(rows: pd.DataFrame) -> str:
    return "± its standard deviation over seeds, then " if rows["std_over_seeds"].notna().any() else ""


def _interval_name(rows: pd.DataFrame) -> str:
    kinds = set(rows["interval"].dropna())
    bootstrap, span = "95 % bootstrap interval over patients", "range over patients (too few for an interval)"
    if kinds == {"bootstrap", "range"}:
        return f"{bootstrap}, [low, high], or {span}, [low … high]"
    return span if kinds == {"range"} else bootstrap


def _tests(table: matrix.Table, rows: pd.DataFrame) -> str:
    """What the p-values are, or why there are none."""
    if rows["p"].notna().any():
        return (
            "p: paired Wilcoxon over patients, Holm-corrected within a metric and modality; where none is given, "
            "there are too few patients for any to be small."
        )
    return (
        f"No p-values: with so few patients even the smallest possible one, corrected for {len(table.trained) - 1} "
        f"comparisons, exceeds {SIGNIFICANT}."
    )


def _label(table: matrix.Table, method: str) -> str:
    """A method's name as the paper's table prints it, else as the matrix has it."""
    printed = pd.read_csv(PUBLISHED, dtype={"table": str}).query("table == @table.published and method == @method")
    return printed["label"].iloc[0] if len(printed) else matrix.variants()[method].label


Cell = Callable[[pd.Series], str]


def _blocks(table: matrix.Table, rows: pd.DataFrame, cell: Cell):
    """(grid, metric, header, body) of every printed block, native grid first.

    A header cell is modality and structure, a line of the body is the method's label and its cells.
    """
    task = matrix.tasks()[table.task]
    labels = {structure.name: structure.label for structure in task.structures} | {"mean": "Mean"}
    names = {modality: modality.upper() for modality in task.modalities} | {"overall": "Overall"}
    for (grid, metric), block in rows.groupby(["grid", "metric"], sort=False):
        lines = {method: block[block["method"] == method] for method in table.methods}
        first = lines[table.trained[0]]
        header = [(names[m], labels[s]) for m, s in zip(first["modality"], first["structure"], strict=True)]
        body = [[_label(table, method), *(cell(row) for _, row in line.iterrows())] for method, line in lines.items()]
        yield grid, metric, header, body


def _figure(row: pd.Series, prefix: str = "") -> str:
    """mean±std of a structure; mean [interval] (difference) of a mean; '–' where there is none."""
    digits = DIGITS[row["metric"]]
    mean, std, difference = (row[f"{prefix}{name}"] for name in ("mean", "std", "difference"))
    if pd.isna(mean):
        return "–"
    text = f"{mean:.{digits}f}"
    if not pd.isna(std):
        return f"{text}±{std:.{digits}f}"
    if not prefix and pd.notna(row["std_over_seeds"]):
        text += f"±{row['std_over_seeds']:.{digits}f}"
    if not prefix and pd.notna(row["low"]):
        between = " … " if row["interval"] == "range" else ", "
        text += f" [{row['low']:.{digits}f}{between}{row['high']:.{digits}f}]"
    if pd.notna(difference):
        p = f", p={row['p']:.2g}" if not prefix and pd.notna(row["p"]) else ""
        text += f" ({difference:+.{digits}f}{p})"
    return text


def _missed(row: pd.Series) -> str:
    return f"†{row['missed']}" if pd.notna(row["missed"]) and row["missed"] else ""


def latex(table: matrix.Table, rows: pd.DataFrame) -> str:
    """The table as LaTeX (booktabs), one tabular a grid and metric: ours, and the paper's number in brackets."""
    parts = ["% needs \\usepackage{booktabs}; wide: set it in a landscape page or with \\resizebox"]
    for grid, metric, header, body in _blocks(table, rows, _markdown_cell):
        columns = pd.MultiIndex.from_tuples([("", "Method"), *header])
        frame = pd.DataFrame(body, columns=columns).map(_latex_text)
        caption = (
            f"{_title(table)}. {ARROWS[metric]}, on {GRIDS[grid]}. {_warning(table, rows)} {_caption(table, rows)}"
        )
        parts.append(
            frame.style.hide(axis="index").to_latex(
                hrules=True, multicol_align="c", column_format="l" + "c" * len(header), caption=_latex_text(caption)
            )
        )
    return "\n".join(parts) + "\n"


LATEX = {
    "%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "†": r"$^\dagger$", "–": "--", "…": r"\ldots{}",
    "×": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "τ": r"$\tau$",
}  # fmt: skip


def _latex_text(text: str) -> str:
    for character, command in LATEX.items():
        text = text.replace(character, command)
    return text


def _markdown_cell(row: pd.Series) -> str:
    return f"{_figure(row)}{_missed(row)} [{_figure(row, 'published_')}]"


def _html_cell(row: pd.Series) -> str:
    return f"{_figure(row)}<sup>{_missed(row)}</sup><br><small>{_figure(row, 'published_')}</small>"


def _html_row(cells: Sequence[str], tag: str, kind: str = "") -> str:
    return f'<tr class="{kind}">' + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _group_row(table: matrix.Table) -> str:
    task = matrix.tasks()[table.task]
    spans = "".join(f'<th colspan="{task.classes}">{m.upper()}</th>' for m in task.modalities)
    return f"<tr><th></th>{spans}<th>Overall</th></tr>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 "Times New Roman", Georgia, serif; margin: 2em; color: #111; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; margin-bottom: 1.5em; }}
th, td {{ padding: .2em .55em; text-align: left; vertical-align: top; }}
.methods th, .methods td {{ text-align: center; white-space: nowrap; }}
.methods tr:nth-child(2) th, thead th {{ border-bottom: 1px solid; }}
.methods td:first-child {{ text-align: left; }}
.ours td {{ font-weight: bold; }}
small {{ color: #555; font-weight: normal; }}
.warning {{ background: #fff3cd; border: 1px solid #d9b44a; padding: .5em .8em; font-weight: bold; }}
.warning:empty {{ display: none; }}
</style></head><body>
<h1>{title}</h1>
<p class="warning">{warning}</p>
<p>{caption}</p>
{body}
</body></html>
"""
