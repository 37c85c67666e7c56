"""What the paper claims by its tables, and what our runs say to it. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import matrix
from ssc.results.rendering import Page, Section, number
from ssc.results.tables import PUBLISHED, provenance, read_scores, warning
from ssc.statistics import FEWEST_FOR_AN_INTERVAL, compare
from ssc.tasks import tasks

LEARNED = 10.0  # % of overall mean Dice; below it a network has learned nothing that could be compared


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
        lowest = min(_overall(own, method) for method in (claim.method, claim.reference))
        for row in compare(own, claim.method, claim.reference).to_dict("records"):
            published = round(means[claim.method, row["modality"]] - means[claim.reference, row["modality"]], 1)
            place = {"claim": claim.says, "table": name, "method": claim.method, "reference": claim.reference}
            rows.append({**place, "published": published, **row, "verdict": verdict(published, row, lowest)})
    return pd.DataFrame(rows).round(4).assign(**provenance(runs)).drop(columns="splits")


def _overall(scores: pd.DataFrame, method: str) -> float:
    """Overall mean Dice (%) of a method on each scan's own grid."""
    native = scores[(scores["grid"] == "native") & (scores["method"] == method)]
    return float(native.groupby(["modality", "structure"])["dice"].mean().groupby("modality").mean().mean())


def verdict(published: float, found: dict, lowest: float) -> str:
    """Direction against the printed one; clear where the interval of our difference excludes zero.

    ``lowest``: overall mean Dice (%) of the weaker method; under 10 neither direction means anything.
    """
    if lowest < LEARNED:
        return "nothing was learned"
    if found["interval"] != "bootstrap":
        return "not testable: too few patients"
    if published == 0:
        return "no difference printed"
    if found["difference"] == 0:
        return "no difference found"
    direction = "same" if found["difference"] * published > 0 else "opposite"
    clear = found["low"] > 0 or found["high"] < 0
    return f"{direction} direction, {'clear' if clear else 'within chance'}"


def page(task: str, rows: pd.DataFrame) -> Page:
    """One line a claim, a section a modality, the overall mean first."""
    first = rows.iloc[0]
    names = {"overall": "Overall mean"} | {modality: modality.upper() for modality in tasks()[task].modalities}
    learned = (
        f"Nothing was learned: a method's overall mean Dice is under {LEARNED} %. "
        if (rows["verdict"] == "nothing was learned").any()
        else ""
    )
    return Page(
        f"What the paper claims on the task {task}, and what these runs say",
        f"{warning(first['data'], tasks()[task])} Scale: {first['scale']}.",
        "Differences between two methods' mean Dice (%) on each scan's own grid: that of the printed means, then ours "
        f"with its 95 % bootstrap interval over {'phantoms' if first['data'] == 'phantom' else 'patients'}, "
        f"[low, high]; (lowest … highest) where there are fewer than {FEWEST_FOR_AN_INTERVAL}. "
        f"Only the direction is judged; clear: the interval excludes zero. {learned}Intervals know "
        "chance in the patients, not in the training, are too narrow with few patients, and are not corrected for the "
        "number of claims. "
        f"Seeds {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
        tuple(
            Section(name, _frame(rows[rows["modality"] == key]), ("Claim", "verdict")) for key, name in names.items()
        ),
    )


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    labels = {name: variant.label for name, variant in matrix.variants().items()}
    return pd.DataFrame(
        {
            "Table": matrix.tables()[row.table].published,
            "Claim": f"{row.claim} ({labels[row.method]} − {labels[row.reference]})",
            "paper": number(row.published, 1, sign=True),
            "ours": _ours(row),
            "verdict": row.verdict,
        }
        for row in rows.itertuples()
    )


def _ours(row) -> str:
    """[low, high] is an interval, (low … high) a range."""
    low, high = (number(value, 1, sign=True) for value in (row.low, row.high))
    between = f"[{low}, {high}]" if row.interval == "bootstrap" else f"({low} … {high})"
    return f"{number(row.difference, 1, sign=True)} {between}"
