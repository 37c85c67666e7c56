"""From cases to a table's rows, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ssc.contrasts import holm
from ssc.statistics import (
    add_difference_intervals,
    add_differences,
    add_first_shares,
    add_intervals,
    add_lowest,
    add_seed_spread,
    add_verdicts,
    compare,
    summarise,
)

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


def test_the_lowest_are_of_a_results_mean_over_its_structures(table):
    rows = add_lowest(table, _scores(VALUES))
    worst = {m: _row(rows, m, "ct", "mean", "dice")[["worst", "worst_case"]].tolist() for m in ("base", "ours")}
    assert worst == {"base": [45.0, "a"], "ours": [72.0, "a"]}  # both of draw 0
    assert _row(rows, "base", "ct", "mean", "dice")["lower_quartile"] == 45.0 + (70.0 - 45.0) / 4  # of two results
    assert _row(rows, "base", "mri", "mean", "dice")["worst"] == 70.0  # the absent spleen has none
    assert rows["worst"].notna().sum() == 4 and len(rows) == len(table)


def _row(table, method, modality, structure, metric):
    chosen = table[(table["method"] == method) & (table["modality"] == modality)]
    return chosen[(chosen["structure"] == structure) & (chosen["metric"] == metric)].iloc[0]


def test_methods_are_compared_result_by_result(table):
    """Of (94 - 90, 86 - 80) and (50 - 0, 70 - 60) the means are 5 and 30, of the MRI liver's one pair 6."""
    rows = compare(_scores(VALUES), "ours", "base").set_index("modality")
    assert rows["difference"].to_dict() == {"ct": 17.5, "mri": 6.0, "overall": 11.75}
    assert rows["difference"]["ct"] == _row(table, "ours", "ct", "mean", "dice")["difference"]
    assert rows["n"].to_dict() == {"ct": 4, "mri": 1, "overall": 5} and rows["patients"]["overall"] == 2
    assert set(rows["interval"]) == {"none"}


def test_a_structure_that_a_patient_lacks_is_no_pair():
    some = {("ct", "liver", p): 70.0 + p for p in range(3)} | {("ct", "spleen", 0): 50.0, ("ct", "spleen", 1): 52.0}
    values = {
        (m, k[0], k[1], "draw0", str(k[2])): ("found", v + (m == "ours"), 1.0)
        for m in ("base", "ours")
        for k, v in some.items()
    }
    row = compare(_scores(values), "ours", "base").iloc[0]
    assert (row["difference"], row["n"], row["patients"]) == (1.0, 5, 3)


def test_what_both_methods_find_hard_does_not_widen_the_interval_of_their_difference():
    """Cases from 10 to 90 %, each one point better or three: the interval is that of ones and threes."""
    gains = [1, 3, 1, 3, 1, 3, 1, 3]
    dice = {"base": range(10, 90, 10), "ours": [10 * (i + 1) + gain for i, gain in enumerate(gains)]}
    scores = _scores(
        {(m, "ct", "liver", "draw0", str(i)): ("found", d, 1.0) for m in dice for i, d in enumerate(dice[m])}
    )
    row = compare(scores, "ours", "base").iloc[0]
    assert (row["difference"], row["interval"], row["patients"]) == (2.0, "t", 8)
    assert (row["low"], row["high"]) == pytest.approx(_t_interval(gains))


def test_intervals_of_differences_stand_at_the_dice_means_alone(table):
    rows = add_difference_intervals(table, _scores(VALUES), "base")
    row = _row(rows, "ours", "ct", "mean", "dice")
    assert math.isnan(row["difference_low"])  # one patient
    two = pd.concat([_patients([70.0, 80.0], "base"), _patients([72.0, 86.0], "ours")])
    rows = add_difference_intervals(summarise(two, ["base", "ours"], ["liver"]), two, "base")
    assert rows["difference_low"].notna().sum() == 2  # CT, overall
    row = _row(rows, "ours", "ct", "mean", "dice")
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(_t_interval([2.0, 6.0]))


@pytest.mark.parametrize(("methods", "reference"), [(["base", "ours"], "literature"), (["base"], "base")])
def test_without_a_trained_pair_there_are_no_differences(methods, reference):
    scores = _scores(VALUES)
    scores = scores[scores["method"].isin(methods)]
    rows = add_difference_intervals(summarise(scores, methods, STRUCTURES), scores, reference)
    assert rows["difference_low"].isna().all() and rows["difference_high"].isna().all()


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


def _patients(values, method="ours", modality="ct", structure="liver", seed=0):
    """One result a patient: values by patient number."""
    return pd.DataFrame(
        {"grid": "native", "method": method, "modality": modality, "structure": structure, "split": "draw0",
         "seed": seed, "case": f"{modality}{i}", "status": "found", "dice": value, "asd_mm": 1.0}
        for i, value in enumerate(values)
    )  # fmt: skip


def _with_intervals(scores):
    methods = list(scores["method"].unique())
    return add_intervals(summarise(scores, methods, list(scores["structure"].unique())), scores)


SIX = [10.0, 20.0, 40.0, 50.0, 70.0, 90.0]


