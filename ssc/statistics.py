"""From the scores of single cases to the rows of a table. Knows numbers and frames, no images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ssc.contrasts import design_of, judge, paired, structure_differences

METRICS = {"dice": "dice", "asd": "asd_mm"}  # a table's name of a metric -> its column in scores.csv
MORE_METRICS = {
    "nsd2": "nsd_2mm", "nsd3": "nsd_3mm", "hd95": "hd95_mm", "volume": "volume_difference_ml",
    "volume_abs": "volume_difference_abs_ml", "precision": "precision", "recall": "recall",
}  # fmt: skip
RESAMPLES = 2_000


def summarise(scores: pd.DataFrame, methods: Sequence[str], structures: Sequence[str]) -> pd.DataFrame:
    """Mean and spread of every method, modality, structure and metric, on each grid.

    ``scores``: one row a test result and structure (columns of scores.csv, and method, split, seed). All
    results of all splits and seeds are pooled; ``patients`` counts the different people among them. The
    standard deviation has ddof 0. ``n`` counts results in which the structure is present. A missed structure
    has Dice 0 and no ASD: ``mean`` is over the rest, ``asd_common`` over the results in which every method
    found the structure. Rows 'mean' average the structures' means, 'overall' the
    modalities' means, over those that have one (``missed`` shows the others). Scores that an older version did not
    write make no row.
    """
    scores = _with_patients(scores)
    scores = scores.assign(common=_found_by_all(scores))
    if "volume_difference_ml" in scores:
        scores = scores.assign(volume_difference_abs_ml=scores["volume_difference_ml"].abs())
    rows = [
        _row(group, key, metric, column)
        for key, group in scores.groupby(["grid", "method", "modality", "structure"], sort=False)
        for metric, column in (METRICS | MORE_METRICS).items()
        if column in scores
    ]
    single = pd.DataFrame(rows)
    means = _average(single, ["grid", "method", "modality", "metric"], {"structure": "mean"})
    overall = _average(means, ["grid", "method", "metric"], {"modality": "overall", "structure": "mean"})
    table = pd.concat([single, means, overall], ignore_index=True)
    modalities = [*dict.fromkeys(scores["modality"]), "overall"]
    order = {
        "grid": ["native", "preprocessed"],
        "metric": list(METRICS | MORE_METRICS),
        "method": list(methods),
        "modality": modalities,
        "structure": [*structures, "mean"],
    }
    for column, values in order.items():
        table[column] = pd.Categorical(table[column], values, ordered=True)
    table = table.sort_values(list(order), ignore_index=True)
    return table.astype(dict.fromkeys(order, "str"))


def add_differences(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A column ``difference``: each mean less the reference method's mean in the same place."""
    place = ["grid", "metric", "modality", "structure"]
    of_reference = table[table["method"] == reference].set_index(place)["mean"]
    difference = table["mean"] - pd.MultiIndex.from_frame(table[place]).map(of_reference).to_numpy()
    return table.assign(difference=difference.where(table["method"] != reference))


