"""Where a number in a table comes from: the runs, the cases, the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ssc import matrix
from ssc.errors import RunError
from ssc.results.tables import read_scores, read_table
from ssc.statistics import METRICS


def explain(path: Path, method: str, modality: str | None, structure: str, metric: str, grid: str) -> Iterator[str]:
    """Lines that lead from the scores of single cases to a mean of the table at ``path``.

    ``modality`` None: every one, and 'overall' where ``structure`` is 'mean'. A mean of means is followed down
    to its structures. The scores are those of the ``results`` folder that the table lies in. Raises RunError for a
    table or a cell that is not there.
    """
    if path.suffix != ".csv" or path.stem not in matrix.tables():
        raise RunError(f"{path}: not a table of scores in CSV, expected one of {', '.join(matrix.tables())}")
    if not path.is_file():
        raise RunError(f"{path}: no table there; make it with snakemake {path}")
    found = read_table(path)
    if method not in set(found["method"]):
        raise RunError(f"{path}: no method '{method}'; it has {', '.join(found['method'].unique())}")
    rows = found.query("method == @method and metric == @metric and grid == @grid")
    cells = rows[(rows["structure"] == structure) & rows["modality"].isin([modality] if modality else rows["modality"])]
    if cells.empty:
        raise RunError(f"{path}: no number of {method}, {modality or 'any modality'}, {structure}, {metric}, {grid}")
    results = (path if len(path.parts) > 1 else path.absolute()).parent.parent
    first = cells.iloc[0]
    yield f"{path.stem}: {method}, {metric} on the {grid} grid; {first['data']} data, {first['scale']} scale"
    yield f"seeds {first['seed']}, init {first['init']}, commit {first['commit']}"
    for _, cell in cells.iterrows():
        yield from _cell(path.stem, results, cell, rows, indent="")


def _cell(table: str, results: Path, cell: pd.Series, rows: pd.DataFrame, indent: str) -> Iterator[str]:
    yield f"{indent}{cell['modality']} {cell['structure']}: {cell['mean']:.4f} (n {cell['n']:.0f})"
    if cell["structure"] != "mean":
        yield from _cases(table, results, cell, indent + "  ")
        return
    if cell["modality"] == "overall":
        parts = rows[(rows["structure"] == "mean") & (rows["modality"] != "overall")]
    else:
        parts = rows[(rows["structure"] != "mean") & (rows["modality"] == cell["modality"])]
    for _, part in parts.iterrows():
        yield from _cell(table, results, part, rows, indent + "  ")
    yield f"{indent}  mean of these {parts['mean'].count()}: {parts['mean'].mean():.4f}"


def _cases(table: str, results: Path, cell: pd.Series, indent: str) -> Iterator[str]:
    """Every result behind the mean of one structure, with its run and the files that it stands in."""
    seeds = [int(seed) for seed in cell["seed"].split()]
    values = []
    for run in matrix.table_runs(table, cell["data"], cell["scale"], seeds):
        if run.variant != cell["method"] or cell["modality"] not in run.modalities:
            continue
        file = results / run.predictions("test").relative_to("results") / "scores.csv"
        if "splits" in cell and run.split not in cell["splits"].split():
            continue  # the table was asked for of other folds
        if not file.is_file():
            raise RunError(f"{file}: not there, and the table rests on it. The scores must lie beside tables/.")
        scores = read_scores([run], results).query("modality == @cell.modality and structure == @cell.structure")
        folder = results / run.folder.relative_to("results")
        yield f"{indent}{folder} (weights.safetensors, run.json) -> {file}"
        for _, score in scores[scores["grid"] == cell["grid"]].iterrows():
            value = score[METRICS[cell["metric"]]]
            values.append(value)
            yield f"{indent}  {cell['modality']}_{score['case']}.nii.gz: {score['status']}, {value:.4f}"
    counted = pd.Series(values).dropna()
    yield f"{indent}mean of these {len(counted)}: {counted.mean():.4f}, standard deviation {counted.std(ddof=0):.4f}"