def _t_interval(values):
    """SciPy's own."""
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def test_an_interval_is_students_over_patients():
    row = _row(_with_intervals(_patients(SIX)), "ours", "ct", "liver", "dice")
    assert row["interval"] == "t" and (row["low"], row["high"]) == pytest.approx(_t_interval(SIX))


def test_all_results_of_a_patient_count_together():
    """Two results of each patient, one far above the other: their spread must not widen the interval."""
    twice = pd.concat([_patients([v - 9 for v in SIX]), _patients([v + 9 for v in SIX]).assign(split="draw1")])
    once, both = (_row(_with_intervals(s), "ours", "ct", "liver", "dice") for s in (_patients(SIX), twice))
    assert both["low"] == pytest.approx(once["low"]) and both["high"] == pytest.approx(once["high"])


def test_an_overall_interval_is_that_of_both_modalities_means():
    """Welch and Satterthwaite, by SciPy: the difference of two samples has the error of twice their mean."""
    other = [60.0, 61.0, 65.0, 70.0]
    overall = _row(
        _with_intervals(pd.concat([_patients(SIX), _patients(other, modality="mri")])),
        "ours",
        "overall",
        "mean",
        "dice",
    )
    expected = stats.ttest_ind(SIX, [-x for x in other], equal_var=False).confidence_interval(0.95)
    assert (2 * overall["low"], 2 * overall["high"]) == pytest.approx((expected.low, expected.high))


def test_one_patient_has_no_interval():
    row = _row(_with_intervals(_patients([50.0])), "ours", "ct", "mean", "dice")
    assert math.isnan(row["low"]) and row["interval"] == "none"


def _judged(gain, splits=5, others=1):
    """Baseline, and other methods with this gain in each of 12 + 12 patients and each of some splits; overall rows."""
    generator, scores = np.random.default_rng(0), []
    base = {m: generator.normal(70, 8, 12) for m in ("ct", "mri")}
    for split in range(splits):
        for method in ("base", *(f"method{i}" for i in range(others))):
            more = 0 if method == "base" else gain
            for m, values in base.items():
                found = values + more + generator.normal(0, 0.5, 12)
                scores.append(_patients(found, method, modality=m).assign(split=f"draw{split}"))
    scores = pd.concat(scores)
    table = add_verdicts(summarise(scores, list(scores["method"].unique()), ["liver"]), scores, "base", 27)
    table = add_first_shares(table, scores)
    return table.query("modality == 'overall' and metric == 'dice' and grid == 'native'").set_index("method")


@pytest.mark.parametrize(("gain", "verdict"), [(3.0, "helps"), (-3.0, "harms"), (0.0, "no effect above 1 point")])
def test_a_verdict_says_what_was_put_in(gain, verdict):
    rows = _judged(gain)
    assert rows["verdict"]["method0"] == verdict and math.isnan(rows["p"]["base"])
    assert rows["p_sign_flip"].notna().sum() == 1 and "by simulation wrong in" in rows["rule"]["method0"]


def test_the_share_of_first_places_adds_up():
    rows = _judged(3.0, others=2)
    assert rows["first"].sum() == pytest.approx(1.0) and rows["first"]["base"] == 0


def test_one_training_a_method_decides_nothing():
    """Its noise is in every patient's difference."""
    rows = _judged(3.0, splits=1)
    assert rows["verdict"]["method0"].startswith("undecided") and "no rule" in rows["rule"]["method0"]


def test_holms_correction():
    """Holm's steps by hand: 0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1 raised to the step before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_spread_over_seeds_is_apart_from_that_over_cases():
    """Seed means 30 and 40, whatever the cases do."""
    scores = pd.concat([_patients([10.0, 50.0], seed=0), _patients([20.0, 60.0], seed=1)])
    table = add_seed_spread(summarise(scores, ["ours"], ["liver"]), scores, ["ours"], ["liver"])
    row = _row(table, "ours", "ct", "liver", "dice")
    assert row["std_over_seeds"] == 5.0 and row["std"] == pytest.approx(np.std([10, 50, 20, 60]))
    alone = scores[scores["seed"] == 0]
    assert (
        add_seed_spread(summarise(alone, ["ours"], ["liver"]), alone, ["ours"], ["liver"])["std_over_seeds"]
        .isna()
        .all()
    )


def test_a_structure_that_was_never_found_has_no_interval():
    scores = _patients([0.0, 0.0, 0.0]).assign(status="missed", asd_mm=NAN)
    row = _row(_with_intervals(scores), "ours", "ct", "liver", "asd")
    assert math.isnan(row["low"]) and math.isnan(row["high"])


def test_patients_without_a_value_do_not_count_for_an_interval():
    """Six patients, two of whom nobody found the structure in."""
    scores = _patients(SIX).assign(asd_mm=[1.0, 2.0, 3.0, 4.0, NAN, NAN])
    row = _row(_with_intervals(scores), "ours", "ct", "liver", "asd")
    assert (row["low"], row["high"]) == pytest.approx(_t_interval([1.0, 2.0, 3.0, 4.0]))
