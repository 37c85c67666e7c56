"""Verdicts that hold their word: each test against SciPy or a closed form, and false positives by simulation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from ssc import matrix
from ssc.contrasts import (
    LEVEL,
    MOST_ERRORS,
    NO_RULE,
    NOISE,
    OF_INTEREST,
    SIMULATIONS,
    Contrast,
    Design,
    Rule,
    _dense,
    _welch,
    _without_difference,
    components,
    contrast,
    design_of,
    holm,
    judge,
    mixed,
    nadeau_bengio,
    noise_of,
    p_values,
    paired,
    power,
    rule_of,
    sign_flip,
    verdicts,
)
from ssc.results.tables import read_scores
from ssc.statistics import compare

KEPT = Path(__file__).parents[2] / "docs/results/real_small"
FAMILY = 7


def _folds(repeats, ct=30, mri=20, folds=5):
    """Every patient tested once a repeat, each repeat a new partition."""
    generator, parts = np.random.default_rng(repeats), {"ct": [], "mri": []}
    for _ in range(repeats):
        for m, count in (("ct", ct), ("mri", mri)):
            order = generator.permutation(count)
            parts[m] += [tuple(map(str, order[i::folds])) for i in range(folds)]
    return Design(("ct", "mri"), tuple(map(tuple, parts.values())), (ct + mri) / folds / 27)


def _draws():
    """The five draws of the abdomen, as their kept scores have them."""
    scores = read_scores(matrix.table_runs("table6", "real", "small", [0]), KEPT).query("grid == 'native'")
    return design_of(scores, 27), scores


DESIGNS = {
    "five draws": _draws()[0],
    "folds": _folds(1),
    "folds, 3 times": _folds(3),
    "folds, 4 times": _folds(4),
    "6 + 6 patients, 4 times": _folds(4, 6, 6, 3),
    "19 + 19 patients": _folds(1, 19, 19),
    "30 + 30 patients": _folds(1, 30, 30),
}


def _frame(values, modality="ct", splits=None):
    """One row a result: (patient, split) -> difference."""
    return pd.DataFrame(
        {"modality": modality, "patient": str(p), "split": f"draw{s}", "seed": 0, "difference": float(v)}
        for (p, s), v in values.items()
    )


def _once(ct, mri):
    return pd.concat(
        [_frame({(i, 0): v for i, v in enumerate(x)}, m) for m, x in (("ct", ct), ("mri", mri))], ignore_index=True
    )


CT, MRI = [1.0, 2.5, -0.5, 3.0, 0.7], [0.2, 1.9, 2.2]


def test_welchs_p_is_scipys_at_half_the_level():
    found = contrast(_once(CT, MRI), 0.4)
    theirs = stats.ttest_ind(CT, [-x for x in MRI], equal_var=False)
    assert found.difference == pytest.approx((np.mean(CT) + np.mean(MRI)) / 2)
    assert found.p["welch"] == pytest.approx(min(1, 2 * theirs.pvalue))
    expected = theirs.confidence_interval(0.95)
    assert (2 * found.low, 2 * found.high) == pytest.approx((expected.low, expected.high))


def test_signs_are_flipped_as_scipy_flips_them():
    """All 2^8 signs, in SciPy."""
    shares = [np.array(CT) / len(CT) / 2, np.array(MRI) / len(MRI) / 2]
    exact = stats.permutation_test(
        (np.concatenate(shares),), np.sum, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
    )
    assert float(sign_flip(shares)) == pytest.approx(exact.pvalue, abs=0.02)


def test_nadeau_and_bengios_p_by_hand():
    splits = np.array([1.0, 2.0, 0.5, 1.5])
    t = 1.25 / np.sqrt(splits.var(ddof=1) * (1 / 4 + 0.3))
    assert float(nadeau_bengio(splits, 0.3)) == pytest.approx(2 * stats.t.sf(t, 3))
    assert float(nadeau_bengio(splits[:1], 0.3)) == 1.0


def test_crossed_errors_are_the_literal_sums():
    """Clusters of patients, of splits, and single results, one by one (Cameron, Gelbach and Miller, 2011)."""
    generator = np.random.default_rng(3)
    rows = []
    for m, people in (("ct", 6), ("mri", 4)):
        run = generator.normal(0, 4, 3)  # so large that splits matter
        rows.append(_frame({(p, s): run[s] + generator.normal() for p in range(people) for s in range(3)}, m))
    differences = pd.concat(rows, ignore_index=True)
    pulls = differences.assign(
        pull=lambda d: (
            (d["difference"] - d.groupby("modality")["difference"].transform("mean"))
            / d.groupby("modality")["difference"].transform("size")
            / 2
        )
    )
    variance = 0.0
    for _, own in pulls.groupby("modality"):
        n, people = len(own), own["patient"].nunique()
        variance += (own.groupby("patient")["pull"].sum() ** 2).sum() * people / (people - 1)
        variance -= (own["pull"] ** 2).sum() * n / (n - 1)
    variance += (pulls.groupby("split")["pull"].sum() ** 2).sum() * 3 / 2
    found = contrast(differences, 0.4)
    means = [own.groupby("patient")["difference"].mean() for _, own in differences.groupby("modality")]
    alone = [m.var(ddof=1) / len(m) / 4 for m in means]
    freedom = sum(alone) ** 2 / sum(v**2 / (len(m) - 1) for v, m in zip(alone, means, strict=True))
    assert variance > 2 * sum(alone)  # the patients' own error is far too small here
    assert found.p["two_way"] == pytest.approx(2 * stats.t.sf(abs(found.difference) / np.sqrt(variance), freedom))


def test_a_patient_in_two_draws_counts_as_one():
    once = contrast(_once(CT, MRI), 0.4)
    twice = pd.concat([_once(CT, MRI).assign(split=f"draw{i}") for i in range(2)])
    again = contrast(twice, 0.4)
    assert (again.low, again.high, again.p["welch"]) == pytest.approx((once.low, once.high, once.p["welch"]))


def _found(difference, p, q):
    return Contrast(difference, 0, 0, {"welch": p}, {"welch": q})


def test_verdicts_are_corrected_over_their_family():
    rule = Rule("welch", {}, {}, {})
    assert verdicts([_found(2, 0.04, 1)], rule) == ["helps"]
    assert verdicts([_found(2, 0.04, 1), _found(-2, 0.04, 1)], rule) == ["undecided"] * 2
    assert verdicts([_found(-2, 0.001, 1), _found(0.1, 0.9, 0.02)], rule) == ["harms", "no effect above 1 point"]
    assert verdicts([_found(2, 0.0, 1)], Rule(None, {}, {}, {})) == [NO_RULE]


def test_an_effect_of_a_point_is_not_called_none():
    """At the very edge, with a true effect of 1 point, «no effect above 1 point» errs as seldom as its level says."""
    design, rule, wrong, tries = _folds(4), Rule("two_way", {}, {}, {}), 0, 300
    results = _without_difference(design, 1, tuple(NOISE.values()))
    for place in range(tries):
        frames = [
            _frame({(p, s): v[p, s, place] + OF_INTEREST for p, s in zip(*np.nonzero(t), strict=True)}, m)
            for m, (v, t) in zip(design.modalities, results, strict=True)
        ]
        found = contrast(pd.concat(frames, ignore_index=True), design.tested_share)
        wrong += verdicts([found], rule) == ["no effect above 1 point"]
    assert wrong / tries <= MOST_ERRORS


def test_equal_methods_have_no_effect():
    found = contrast(_once([0.0] * 5, [0.0] * 4), 0.4)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert verdicts([found], Rule("welch", {}, {}, {})) == ["no effect above 1 point"]


def test_a_structure_that_few_show_weighs_as_in_the_tables():
    rows = [("liver", p, -2.0) for p in range(6)] + [("spleen", p, 12.0) for p in range(2)]
    scores = pd.DataFrame(
        {"grid": "native", "modality": "ct", "patient": str(p), "case": str(p), "structure": s, "split": "draw0",
         "seed": 0, "method": m, "dice": 80 + (d if m == "ours" else 0)}
        for s, p, d in rows for m in ("ours", "base")
    )  # fmt: skip
    assert paired(scores, "ours", "base")["difference"].mean() == pytest.approx((-2 + 12) / 2)


def test_a_patient_who_lacks_a_structure_is_as_wide_in_both_ways():
    """The interval of contrasts is that of the tables, also where structures are absent."""
    generator, rows = np.random.default_rng(2), []
    for m in ("ct", "mri"):
        for p in range(9):
            for s in ("liver", "spleen")[: 1 + (p % 3 > 0)]:
                place = {"grid": "native", "modality": m, "patient": str(p), "case": str(p), "structure": s,
                         "split": "draw0", "seed": 0}  # fmt: skip
                gain = generator.normal({"liver": -2, "spleen": 12}[s])
                rows += [{**place, "method": "base", "dice": 80.0}, {**place, "method": "ours", "dice": 80 + gain}]
    scores = pd.DataFrame(rows)
    found, table = contrast(paired(scores, "ours", "base"), 0.4), compare(scores, "ours", "base").iloc[-1]
    assert (found.difference, found.low, found.high) == pytest.approx((table.difference, table.low, table.high))
    of_patients = paired(scores, "ours", "base").query("modality == 'ct'")["difference"]
    assert of_patients.between(2, 8).all()  # none is far from the mean, 5, for want of a structure


def _with_rare_structures(shown, patients=8, seed=3):
    """Scores of two methods; of each structure's Dice, the first so many patients show it."""
    generator, rows = np.random.default_rng(seed), []
    for m in ("ct", "mri"):
        for structure, count in shown.items():
            for p in range(patients):
                place = {"grid": "native", "modality": m, "patient": str(p), "case": str(p), "structure": structure,
                         "split": f"draw{p % 2}", "seed": 0}  # fmt: skip
                gain = generator.normal(1, 4) if p < count else np.nan
                rows += [{**place, "method": "base", "dice": 80.0}, {**place, "method": "ours", "dice": 80 + gain}]
    return pd.DataFrame(rows)


