"""The contrasts that a table was made for, judged as one family: with all patients, and without some of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import matrix
from ssc.contrasts import (
    OF_INTEREST,
    RULES,
    contrast,
    design_of,
    holm,
    mixed,
    noise_of,
    paired,
    power,
    rule_of,
    verdicts,
)
from ssc.results.rendering import Page, Section, number
from ssc.results.tables import provenance, read_scores, train_cases, warning
from ssc.tasks import tasks

ALL, UNSEEN = "all patients", "without the development split's validation cases"


def judge(table: matrix.Table, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """One row a contrast and set of patients: overall difference, interval, every test's p, verdict, rule, power.

    Points of Dice on each scan's own grid. The rule follows from patients and splits alone; power is that of the rule
    for ``OF_INTEREST`` points, with the noise that these differences show. ``mixed…``: by the mixed model.
    """
    scores = read_scores(runs).query("grid == 'native'")
    cases = pd.Series(list(zip(scores["modality"], scores["case"], strict=True)), scores.index)
    rows = [
        row
        for name, left_out in _left_out(table).items()
        for row in _of(table, scores[~cases.isin(left_out)], name, train_cases(runs))
    ]
    return pd.DataFrame(rows).round(8).assign(**provenance(runs))


def _left_out(table: matrix.Table) -> dict[str, list[tuple[str, str]]]:
    """Which cases, as (modality, case), each set of patients is without."""
    split = tasks()[table.task].splits.get(matrix.DEVELOPMENT, {})
    seen = [(m, case) for m, parts in split.items() for case in parts["validation"]]
    outliers = [(m, case) for m, cases in table.outliers.items() for case in cases]
    named = ", ".join(f"{m.upper()} {' and '.join(cases)}" for m, cases in table.outliers.items())
    return {ALL: []} | ({UNSEEN: seen} if seen else {}) | ({f"without {named}": outliers} if outliers else {})


def _of(table: matrix.Table, scores: pd.DataFrame, patients: str, train: float) -> list[dict]:
    design = design_of(scores[scores["method"] == table.reference], train)
    rule = rule_of(design, len(table.contrasts))
    differences = [paired(scores, *pair) for pair in table.contrasts]
    found = [contrast(own, design.tested_share) for own in differences]
    models = [mixed(own) for own in differences]
    corrected = {name: holm([f.p[name] for f in found]) for name in RULES}
    noise = noise_of(differences, design.modalities)
    chance = power(design, len(table.contrasts), OF_INTEREST, noise).get(rule.name, float("nan"))
    return [
        {
            "patients": patients,
            "method": method,
            "reference": reference,
            "difference": f.difference,
            "low": f.low,
            "high": f.high,
            "verdict": verdict,
            "p": corrected[rule.name][place] if rule.name else float("nan"),
            **{f"p_{name}": f.p[name] for name in RULES},
            "mixed": model.difference,
            "mixed_low": model.low,
            "mixed_high": model.high,
            "p_mixed": model.p,
            "rule": str(rule),
            "power": chance,
        }
        for place, ((method, reference), f, model, verdict) in enumerate(
            zip(table.contrasts, found, models, verdicts(found, rule), strict=True)
        )
    ]


def page(table: matrix.Table, rows: pd.DataFrame) -> Page:
    """A line a contrast, a section a set of patients."""
    first, labels = rows.iloc[0], {name: variant.label for name, variant in matrix.variants().items()}
    sections = [
        Section(
            f"{name[0].upper()}{name[1:]}: {_ruled(own.iloc[0])}",
            pd.DataFrame(
                {
                    "Contrast": f"{labels[row.method]} − {labels[row.reference]}",
                    "difference": f"{number(row.difference, 1, sign=True)} "
                    f"[{number(row.low, 1, sign=True)}, {number(row.high, 1, sign=True)}]",
                    "mixed model": f"{number(row.mixed, 1, sign=True)} "
                    f"[{number(row.mixed_low, 1, sign=True)}, {number(row.mixed_high, 1, sign=True)}]",
                    "p": "–" if pd.isna(row.p) else f"{row.p:.2g}",
                    "verdict": row.verdict,
                }
                for row in own.itertuples()
            ),
            ("Contrast", "verdict"),
        )
        for name, own in rows.groupby("patients", sort=False)
    ]
    return Page(
        f"{table.title}: contrasts",
        f"{warning(first['data'], tasks()[table.task])} Scale: {first['scale']}.",
        "Differences of the overall mean Dice (%) on each scan's own grid, with 95 % t intervals over patients, and by "
        "a mixed model with patients and trainings crossed; verdicts and p are Holm-corrected over the "
        f"{len(table.contrasts)} contrasts. "
        f"Seeds {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
        tuple(sections),
    )


def _ruled(first: pd.Series) -> str:
    """The rule of some patients, and what it finds."""
    found = "" if pd.isna(first["power"]) else f", {OF_INTEREST:g} point in {100 * first['power']:.0f} %"
    return f"by {first['rule']}{found}"
