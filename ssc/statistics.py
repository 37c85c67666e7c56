"""From the scores of single cases to the rows of a table. Knows numbers and frames, no images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

METRICS = {"dice": "dice", "asd": "asd_mm"}  # a table's name of a metric -> its column in scores.csv
MORE_METRICS = {
    "nsd2": "nsd_2mm", "nsd3": "nsd_3mm", "hd95": "hd95_mm", "volume": "volume_difference_ml",
    "volume_abs": "volume_difference_abs_ml", "precision": "precision", "recall": "recall",
}  # fmt: skip
FEWEST_FOR_AN_INTERVAL = 6  # patients; below, the range of the patients is given
RESAMPLES = 9_999
SIGNIFICANT = 0.05


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
        "lower_quartile": values.quantile(0.25),
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
        lower_quartile=("lower_quartile", "mean"),
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

    'bootstrap': 95 % percentile interval over resampled patients, all results of a patient together; that of
    an overall mean resamples within each modality. 'range': lowest and highest of the patients' own values,
    where a modality has fewer than 6; that of an overall mean is the mean of the modalities' lowest and highest.
    """
    found, scores = [], _with_patients(scores)
    for (grid, method), rows in scores.groupby(["grid", "method"], sort=False):
        for metric, column in METRICS.items():
            sums = {m: _by_patient(group, column) for m, group in rows.groupby("modality", sort=False)}
            for modality, (totals, counts) in sums.items():
                parts = {name: (totals[[name]], counts[[name]]) for name in totals} | {"mean": (totals, counts)}
                for structure, part in parts.items():
                    found.append((grid, method, metric, modality, structure, *_interval([part])))
            found.append((grid, method, metric, "overall", "mean", *_interval(list(sums.values()))))
    place = ["grid", "method", "metric", "modality", "structure"]
    return table.merge(pd.DataFrame(found, columns=[*place, "low", "high", "interval"]), on=place, how="left")


def compare(scores: pd.DataFrame, method: str, reference: str, grid: str = "native") -> pd.DataFrame:
    """Mean Dice of ``method`` less that of ``reference``: one row a modality, then 'overall'.

    Columns modality, difference, low, high, interval, n (pairs), patients. The interval is that of
    ``add_intervals``, of the differences between both methods' Dice for the same result.
    """
    place = ["modality", "case", "patient", "structure", "split", "seed"]
    scores = _with_patients(scores)
    dice = scores[scores["grid"] == grid].set_index([*place, "method"])["dice"].unstack("method")
    differences = (dice[method] - dice[reference]).dropna().rename("difference").reset_index()
    sums = {modality: _by_patient(rows, "difference") for modality, rows in differences.groupby("modality", sort=False)}
    rows = [
        {
            "modality": modality,
            "difference": float(np.mean([_mean_of_means(t.to_numpy(float), c.to_numpy(float)) for t, c in parts])),
            **dict(zip(("low", "high", "interval"), _interval(parts), strict=True)),
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
    return groups.sum().unstack(), groups.count().unstack()


def _interval(parts: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[float, float, str]:
    """Low, high and kind for the mean over ``parts`` (modalities) of the mean over their structures' means."""
    arrays = [
        (totals.to_numpy(float)[some], counts.to_numpy(float)[some])
        for totals, counts in parts
        for some in [(counts > 0).any(axis=1).to_numpy()]  # patients with a value
    ]
    if min(len(totals) for totals, _ in arrays) < FEWEST_FOR_AN_INTERVAL:
        own = [_mean_of_means(totals[:, None], counts[:, None]) for totals, counts in arrays]  # of each patient
        own = [values[np.isfinite(values)] for values in own]
        if not all(map(len, own)):  # a structure that was never found has no distance
            return float("nan"), float("nan"), "range"
        return float(np.mean([v.min() for v in own])), float(np.mean([v.max() for v in own])), "range"

    def overall(*patients: np.ndarray, axis: int) -> np.ndarray:  # SciPy's axis: the last, of the patients
        return np.mean([_mean_of_means(t[i], c[i]) for (t, c), i in zip(arrays, patients, strict=True)], axis=0)

    patients = [np.arange(len(totals)) for totals, _ in arrays]
    drawn = stats.bootstrap(patients, overall, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=0)
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high), "bootstrap"


def _mean_of_means(totals: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over structures of each one's mean over patients; both (…, patients, structures) -> (…)."""
    totals, counts = np.nansum(totals, axis=-2), np.nansum(counts, axis=-2)
    means = np.ma.masked_array(totals, mask=counts == 0) / np.maximum(counts, 1)
    return np.ma.filled(means.mean(axis=-1), np.nan)


def add_tests(table: pd.DataFrame, scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A column ``p``: paired Wilcoxon of each method against ``reference``, Holm-corrected, on modality means.

    Results are paired where both methods have a value; a patient counts once, with the mean of the differences
    over structures, draws and seeds. A family is one metric and modality on one grid; where even the smallest
    possible p of its smallest comparison would not reach 0.05, no p is given (NaN).
    """
    found, scores = [], _with_patients(scores)
    for (grid, modality), rows in scores.groupby(["grid", "modality"], sort=False):
        for metric, column in METRICS.items():
            values = rows.set_index(["case", "patient", "structure", "split", "seed", "method"])[column].unstack(
                "method"
            )
            others = [method for method in table["method"].unique() if method in values and method != reference]
            if reference not in values or not others:
                continue
            differences = [(values[m] - values[reference]).dropna().groupby("patient").mean() for m in others]
            if len(others) * 2 ** (1 - min(map(len, differences))) > SIGNIFICANT:
                continue
            raw = [float(stats.wilcoxon(d).pvalue) if d.any() else 1.0 for d in differences]
            found += [(grid, m, metric, modality, "mean", p) for m, p in zip(others, holm(raw), strict=True)]
    place = ["grid", "method", "metric", "modality", "structure"]
    return table.merge(pd.DataFrame(found, columns=[*place, "p"]).astype({"p": float}), on=place, how="left")


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values (Holm, 1979)."""
    order = np.argsort(values)
    steps = np.maximum.accumulate(np.array(values)[order] * np.arange(len(values), 0, -1))
    return np.minimum(1.0, steps[np.argsort(order)]).tolist()
