"""What the paper claims by its tables, and what our runs say to it. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import matrix
from ssc.results.tables import PUBLISHED, provenance, read_scores, warning
from ssc.statistics import FEWEST_FOR_AN_INTERVAL, compare


def judge(task: str, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """One row a claim and modality: the difference of the printed mean Dice, ours with its interval, a verdict.

    ``runs``: those of ``matrix.claims_runs``. Differences are on each scan's own grid.
    """
    scores = read_scores(runs)
    printed = pd.read_csv(PUBLISHED, dtype={"table": str}).query("structure == 'mean' and metric == 'dice'")
    printed = printed.set_index(["table", "method", "modality"])["mean"]
    rows = []
    for name, claim in matrix.claims(task):
        table = matrix.tables()[name]
        means, own = printed[table.published], scores[scores["split"].isin(table.draws)]
        for row in compare(own, claim.method, claim.reference).to_dict("records"):
            published = round(means[claim.method, row["modality"]] - means[claim.reference, row["modality"]], 1)
            place = {"claim": claim.says, "table": name, "method": claim.method, "reference": claim.reference}
            rows.append({**place, "published": published, **row, "verdict": verdict(published, row)})
    return pd.DataFrame(rows).round(4).assign(**provenance(runs))


def verdict(published: float, found: dict) -> str:
    """Direction against the printed one; clear where the interval of our difference excludes zero."""
    if found["interval"] != "bootstrap":
        return "not testable: too few patients"
    if published == 0:
        return "no difference printed"
    if found["difference"] == 0:
        return "no difference found"
    direction = "same" if found["difference"] * published > 0 else "opposite"
    clear = found["low"] > 0 or found["high"] < 0
    return f"{direction} direction, {'clear' if clear else 'within chance'}"


def render(task: str, rows: pd.DataFrame) -> tuple[str, pd.DataFrame, str, str]:
    """Title, one line a claim with a column a modality, warning and caption, for the renderers of plain tables."""
    first = rows.iloc[0]
    return (
        f"What the paper claims on the task {task}, and what these runs say",
        _layout(rows),
        f"{warning(first['data'], matrix.tasks()[task])} Scale: {first['scale']}.",
        "Differences between two methods' mean Dice (%) on each scan's own grid: that of the printed means, then ours "
        "with its 95 % bootstrap interval over patients (lowest … highest patient where there are fewer than "
        f"{FEWEST_FOR_AN_INTERVAL}). Only the direction is judged; clear: the interval excludes zero. Intervals know "
        "chance in the patients, not in the training, are too narrow with few patients, and are not corrected for the "
        "number of claims. "
        f"Seeds {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
    )


def _layout(rows: pd.DataFrame) -> pd.DataFrame:
    labels = {name: variant.label for name, variant in matrix.variants().items()}
    lines = []
    for (table, claim, method, reference), group in rows.groupby(["table", "claim", "method", "reference"], sort=False):
        names = group["modality"].replace({"ct": "CT", "mri": "MRI", "overall": "Overall"})
        cells = dict(zip(names, map(_cell, group.itertuples()), strict=True))
        number = matrix.tables()[table].published
        lines.append(
            {"Table": number, "Claim": claim, "Methods": f"{labels[method]} against {labels[reference]}", **cells}
        )
    return pd.DataFrame(lines)


def _cell(row) -> str:
    between = ", " if row.interval == "bootstrap" else " … "
    ours = f"{row.difference:+.1f} [{row.low:+.1f}{between}{row.high:+.1f}]"
    return f"paper {row.published:+.1f}, ours {ours}: {row.verdict}"