def test_structures_that_few_show_vary_as_the_jackknife_says():
    """Each patient left out in turn, and the mean of the structures' means taken anew."""
    scores = _with_rare_structures({"liver": 8, "spleen": 5, "lesion": 3})
    differences, variance = paired(scores, "ours", "base"), 0.0
    for _, own in scores.query("method == 'ours'").groupby("modality"):
        means = [
            (own.loc[own["patient"] != p].groupby("structure")["dice"].mean() - 80).mean()
            for p in own["patient"].unique()
        ]
        variance += (len(means) - 1) * np.var(means) / 4
    assert _welch(_dense(differences))[1] ** 2 == pytest.approx(variance)
    found = contrast(differences, 0.4)
    table = compare(scores, "ours", "base").iloc[-1]
    assert (found.difference, found.low, found.high) == pytest.approx((table.difference, table.low, table.high))


@pytest.mark.parametrize("count", [1, 2])
def test_a_structure_in_one_patient_or_two_leaves_it_undecided(count):
    """However sure all others look: in simulation each rule errs too often there."""
    scores = _with_rare_structures({"liver": 8, "lesion": count})
    scores["dice"] += 30 * (scores["method"] == "ours")
    found = judge([paired(scores, "ours", "base")], design_of(scores[scores["method"] == "ours"], 10))
    assert found.verdicts == [NO_RULE] and np.isnan(found.p[0]) and np.isnan(found.contrasts[0].low)
    assert str(found.rule) == "no rule: fewer than 3 patients show ct lesion, mri lesion"
    assert compare(scores, "ours", "base").iloc[-1]["interval"] == ("none" if count == 1 else "t")