def add_lowest(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Columns of a modality's mean Dice: how low single results are, each the mean over its structures.

    ``lower_quartile``, ``worst``, and whose the worst is: ``worst_case``.
    """
    place = ["grid", "method", "modality"]
    results = scores.groupby([*place, "split", "seed", "case"], sort=False)["dice"].mean().dropna()
    worst = results.reset_index().sort_values("dice", kind="stable").drop_duplicates(place)
    lowest = worst.rename(columns={"dice": "worst", "case": "worst_case"}).drop(columns=["split", "seed"])
    quartiles = results.groupby(place).quantile(0.25).rename("lower_quartile").reset_index()
    return table.merge(lowest.merge(quartiles).assign(metric="dice", structure="mean"), how="left")


def _with_patients(scores: pd.DataFrame) -> pd.DataFrame:
    """A case is a patient, unless a column says whose it is."""
    return scores if "patient" in scores else scores.assign(patient=scores["case"])


def _found_by_all(scores: pd.DataFrame) -> pd.Series:
    """True where every method that has results on this grid found the structure of this one."""
    methods = scores["grid"].map(scores.groupby("grid")["method"].nunique())
    found = (scores["status"] == "found").groupby(
        [scores[c] for c in ("grid", "modality", "split", "seed", "case", "structure")]
    )
    return found.transform("sum") == methods


def _row(group: pd.DataFrame, key: tuple[str, ...], metric: str, column: str) -> dict:
    values = group[column].dropna()
    present = group[group["status"].isin(["found", "missed"])]
    counts = group["status"].value_counts()
    return {
        **dict(zip(("grid", "method", "modality", "structure"), key, strict=True)),
        "metric": metric,
        "mean": values.mean(),
        "std": values.std(ddof=0),
        "n": len(present),
        "patients": present["patient"].nunique(),
        **{status: int(counts.get(status, 0)) for status in ("missed", "absent", "false_positive")},
        "asd_common": group.loc[group["common"], column].mean() if metric == "asd" else float("nan"),
    }


def _average(table: pd.DataFrame, by: list[str], names: dict[str, str]) -> pd.DataFrame:
    """Means of means; counts are added up, patients of one modality are the same people throughout."""
    patients = "max" if names == {"structure": "mean"} else "sum"
    averaged = table.groupby(by, sort=False).agg(
        mean=("mean", "mean"),
        n=("n", "sum"),
        patients=("patients", patients),
        missed=("missed", "sum"),
        absent=("absent", "sum"),
        false_positive=("false_positive", "sum"),
        asd_common=("asd_common", "mean"),
    )
    return averaged.reset_index().assign(**names)


def add_intervals(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Columns ``low``, ``high`` and ``interval``: how far each mean may be off.

    't': 95 % by Student's t over patients, all results of a patient together; that of an overall mean over the
    modalities' patients by Welch and Satterthwaite; cut at 0, and at 100 % for Dice. 'none': one patient shows it.
    """
    found, scores = [], _with_patients(scores)
    for (grid, method), rows in scores.groupby(["grid", "method"], sort=False):
        for metric, column in METRICS.items():
            sums = {m: _by_patient(group, column) for m, group in rows.groupby("modality", sort=False)}
            for modality, (totals, counts) in sums.items():
                parts = {name: (totals[[name]], counts[[name]]) for name in totals} | {"mean": (totals, counts)}
                for structure, part in parts.items():
                    found.append((grid, method, metric, modality, structure, *_estimate([part])[1:]))
            found.append((grid, method, metric, "overall", "mean", *_estimate(list(sums.values()))[1:]))
    place = ["grid", "method", "metric", "modality", "structure"]
    intervals = pd.DataFrame(found, columns=[*place, "low", "high", "interval"])
    intervals["low"] = intervals["low"].clip(lower=0)
    intervals["high"] = intervals["high"].mask(intervals["metric"] == "dice", intervals["high"].clip(upper=100))
    return table.merge(intervals, on=place, how="left")


def compare(scores: pd.DataFrame, method: str, reference: str, grid: str = "native") -> pd.DataFrame:
    """Mean Dice of ``method`` less that of ``reference``: one row a modality, then 'overall'.

    Columns modality, difference, low, high, interval, n (pairs), patients. The interval is that of
    ``add_intervals``, of the differences between both methods' Dice for the same result.
    """
    found = structure_differences(_with_patients(scores), method, reference, grid)
    sums = {modality: _by_patient(rows, "difference") for modality, rows in found.groupby("modality", sort=False)}
    rows = [
        {
            "modality": modality,
            **dict(zip(("difference", "low", "high", "interval"), _estimate(parts), strict=True)),
            "n": int(sum(counts.to_numpy().sum() for _, counts in parts)),
            "patients": sum(len(totals) for totals, _ in parts),
        }
        for modality, parts in [*((m, [part]) for m, part in sums.items()), ("overall", list(sums.values()))]
    ]
    return pd.DataFrame(rows)


def add_difference_intervals(table: pd.DataFrame, scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Columns ``difference_low`` and ``difference_high`` of the Dice means, NaN elsewhere: see ``compare``."""
    place = ["grid", "method", "metric", "modality", "structure"]
    names = {"low": "difference_low", "high": "difference_high"}
    found = [pd.DataFrame(columns=[*place, *names]).astype(dict.fromkeys(names, float))]
    for grid in table["grid"].unique():
        methods = set(scores.loc[scores["grid"] == grid, "method"])  # an external one may lack a grid
        for method in sorted(methods - {reference}) if reference in methods else []:
            rows = compare(scores, method, reference, grid)
            found.append(rows.assign(grid=grid, method=method, metric="dice", structure="mean")[[*place, *names]])
    return table.merge(pd.concat(found).rename(columns=names), on=place, how="left")


def add_seed_spread(table: pd.DataFrame, scores: pd.DataFrame, methods: Sequence[str], structures: Sequence[str]):
    """A column ``std_over_seeds``: of the means that each seed alone gives (ddof 0); NaN for one seed.

    ``std`` beside it is that over cases (and seeds, pooled).
    """
    place = ["grid", "method", "metric", "modality", "structure"]
    each = [summarise(own, methods, structures) for _, own in scores.groupby("seed")]
    if len(each) == 1:
        return table.assign(std_over_seeds=float("nan"))
    spread = pd.concat(each).groupby(place)["mean"].std(ddof=0).rename("std_over_seeds").reset_index()
    return table.merge(spread, on=place, how="left")


def _by_patient(rows: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sum and number of results of every patient (rows) and structure (columns)."""
    groups = rows.groupby(["patient", "structure"], sort=False)[column]
    return groups.sum().unstack(fill_value=0.0), groups.count().unstack(fill_value=0)


def _estimate(parts: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[float, float, float, str]:
    """The mean over ``parts`` (modalities) of the mean over their structures' means; its low, high and kind."""
    means, variances, people, lone = [], [], [], False
    for totals, counts in parts:
        some = (counts > 0).any(axis=1).to_numpy()  # patients with a value
        totals, counts = totals.to_numpy(float)[some], counts.to_numpy(float)[some]
        seen = counts.sum(axis=0) > 0
        own = totals[:, seen].sum(axis=0) / counts[:, seen].sum(axis=0)
        if not len(totals):  # a structure that was never found
            return float("nan"), float("nan"), float("nan"), "none"
        shown = (counts[:, seen] > 0).sum(axis=0)  # patients a structure
        pull = (totals[:, seen] - counts[:, seen] * own) / counts[:, seen].sum(axis=0)
        pull *= (len(pull) - 1) * shown / (len(pull) * np.maximum(shown - 1, 1))  # as the jackknife has it
        pull = pull.mean(axis=1)
        means.append(own.mean())
        people.append(len(pull))
        lone |= shown.min() < 2
        variances.append((pull**2).sum() * len(pull) / max(len(pull) - 1, 1) / len(parts) ** 2)
    mean = float(np.mean(means))
    if lone:  # nothing says how a single patient's structure varies
        return mean, float("nan"), float("nan"), "none"
    spread = sum(v**2 / (n - 1) for v, n in zip(variances, people, strict=True))
    freedom = sum(variances) ** 2 / spread if spread else 1.0
    width = float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances)))
    return mean, mean - width, mean + width, "t"


