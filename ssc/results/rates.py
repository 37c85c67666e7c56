"""Which learning rate each method trains best at, on the development split's validation cases."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import matrix
from ssc.results.rendering import Page, Section, number
from ssc.results.tables import provenance, read_scores, warning
from ssc.tasks import tasks


def choose(task: str, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """One row a method and candidate: factor of the preset's rate, overall mean Dice (%) on native grids, and choice.

    ``runs``: those of ``matrix.rates_runs``.
    """
    scores = read_scores(runs, part="validation").query("grid == 'native'")
    dice = scores.groupby(["method", "modality", "structure"])["dice"].mean().groupby(["method", "modality"]).mean()
    overall = dice.groupby("method").mean()
    rows = [
        {"method": method, "factor": factor, "dice": overall[candidate.name]}
        for method in matrix.rates()[task]
        for factor, candidate in zip(matrix.RATES.values(), matrix.at_rates(matrix.variants()[method]), strict=True)
    ]
    found = pd.DataFrame(rows)
    best = found.groupby("method", sort=False)["dice"].idxmax()
    return found.assign(chosen=found.index.isin(best)).round(4).assign(**provenance(runs))


def page(task: str, rows: pd.DataFrame) -> Page:
    """A line a method, a column a candidate."""
    first = rows.iloc[0]
    table = pd.DataFrame(
        {
            "Method": matrix.variants()[method].label,
            **{f"× {row.factor:g}": number(row.dice, 1) for row in own.itertuples()},
            "row of the matrix": _row(method, own),
        }
        for method, own in rows.groupby("method", sort=False)
    )
    return Page(
        f"Learning rates on the task {task}, chosen without a test case",
        f"{warning(first['data'], tasks()[task])} Scale: {first['scale']}.",
        "Overall mean Dice (%) of the development split's validation cases, on each scan's own grid, after half the "
        "steps at the preset's learning rate times a factor; one training a cell. "
        f"Seed {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
        (Section("", table, ("Method", "row of the matrix")),),
    )


def _row(method: str, own: pd.DataFrame) -> str:
    factor = own.loc[own["chosen"], "factor"].item()
    if factor == 1:
        return f"{method}, as it is"
    factor *= matrix.variants()[method].settings.learning_rate or 1
    return f"{method}_tuned: {{ like: {method}, settings: {{ learning_rate: ×{factor:g} }} }}"