def test_a_mixed_model_says_nothing_where_nothing_repeats():
    each = _frame({(i, i): v for i, v in enumerate(CT)})  # a training a patient
    one = _frame({(i, 0): v for i, v in enumerate(CT)})  # one training
    explained = _frame({(i, i // 2): v for i, v in enumerate([1.0, 1.0, 2.0, 2.0, 4.0, 4.0])})
    for frame in (each, one, explained, one.iloc[:1]):
        assert np.isnan(mixed(frame).p)


def test_a_split_without_a_modality_is_no_zero():
    both = _once(CT, MRI).assign(split=[f"draw{i % 2}" for i in range(8)])
    alone = _frame({(9, 7): 2.0})
    together = pd.concat([both, alone], ignore_index=True)
    assert contrast(together, 0.4).p["nadeau_bengio"] == contrast(both, 0.4).p["nadeau_bengio"]


@pytest.mark.parametrize("name", DESIGNS)
def test_families_without_a_difference_have_few_false_verdicts(name):
    """Noise drawn anew, not that which the rule was chosen by."""
    design = DESIGNS[name]
    rule = rule_of(design, FAMILY)
    assert rule.name is not None and max(rule.false_positives[rule.name], rule.denied[rule.name]) <= MOST_ERRORS
    generator, results = np.random.default_rng(17), []
    for number, modality in enumerate(design.modalities):
        tested = design.incidence(number)
        patients, splits = tested.shape
        drawn = 0.0
        for variance, extent in zip(NOISE[modality], ((patients, 1), (1, splits), tested.shape), strict=True):
            methods = generator.normal(size=(*extent, SIMULATIONS, FAMILY))
            reference = generator.normal(size=(*extent, SIMULATIONS, 1))
            drawn = drawn + np.sqrt(variance / 2) * (methods - reference)
        results.append(((drawn * tested[..., None, None]).reshape(*tested.shape, -1), tested))
    p = p_values(results, design.tested_share)[rule.name].reshape(SIMULATIONS, FAMILY)
    wrong = np.mean([min(holm(family)) <= LEVEL for family in p])
    assert wrong <= MOST_ERRORS + 0.015  # of the simulation's own chance
    shifted = [(v + OF_INTEREST * t[..., None], t) for v, t in results]
    both = [  # a whole point in every contrast: above -1 and below 1?
        p_values([(v + side * OF_INTEREST * t[..., None], t) for v, t in shifted], design.tested_share, side)
        for side in (1, -1)
    ]
    alike = np.maximum(*(one[rule.name] for one in both)).reshape(SIMULATIONS, FAMILY)
    assert np.mean([min(holm(family)) <= LEVEL for family in alike]) <= MOST_ERRORS + 0.015


def test_four_repeats_find_what_the_paper_prints():
    chances = power(_folds(4), FAMILY, 1.8)
    assert chances[rule_of(_folds(4), FAMILY).name] > 0.9
    assert power(_folds(1), FAMILY, 1.8)["nadeau_bengio"] < 0.1


def test_the_noise_is_that_of_the_kept_results():
    _, scores = _draws()
    methods = list(scores["method"].unique())
    found = {m: [] for m in NOISE}
    for i, a in enumerate(methods):
        for b in methods[i + 1 :]:
            for m, own in paired(scores, a, b).groupby("modality"):
                found[m].append(components(own))
    for m, values in found.items():
        assert np.maximum(np.mean(values, axis=0), 0) == pytest.approx(NOISE[m], rel=0.03, abs=0.01)


def _restricted_likelihood(variances, y, parts):
    """−2 log REML of one mean up to a constant, the mean and its variance, literally (Patterson and Thompson, 1971)."""
    V = sum(v * Z @ Z.T for v, Z in zip(variances, parts, strict=True))
    inverse = np.linalg.inv(V)
    variance = 1 / inverse.sum()
    mean = variance * inverse.sum(axis=0) @ y
    value = np.linalg.slogdet(V)[1] - np.log(variance) + (y - mean) @ inverse @ (y - mean)
    return value, mean, variance


def _by_search(differences):
    """Mean and its variance of one modality, by a search over the logarithms of the three variances."""
    dummies = lambda name: pd.get_dummies(differences[name]).to_numpy(float)  # noqa: E731
    y, parts = differences["difference"].to_numpy(), (dummies("patient"), dummies("split"), np.eye(len(differences)))
    best = optimize.minimize(
        lambda logs: _restricted_likelihood(np.exp(logs), y, parts)[0], np.zeros(3), method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 5000},
    )  # fmt: skip
    return _restricted_likelihood(np.exp(best.x), y, parts)[1:]


@pytest.mark.parametrize("patients_differ", [True, False])
def test_the_mixed_model_is_restricted_maximum_likelihood(patients_differ):
    """Patients and trainings crossed, MRI three times as noisy, against a search; the patients' variance may be 0."""
    generator, rows = np.random.default_rng(5), []
    for m, people, noise in (("ct", 10, 1), ("mri", 7, 3)):
        training = generator.normal(0, 1.5 * noise, 12)
        values = {
            (p, s): 1 + training[s] + generator.normal(0, noise)
            for p in range(people)
            for s in range(12)
            if (p + s) % 3 == 0
        }
        own = pd.Series(values).groupby(level=0).mean()
        patient = generator.normal(0, 2, people) if patients_differ else 1 - own  # alike beyond all chance
        rows.append(_frame({(p, s): value + patient[p] for (p, s), value in values.items()}, m))
    means, variances = zip(*map(_by_search, rows), strict=True)
    mean, error = np.mean(means), np.sqrt(sum(variances)) / 2
    width = stats.norm.ppf(0.975) * error
    found = mixed(pd.concat(rows, ignore_index=True))
    assert (found.difference, found.low, found.high) == pytest.approx((mean, mean - width, mean + width), abs=1e-3)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(mean) / error), abs=1e-3)


