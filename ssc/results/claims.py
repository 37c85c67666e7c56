"""What the paper claims by its tables, and what our runs say to it. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import contrasts, matrix
from ssc.contrasts import OF_INTEREST, design_of, paired
from ssc.results.rendering import Page, Section, number
from ssc.results.tables import PUBLISHED, provenance, read_scores, rounded, train_cases, warning
from ssc.statistics import compare
from ssc.tasks import tasks

LEARNED = 10.0  # % of overall mean Dice; below it a network has learned nothing that could be compared
NOTHING = "nothing was learned"


def judge(task: str, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """One row a claim and modality: the difference of the printed mean Dice, ours with its interval; overall a verdict.

    ``runs``: those of ``matrix.claims_runs``. Differences are on each scan's own grid. All claims on the task are one
    family.
    """
    scores = read_scores(runs)
    printed = pd.read_csv(PUBLISHED, dtype={"table": str}).query("structure == 'mean' and metric == 'dice'")
    printed = printed.set_index(["table", "method", "modality"])["mean"]
    rows, differences = [], []
    native = scores[scores["grid"] == "native"]
    design = design_of(native[native["method"] == native["method"].iloc[0]], train_cases(runs))
    for name, claim in matrix.claims(task):
        table = matrix.tables()[name]
        means, own = printed[table.published], scores[scores["split"].isin(table.draws)]
        differences.append(paired(own, claim.method, claim.reference))
        for row in compare(own, claim.method, claim.reference).to_dict("records"):
            published = round(means[claim.method, row["modality"]] - means[claim.reference, row["modality"]], 1)
            place = {"claim": claim.says, "table": name, "method": claim.method, "reference": claim.reference}
            rows.append({**place, "published": published, **row})
    judged = contrasts.judge(differences, design)
    frame = pd.DataFrame(rows)
    overall = frame["modality"] == "overall"
    lowest = [min(_overall(scores, method) for method in (c.method, c.reference)) for _, c in matrix.claims(task)]
    said = [NOTHING if low < LEARNED else verdict for low, verdict in zip(lowest, judged.verdicts, strict=True)]
    frame.loc[overall, "p"], frame.loc[overall, "verdict"], frame["rule"] = judged.p, said, str(judged.rule)
    for name in ("sign_flip", "nadeau_bengio"):
        frame.loc[overall, f"p_{name}"] = [own.p[name] for own in judged.contrasts]
    return rounded(frame).assign(**provenance(runs)).drop(columns="splits")


def _overall(scores: pd.DataFrame, method: str) -> float:
    """Overall mean Dice (%) of a method on each scan's own grid."""
    native = scores[(scores["grid"] == "native") & (scores["method"] == method)]
    return float(native.groupby(["modality", "structure"])["dice"].mean().groupby("modality").mean().mean())


def page(task: str, rows: pd.DataFrame) -> Page:
    """One line a claim, a section a modality, the overall mean first, which alone is judged."""
    first = rows.iloc[0]
    names = {"overall": "Overall mean"} | {modality: modality.upper() for modality in tasks()[task].modalities}
    learned = f"Nothing was learned: a method's overall mean Dice is under {LEARNED} %. "
    return Page(
        f"What the paper claims on the task {task}, and what these runs say",
        f"{warning(first['data'], tasks()[task])} Scale: {first['scale']}.",
        "Differences between two methods' mean Dice (%) on each scan's own grid: that of the printed means, then ours "
        f"with its 95 % t interval over {'phantoms' if first['data'] == 'phantom' else 'patients'}, [low, high]. "
        "Judged are the overall means alone, Holm-corrected as one family, whatever sign the paper prints: helps, "
        f"harms, no effect above {OF_INTEREST:g} point, or undecided; by {first['rule']}. "
        f"{learned if (rows['verdict'] == NOTHING).any() else ''}"
        f"Seeds {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
        tuple(
            Section(name, _frame(rows[rows["modality"] == key]), ("Claim", "verdict")) for key, name in names.items()
        ),
    )


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    labels = {name: variant.label for name, variant in matrix.variants().items()}
    frame = pd.DataFrame(
        {
            "Table": matrix.tables()[row.table].published,
            "Claim": f"{row.claim} ({labels[row.method]} − {labels[row.reference]})",
            "paper": number(row.published, 1, sign=True),
            "ours": _ours(row),
            "verdict": row.verdict,
        }
        for row in rows.itertuples()
    )
    return frame if rows["verdict"].notna().any() else frame.drop(columns="verdict")


def _ours(row) -> str:
    low, high = (number(value, 1, sign=True) for value in (row.low, row.high))
    return number(row.difference, 1, sign=True) + (f" [{low}, {high}]" if row.interval == "t" else "")
