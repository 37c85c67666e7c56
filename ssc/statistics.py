"""From the scores of single cases to the rows of a table. Knows numbers and frames, no images."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

METRICS = {"dice": "dice", "asd": "asd_mm"}  # a table's name of a metric -> its column in scores.csv


def summarise(scores: pd.DataFrame, methods: Sequence[str], structures: Sequence[str]) -> pd.DataFrame:
    """Mean and spread of every method, modality, structure and metric, on each grid.

    ``scores``: one row a test result and structure (columns of scores.csv, and method, split, seed). All
    results of all splits and seeds are pooled; ``patients`` counts the different people among them. The
    standard deviation has ddof 0. ``n`` counts results in which the structure is present. A missed structure
    has Dice 0 and no ASD: ``mean`` is over the rest, ``asd_common`` over the results in which every method
    found the structure. Rows 'mean' average the structures' means, 'overall' the
    modalities' means, over those that have one (``missed`` shows the others).
    """
    scores = scores.assign(common=_found_by_all(scores, len(methods)))
    rows = [
        _row(group, key, metric, column)
        for key, group in scores.groupby(["grid", "method", "modality", "structure"], sort=False)
        for metric, column in METRICS.items()
    ]
    single = pd.DataFrame(rows)
    means = _average(single, ["grid", "method", "modality", "metric"], {"structure": "mean"})
    overall = _average(means, ["grid", "method", "metric"], {"modality": "overall", "structure": "mean"})
    table = pd.concat([single, means, overall], ignore_index=True)
    modalities = [*dict.fromkeys(scores["modality"]), "overall"]
    order = {
        "grid": ["native", "preprocessed"],
        "metric": list(METRICS),
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


def _found_by_all(scores: pd.DataFrame, methods: int) -> pd.Series:
    """True where every method found the structure of this result."""
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
        "patients": present["case"].nunique(),
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