JUDGED = {"grid": "native", "metric": "dice", "modality": "overall", "structure": "mean"}  # a method's one row


def add_verdicts(table: pd.DataFrame, scores: pd.DataFrame, reference: str, train_cases: float) -> pd.DataFrame:
    """Columns of the overall Dice on the scans' own grid: what can be said of each method against ``reference``.

    ``p`` by the design's rule, Holm-corrected over the methods; ``p_sign_flip``, ``p_nadeau_bengio`` as they are;
    ``verdict``, ``rule`` (see ``ssc.contrasts``). ``train_cases``: of a split, all modalities.
    """
    scores = _with_patients(scores)
    native, rows = scores[scores["grid"] == "native"], []
    present = set(native["method"])
    others = [m for m in table["method"].unique() if m in present - {reference}] if reference in present else []
    if others:
        design = design_of(native[native["method"] == reference], train_cases)
        judged = judge([paired(native, m, reference) for m in others], design)
        for method, own, p, verdict in zip(others, judged.contrasts, judged.p, judged.verdicts, strict=True):
            tests = {"p_sign_flip": own.p["sign_flip"], "p_nadeau_bengio": own.p["nadeau_bengio"]}
            rows.append({**JUDGED, "method": method, "p": p, **tests, "verdict": verdict, "rule": str(judged.rule)})
    numbers = ["p", "p_sign_flip", "p_nadeau_bengio"]
    frame = pd.DataFrame(rows, columns=[*JUDGED, "method", *numbers, "verdict", "rule"])
    return table.merge(frame.astype(dict.fromkeys(numbers, float)), on=[*JUDGED, "method"], how="left")


def add_first_shares(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A column ``first`` of the same rows: see ``first_shares``."""
    native = _with_patients(scores[scores["grid"] == "native"])
    methods = [m for m in table["method"].unique() if m in set(native["method"])]
    shares = pd.Series(first_shares(native, methods), name="first").rename_axis("method").reset_index()
    return table.merge(shares.assign(**JUDGED), on=[*JUDGED, "method"], how="left")


def first_shares(scores: pd.DataFrame, methods: Sequence[str]) -> dict[str, float]:
    """Share of bootstraps of each modality's patients in which a method's overall mean Dice is the highest."""
    generator, totals = np.random.default_rng(0), 0.0
    for _, rows in scores.groupby("modality", sort=False):
        sums = rows.groupby(["patient", "structure", "method"])["dice"].agg(["sum", "count"]).unstack("method")
        patients = sums.index.get_level_values("patient").unique()
        drawn = generator.multinomial(len(patients), np.full(len(patients), 1 / len(patients)), RESAMPLES)
        each = []
        for _, own in sums.groupby("structure"):
            own = own.droplevel("structure").reindex(patients).fillna(0.0)
            own = {kind: own[kind].reindex(columns=methods).fillna(0.0).to_numpy() for kind in ("sum", "count")}
            total, count = drawn @ own["sum"], drawn @ own["count"]
            each.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
        totals = totals + np.nanmean(each, axis=0)
    best = np.nan_to_num(totals, nan=-1.0).argmax(axis=1)
    return {method: float((best == i).mean()) for i, method in enumerate(methods)}
