"""The contrasts that a table was made for, judged as one family: with all patients, and without some of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssc import contrasts, matrix
from ssc.contrasts import OF_INTEREST, RULES, Rule, design_of, mixed, noise_of, paired, power, rule_of
from ssc.results.rendering import Page, Section, number
from ssc.results.tables import people, pooled, provenance, read_scores, rounded, train_cases, warning
from ssc.tasks import tasks

ALL, UNSEEN = "all patients", "without the development split's validation cases"


def judge(table: matrix.Table, runs: Sequence[matrix.Run]) -> pd.DataFrame:
    """One row a contrast and set of patients: overall difference, interval, every test's p, verdict, rule, power.

    Points of Dice on each scan's own grid. The rule follows from patients and splits alone, and is that of all patients
    in every set; ``power_1_point`` is its chance to find that much with the noise that the contrast's own differences
    show. ``mixed…``: by the mixed model.
    """
    scores, train = read_scores(runs).query("grid == 'native'"), train_cases(runs)
    cases = pd.Series(list(zip(scores["modality"], scores["case"], strict=True)), scores.index)
    rule = rule_of(design_of(scores[scores["method"] == table.reference], train), len(table.contrasts))
    rows = [
        row
        for name, left_out in _left_out(table).items()
        for row in _of(table, scores[~cases.isin(left_out)], name, train, rule)
    ]
    return rounded(pd.DataFrame(rows), digits=8).assign(**provenance(runs))


def _left_out(table: matrix.Table) -> dict[str, list[tuple[str, str]]]:
    """Which cases, as (modality, case), each set of patients is without."""
    split = tasks()[table.task].splits.get(matrix.DEVELOPMENT, {})
    seen = [(m, case) for m, parts in split.items() for case in parts["validation"]]
    outliers = [(m, case) for m, cases in table.outliers.items() for case in cases]
    named = ", ".join(f"{m.upper()} {' and '.join(cases)}" for m, cases in table.outliers.items())
    return {ALL: []} | ({UNSEEN: seen} if seen else {}) | ({f"without {named}": outliers} if outliers else {})


def _of(table: matrix.Table, scores: pd.DataFrame, patients: str, train: float, rule: Rule) -> list[dict]:
    design = design_of(scores[scores["method"] == table.reference], train)
    tested = {f"n_{m}": len(set().union(*splits)) for m, splits in zip(design.modalities, design.tested, strict=True)}
    differences = [paired(scores, *pair) for pair in table.contrasts]
    judged = contrasts.judge(differences, design, rule)
    rows = []
    for place, (method, reference) in enumerate(table.contrasts):
        found, model = judged.contrasts[place], mixed(differences[place])
        noise = noise_of([differences[place]], design.modalities)
        chances = power(design, len(table.contrasts), OF_INTEREST, noise)
        rows.append(
            {
                "patients": patients,
                **tested,
                "method": method,
                "reference": reference,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "verdict": judged.verdicts[place],
                "p": judged.p[place],
                **{f"p_{name}": found.p[name] for name in RULES},
                "mixed": model.difference,
                "mixed_low": model.low,
                "mixed_high": model.high,
                "p_mixed": model.p,
                "rule": str(judged.rule),
                "power_1_point": chances.get(judged.rule.name, float("nan")),
            }
        )
    return rows


def page(table: matrix.Table, rows: pd.DataFrame) -> Page:
    """A line a contrast, a section a set of patients."""
    first, labels = rows.iloc[0], {name: variant.label for name, variant in matrix.variants().items()}
    sections = [
        Section(
            f"{name[0].upper()}{name[1:]} ({_counted(own.iloc[0])})",
            pd.DataFrame(
                {
                    "Contrast": f"{labels[row.method]} − {labels[row.reference]}",
                    "difference": _estimate(row.difference, row.low, row.high),
                    "mixed model": _estimate(row.mixed, row.mixed_low, row.mixed_high),
                    "p": "–" if pd.isna(row.p) else f"{row.p:.2g}",
                    "verdict": row.verdict,
                    f"finds {OF_INTEREST:g} point": _percent(row.power_1_point),
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
        "Differences of the overall mean Dice (%) on each scan's own grid, with 95 % t intervals over "
        f"{people(first['data'])}, and by mixed models with them and trainings crossed; verdicts and p by "
        f"{first['rule']}, Holm-corrected over the {len(table.contrasts)} contrasts; last, that rule's chance to find "
        f"{OF_INTEREST:g} point, simulated with the noise of the contrast's own differences. "
        f"Test results of {pooled(table, first['splits'].split())}. "
        f"Seeds {first['seed']}, initialisation {first['init']}, commit {first['commit']}.",
        tuple(sections),
    )


def _estimate(difference: float, low: float, high: float) -> str:
    between = "" if pd.isna(low) else f" [{number(low, 1, sign=True)}, {number(high, 1, sign=True)}]"
    return f"{number(difference, 1, sign=True)}{between}"


def _counted(first: pd.Series) -> str:
    """How many patients of each modality."""
    names = [name for name in first.index if name.startswith("n_") and pd.notna(first[name])]
    return " + ".join(f"{first[name]} {name.removeprefix('n_').upper()}" for name in names)


def _percent(share: float) -> str:
    return "–" if pd.isna(share) else f"{number(100 * share, 0)} %"
