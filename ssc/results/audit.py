"""Do the paper's printed numbers agree with each other? Means and differences, computed again."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ssc import matrix

HALF_A_DIGIT = {"dice": 0.05, "asd": 0.005}  # Dice is printed with one digit, ASD with two


def audit(published: pd.DataFrame) -> pd.DataFrame:
    """The printed cells that rounding cannot explain: printed, computed from the other cells, and allowed.

    ``published``: rows of published.csv. Allowed is half a unit of the last printed digit of every term.
    """
    references = {table.published: table.reference for table in matrix.tables().values() if table.published}
    rows = []
    for (table, metric), cells in published.groupby(["table", "metric"], sort=True):
        means = cells.set_index(["method", "modality", "structure"])["mean"]
        differences = cells.set_index(["method", "modality", "structure"])["difference"].dropna()
        half = HALF_A_DIGIT[metric]
        for what, place, printed, computed, terms in [
            *_means(means),
            *_differences(means, differences, references[table]),
        ]:
            if abs(printed - computed) > terms * half + 1e-9:
                rows.append((table, metric, *place, what, printed, round(computed, 4), terms * half))
    columns = ["table", "metric", "method", "modality", "structure", "cell", "printed", "computed", "allowed"]
    return pd.DataFrame(rows, columns=columns)


Check = tuple[str, tuple[str, str, str], float, float, int]


def _means(means: pd.Series) -> Iterator[Check]:
    """Each modality's mean against its structures, each overall mean against the modalities' means."""
    for method, cells in means.groupby(level="method", sort=False):
        cells = cells.droplevel("method")
        for modality in ("ct", "mri"):
            own = cells[modality].dropna() if modality in cells else cells[:0]
            if "mean" in own and len(own) > 1:
                yield "mean", (method, modality, "mean"), own["mean"], own.drop("mean").mean(), 2
        pair = [cells.get((modality, "mean")) for modality in ("ct", "mri")]
        overall = cells.get(("overall", "mean"))
        if overall is not None and None not in pair and not pd.isna([overall, *pair]).any():
            yield "mean", (method, "overall", "mean"), overall, sum(pair) / 2, 2


def _differences(means: pd.Series, differences: pd.Series, reference: str) -> Iterator[Check]:
    """Each printed difference against the two printed means that it is of."""
    for (method, modality, structure), printed in differences.items():
        computed = means[method, modality, structure] - means[reference, modality, structure]
        yield "difference", (method, modality, structure), printed, computed, 3
