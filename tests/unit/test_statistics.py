"""From cases to a table's rows, by hand."""

import math

import pandas as pd
import pytest

from ssc.statistics import add_differences, summarise

STRUCTURES = ("liver", "spleen")


def _scores(values):
    """values: (method, modality, structure, split, case) -> (status, dice, asd)."""
    rows = [
        dict(zip(("method", "modality", "structure", "split", "case"), key, strict=True))
        | {"grid": "native", "seed": 0, "status": status, "dice": dice, "asd_mm": asd}
        for key, (status, dice, asd) in values.items()
    ]
    return pd.DataFrame(rows)


NAN = float("nan")
VALUES = {
    ("base", "ct", "liver", "draw0", "a"): ("found", 90.0, 1.0),
    ("base", "ct", "liver", "draw1", "a"): ("found", 80.0, 2.0),
    ("base", "ct", "spleen", "draw0", "a"): ("missed", 0.0, NAN),
    ("base", "ct", "spleen", "draw1", "a"): ("found", 60.0, 4.0),
    ("base", "mri", "liver", "draw0", "m"): ("found", 70.0, 3.0),
    ("base", "mri", "spleen", "draw0", "m"): ("absent", NAN, NAN),
    ("ours", "ct", "liver", "draw0", "a"): ("found", 94.0, 0.5),
    ("ours", "ct", "liver", "draw1", "a"): ("found", 86.0, 1.5),
    ("ours", "ct", "spleen", "draw0", "a"): ("found", 50.0, 9.0),
    ("ours", "ct", "spleen", "draw1", "a"): ("found", 70.0, 3.0),
    ("ours", "mri", "liver", "draw0", "m"): ("found", 76.0, 2.0),
    ("ours", "mri", "spleen", "draw0", "m"): ("false_positive", NAN, NAN),
}


@pytest.fixture
def table():
    return add_differences(summarise(_scores(VALUES), ("base", "ours"), STRUCTURES), "base")


def _row(table, method, modality, structure, metric):
    chosen = table[(table["method"] == method) & (table["modality"] == modality)]
    return chosen[(chosen["structure"] == structure) & (chosen["metric"] == metric)].iloc[0]


def test_results_of_all_draws_are_pooled(table):
    row = _row(table, "base", "ct", "liver", "dice")
    assert (row["mean"], row["std"], row["n"], row["patients"]) == (85.0, 5.0, 2, 1)  # ddof 0, one person twice


def test_a_missed_structure_counts_in_dice_and_is_shown_in_asd(table):
    dice, asd = (_row(table, "base", "ct", "spleen", metric) for metric in ("dice", "asd"))
    assert (dice["mean"], dice["n"], dice["missed"]) == (30.0, 2, 1)
    assert (asd["mean"], asd["n"], asd["missed"]) == (4.0, 2, 1)


def test_asd_common_compares_like_with_like(table):
    """Ours found the hard case that Baseline missed: that must not count against it."""
    assert _row(table, "ours", "ct", "spleen", "asd")["mean"] == 6.0
    assert _row(table, "ours", "ct", "spleen", "asd")["asd_common"] == 3.0
    assert _row(table, "base", "ct", "spleen", "asd")["asd_common"] == 4.0


def test_absent_and_false_positive_are_counted_not_scored(table):
    base, ours = (_row(table, method, "mri", "spleen", "dice") for method in ("base", "ours"))
    assert (base["absent"], base["n"], math.isnan(base["mean"])) == (1, 0, True)
    assert (ours["false_positive"], ours["n"]) == (1, 0)


def test_means_are_means_of_means(table):
    ct = _row(table, "ours", "ct", "mean", "dice")
    assert ct["mean"] == (90.0 + 60.0) / 2
    assert _row(table, "ours", "overall", "mean", "dice")["mean"] == (75.0 + 76.0) / 2


def test_difference_is_to_the_reference(table):
    assert _row(table, "ours", "ct", "liver", "dice")["difference"] == 5.0
    assert math.isnan(_row(table, "base", "ct", "liver", "dice")["difference"])


def test_rows_stand_in_the_papers_order(table):
    dice = table[table["metric"] == "dice"]
    assert list(dice["method"].unique()) == ["base", "ours"]
    assert list(dice[dice["method"] == "base"]["structure"]) == ["liver", "spleen", "mean"] * 2 + ["mean"]