def test_power_knows_the_noise_that_there_was():
    quiet, loud = (((0.0, v, v), (0.0, v, v)) for v in (0.01, 10.0))
    assert power(_folds(4), FAMILY, 1.0, quiet)["two_way"] == 1.0 > power(_folds(4), FAMILY, 1.0, loud)["two_way"]
    values = {(p, s): 3.0 * (p == s) for p in range(4) for s in range(4)}
    one = pd.concat([_frame(values, m) for m in ("ct", "mri")])
    half = 2.25, 2.25, 1.5  # squared distances within patients, within splits, of neither, by hand; halved
    assert noise_of([one], ("ct", "mri")) == ((0.0, 0.0, half[0] + half[1] - half[2]),) * 2


def test_what_nothing_can_be_said_of_is_no_number():
    once, same = _once(CT, MRI), _once([0.0] * 5, [0.0] * 4)
    assert np.isnan(power(_folds(1), FAMILY, 1.0, noise_of([once], ("ct", "mri")))["welch"])
    assert np.isnan(mixed(same).difference) and np.isnan(mixed(once).difference)


def test_components_of_a_made_up_design():
    generator = np.random.default_rng(0)
    people, runs = generator.normal(0, 3, 60), generator.normal(0, 2, 60)
    values = {
        (p, s): people[p] + runs[s] + generator.normal() for p in range(60) for s in range(60) if (p + s) % 4 == 0
    }
    assert components(_frame(values)) == pytest.approx((people.var(), runs.var(), 1.0), rel=0.15)
