"""Where a cell of a table comes from: the files, the cases, the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ssc import matrix
from ssc.errors import RunError
from ssc.results.tables import read_scores
from ssc.statistics import METRICS


def explain(table: str, method: str, modality: str, structure: str, metric: str, grid: str) -> Iterator[str]:
    """Lines that lead from the scores of single cases to one mean of a table.

    ``modality`` 'overall' and ``structure`` 'mean' are means of other cells. Raises RunError for a cell or a
    table that is not there.
    """
    path = Path("results/tables") / f"{table}.csv"
    if not path.is_file():
        raise RunError(f"{path}: not found; make it with snakemake {path}")
    rows = pd.read_csv(path, dtype={"seed": str}).query("method == @method and metric == @metric and grid == @grid")
    cell = rows.query("modality == @modality and structure == @structure")
    if cell.empty:
        raise RunError(f"{table} has no cell {method}, {modality}, {structure}, {metric}, {grid}; see {path}")
    row = cell.iloc[0]
    yield f"{table}: {method}, {modality}, {structure}, {metric} on the {grid} grid: mean {row['mean']}, n {row['n']}"
    yield f"{row['data']} data, {row['scale']} scale, seeds {row['seed']}, init {row['init']}, commit {row['commit']}"
    parts = rows[rows["structure"] == "mean"] if modality == "overall" else rows[rows["modality"] == modality]
    parts = parts[(parts["modality"] != "overall") if modality == "overall" else (parts["structure"] != "mean")]
    if structure == "mean":
        for _, part in parts.iterrows():
            yield f"  {part['modality']} {part['structure']}: {part['mean']}"
        yield f"mean of these {parts['mean'].count()}: {parts['mean'].mean():.4f}"
        return
    yield from _cases(table, row, METRICS[metric])


def _cases(table: str, row: pd.Series, column: str) -> Iterator[str]:
    """Every result behind the mean of one structure, with the file that it stands in."""
    seeds = [int(seed) for seed in row["seed"].split()]
    runs = [
        run
        for run in matrix.table_runs(table, row["data"], row["scale"], seeds)
        if run.variant == row["method"] and row["modality"] in run.modalities
    ]
    values = []
    for run in runs:
        scores = read_scores([run]).query("modality == @row.modality and structure == @row.structure")
        yield f"  {run.predictions('test')}/scores.csv"
        for _, score in scores[scores["grid"] == row["grid"]].iterrows():
            values.append(score[column])
            yield f"    case {score['case']}: {score['status']}, {score[column]:.4f}"
    counted = pd.Series(values).dropna()
    yield f"mean of the {len(counted)} values: {counted.mean():.4f}, standard deviation {counted.std(ddof=0):.4f}"
