"""One method against another: difference, interval, tests, and a verdict by a rule that simulation has chosen.

A patient is tested in several draws, folds or repeats, and each training brings noise of its own. The candidates:

- ``welch``: t over patients, all results of one together; modalities by Welch and Satterthwaite; at half the level
- ``two_way``: the same at the whole level, its variance that of patients and splits crossed where that is larger
- ``sign_flip``: signs of all results of a patient flipped at random
- ``nadeau_bengio``: t over splits, its variance corrected for training sets that overlap (Nadeau & Bengio, 2003)

Which one a design of patients and splits may use is decided before any score is seen: one that errs in at most 8 %
of families after Holm's correction, with the noise of our own kept results, both where there is no difference and
where a difference is not to be called none; of several the one with most power. No torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
MOST_ERRORS = 0.08  # share of families
OF_INTEREST = 1.0  # points of overall Dice; a smaller effect is none
RULES = ("welch", "two_way", "sign_flip", "nadeau_bengio")
SPOKEN = {
    "welch": "Welch's t at half the level",
    "two_way": "t over people and splits, crossed",
    "sign_flip": "randomly flipped signs",
    "nadeau_bengio": "Nadeau and Bengio's t over splits",
}
NO_RULE = "undecided: no rule holds"
PRINTED = 1.8  # points that the paper prints for its consistency terms (Table 6): what a rule's power is compared at
FEWEST = 3  # patients; of a structure that fewer of a modality show, a simulated rule errs too often
FLIPS, SIMULATIONS, BLOCK = 1999, 2000, 2000
Noise = tuple[tuple[float, float, float], ...]
# Variance of a difference of two methods' Dice (points²) of one patient: of the patient, of the pair of trainings, of
# the rest; in a Noise, of each modality. Means over the 28 pairs of Table 6's methods, five draws of real scans, small
# scale, by moments (docs/results/real_small; `components`); negative ones are 0. Modalities of other tasks have the
# wider one.
NOISE = {"ct": (0.0, 0.41, 5.32), "mri": (0.0, 3.61, 17.4)}
OTHERS_NOISE = NOISE["mri"]

# Of one modality: values (patients, splits, …), and which of them there are (patients, splits); the others are 0.
Results = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Design:
    """Who is tested where: for each modality, in its order, the patients of every split; and how much trains them."""

    modalities: tuple[str, ...]
    tested: tuple[tuple[tuple[str, ...], ...], ...]  # modality -> split -> patients
    tested_share: float  # test results over training cases of a split, of all modalities
    rare: tuple[str, ...] = ()  # structures that fewer than ``FEWEST`` patients of a modality show, and others lack

    def incidence(self, modality: int) -> np.ndarray:
        """Which patient (rows) is tested in which split (columns): 1, else 0."""
        patients = list(dict.fromkeys(p for split in self.tested[modality] for p in split))
        return np.array([[float(p in split) for split in self.tested[modality]] for p in patients])


@dataclass(frozen=True)
class Rule:
    """The test that decides verdicts of a design, and how every candidate fares in simulated families."""

    name: str | None  # None: no candidate is cautious enough
    false_positives: dict[str, float]  # share of families without a difference in which one is found
    denied: dict[str, float]  # share of families of effects of ``OF_INTEREST`` in which one is called none
    power: dict[str, float]  # for a difference of ``PRINTED`` points
    rare: tuple[str, ...] = ()  # the design's, where they are why there is none

    def __str__(self) -> str:
        if self.rare:
            return f"no rule: fewer than {FEWEST} patients show {', '.join(self.rare)}"
        if self.name is None:
            least = min(self.false_positives.values())
            return (
                "no rule: in simulation each errs in too many families without a difference, or finds nothing; one "
                f"training's noise is in all of its patients (least errors {100 * least:.1f} %)"
            )
        wrong, right = self.false_positives[self.name], self.power[self.name]
        return (
            f"{SPOKEN[self.name]}, by simulation wrong in {100 * wrong:.1f} % of families without a "
            f"difference, and finding {PRINTED:g} points in {100 * right:.0f} %"
        )


@dataclass(frozen=True)
class Mixed:
    """A contrast by a mixed model: difference, 95 % interval and p, by the normal distribution; NaN: no fit."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Contrast:
    """A contrast in points: its difference, 95 % t interval over patients, and the p-values of every rule."""

    difference: float
    low: float
    high: float
    p: dict[str, float]
    p_equivalent: dict[str, float]  # of an effect of ``OF_INTEREST`` or more, either way


@dataclass(frozen=True)
class Judged:
    """A family of contrasts by the rule of its design: p is Holm-corrected, NaN where there is no rule."""

    rule: Rule
    contrasts: list[Contrast]
    p: list[float]
    verdicts: list[str]


def judge(differences: Sequence[pd.DataFrame], design: Design, rule: Rule | None = None) -> Judged:
    """A family of contrasts, each as from ``paired``; ``rule``: another design's, instead of its own."""
    if rule is None or design.rare:
        rule = rule_of(design, len(differences))
    found = [contrast(own, design.tested_share) for own in differences]
    if design.rare:  # too few show it to say how it varies
        found = [replace(own, low=float("nan"), high=float("nan")) for own in found]
    corrected = holm([f.p[rule.name] for f in found]) if rule.name else [float("nan")] * len(found)
    return Judged(rule, found, corrected, verdicts(found, rule))


def design_of(scores: pd.DataFrame, train_cases: float) -> Design:
    """The design behind some scores (columns modality, patient, split, seed); ``train_cases``: a split's, all kinds."""
    splits = sorted({*zip(scores["split"], scores["seed"], strict=True)})
    modalities = tuple(dict.fromkeys(scores["modality"]))
    groups = {
        key: tuple(sorted(set(group["patient"].astype(str))))
        for key, group in scores.groupby(["modality", "split", "seed"])
    }
    tested = tuple(tuple(groups.get((m, *split), ()) for split in splits) for m in modalities)
    count = sum(len(patients) for of_modality in tested for patients in of_modality) / len(splits)
    return Design(modalities, tested, count / train_cases, tuple(_rare(scores)))


def _rare(scores: pd.DataFrame) -> Iterator[str]:
    for modality, rows in scores.groupby("modality", sort=False):
        people = rows["patient"].nunique()
        for structure, own in rows.groupby("structure", sort=False):
            if own.loc[own["dice"].notna(), "patient"].nunique() < min(FEWEST, people):
                yield f"{modality} {structure}"


def structure_differences(scores: pd.DataFrame, method: str, reference: str, grid: str = "native") -> pd.DataFrame:
    """Dice of ``method`` less that of ``reference``: one row a result and structure, without those that one lacks.

    Columns modality, patient, split, seed, case, structure, difference.
    """
    place = ["modality", "patient", "split", "seed", "case", "structure"]
    dice = scores[scores["grid"] == grid].set_index([*place, "method"])["dice"].unstack("method")
    return (dice[method] - dice[reference]).dropna().rename("difference").reset_index()


def paired(scores: pd.DataFrame, method: str, reference: str, grid: str = "native") -> pd.DataFrame:
    """The ``structure_differences`` of each result, over structures.

    Columns modality, patient, split, seed, difference. Where every patient shows every structure, the mean over them.
    Else a pseudo-value as the jackknife has it, since each structure has the same weight in a modality's mean, however
    many show it, as in the tables: the modality's mean and the structures' distances to theirs, each the larger the
    fewer patients show it.
    """
    each = structure_differences(scores, method, reference, grid)
    result = ["modality", "patient", "split", "seed"]
    modality, structure = each.groupby("modality"), each.groupby(["modality", "structure"])
    results = each["modality"].map(each.drop_duplicates(result).groupby("modality").size())
    people, own = modality["patient"].transform("nunique"), structure["patient"].transform("nunique")
    distance = each["difference"] - structure["difference"].transform("mean")
    distance *= results / structure["difference"].transform("size") / modality["structure"].transform("nunique")
    distance *= ((people - 1) * own) / (people * (own - 1).clip(lower=1))
    found = each.assign(difference=distance).groupby(result, sort=False)["difference"].sum().reset_index()
    mean = structure["difference"].mean().groupby("modality").mean()
    return found.assign(difference=found["difference"] + found["modality"].map(mean))


def contrast(differences: pd.DataFrame, tested_share: float) -> Contrast:
    """The overall difference, mean of the modalities' means over results; ``differences`` as from ``paired``."""
    results = _dense(differences)
    mean, error, freedom = _welch(results)
    width = float(stats.t.ppf(0.975, freedom) * error) if error > 0 else float(error)
    equivalent = [
        p_values([((v + side * OF_INTEREST) * t, t) for v, t in results], tested_share, side) for side in (1, -1)
    ]
    return Contrast(
        float(mean),
        float(mean) - width,
        float(mean) + width,
        {name: float(p) for name, p in p_values(results, tested_share).items()},
        {name: max(float(p[name]) for p in equivalent) for name in equivalent[0]},
    )


def mixed(differences: pd.DataFrame) -> Mixed:
    """The overall difference with patients and trainings as crossed random effects, by REML (statsmodels).

    A model a modality, since their noise differs; ``differences`` as from ``paired``.
    """
    means, variances = zip(*[_mixed_mean(own) for _, own in differences.groupby("modality", sort=False)], strict=True)
    mean, error = float(np.mean(means)), float(np.sqrt(sum(variances))) / len(means)
    if not error > 0:  # nothing varies, or nothing was fitted
        return Mixed(*[float("nan")] * 4)
    width = float(stats.norm.ppf(0.975)) * error
    return Mixed(mean, mean - width, mean + width, float(2 * stats.norm.sf(abs(mean) / error)))


def _mixed_mean(rows: pd.DataFrame) -> tuple[float, float]:
    """The mean of one modality's differences and its variance; NaN where nothing repeats, or the fit fails."""
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning  # takes a second, and few commands need it

    rows = rows.assign(
        person=rows["patient"].astype(str), training=rows["split"].astype(str) + " " + rows["seed"].astype(str)
    )
    effects = {name: f"0 + C({name})" for name in ("person", "training") if rows[name].duplicated().any()}
    if not effects or rows[["person", "training"]].nunique().min() < 2:
        return float("nan"), float("nan")
    if np.ptp(rows["difference"]) == 0:  # nothing varies, so there is nothing to fit
        return float(rows["difference"].iloc[0]), 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a variance of 0 lies on the edge, where gradients fail
        model = MixedLM.from_formula(
            "difference ~ 1", rows, groups=np.ones(len(rows)), re_formula="0", vc_formula=effects
        )
        try:
            fit = model.fit(reml=True, method="powell", ftol=1e-12)
        except np.linalg.LinAlgError:  # the trainings explain all
            return float("nan"), float("nan")
    if not fit.converged:
        return float("nan"), float("nan")
    spread = fit.scale * np.eye(len(rows))
    spread += sum(variance * part[0] @ part[0].T for variance, part in zip(fit.vcomp, model.exog_vc.mats, strict=True))
    # Of generalised least squares, as lme4 has it; statsmodels' own takes the observed information.
    ones = np.ones(len(rows))
    return float(fit.fe_params.iloc[0]), 1 / float(ones @ np.linalg.solve(spread, ones))


def _dense(differences: pd.DataFrame) -> list[Results]:
    found = []
    splits = differences.groupby(["split", "seed"]).size().index
    for _, own in differences.groupby("modality", sort=False):
        wide = own.set_index(["patient", "split", "seed"])["difference"].unstack(["split", "seed"])
        wide = wide.reindex(columns=splits)
        found.append((wide.fillna(0.0).to_numpy(), wide.notna().to_numpy(float)))
    return found


def p_values(results: Sequence[Results], tested_share: float, side: int = 0) -> dict[str, np.ndarray]:
    """p of every rule that the overall mean is not 0; ``side`` 1: that it is above 0, -1: below."""
    mean, error, freedom = _welch(results)
    crossed = np.maximum(error, _crossed_error(results))
    return {
        "welch": np.minimum(1.0, 2 * _p_of_t(mean, error, freedom, side)),
        "two_way": _p_of_t(mean, crossed, freedom, side),
        "sign_flip": sign_flip([v.sum(axis=1) / t.sum() / len(results) for v, t in results], side),
        "nadeau_bengio": nadeau_bengio(_by_split(results), tested_share, side),
    }


def _by_split(results: Sequence[Results]) -> np.ndarray:
    """Mean of the modalities' means over a split's patients, (splits, …); without splits that lack a modality."""
    full = np.all([t.sum(axis=0) > 0 for _, t in results], axis=0)
    return np.mean([v[:, full].sum(axis=0) / _like(t[:, full].sum(axis=0), v[0]) for v, t in results], axis=0)


def _like(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape, *(1,) * (values.ndim - x.ndim))


def _welch(results: Sequence[Results]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the modalities' means over results, its standard error and Welch-Satterthwaite's degrees of freedom.

    A patient's results stand or fall together. NaN where a modality has one patient.
    """
    mean, parts, people = 0.0, [], [len(v) for v, _ in results]
    for values, tested in results:
        weights = tested.sum(axis=1) / tested.sum()  # of a patient
        own = values.sum(axis=(0, 1)) / tested.sum() / len(results)
        pull = values.sum(axis=1) / tested.sum() / len(results) - own * _like(weights, values[:, 0])
        mean = mean + own
        parts.append((pull**2).sum(axis=0) * len(values) / max(len(values) - 1, 1))
    total, alone = sum(parts), min(people) < 2
    spread = sum(v**2 / max(n - 1, 1) for v, n in zip(parts, people, strict=True))
    error = np.where(alone, np.nan, np.sqrt(total))
    return mean, error, np.where(alone, np.nan, total**2 / np.where(spread > 0, spread, np.nan))


def _crossed_error(results: Sequence[Results]) -> np.ndarray:
    """Standard error of the overall mean with results clustered by patients and by splits (Cameron et al., 2011)."""
    k, by_split, by_patient, single = len(results), 0.0, 0.0, 0.0
    for values, tested in results:
        people, count = len(values), tested.sum()
        mean = values.sum(axis=(0, 1)) / count
        pull = (values - mean) * _like(tested / count / k, values)  # of each result on the overall mean
        by_split = by_split + pull.sum(axis=0)
        by_patient = by_patient + (pull.sum(axis=1) ** 2).sum(axis=0) * people / max(people - 1, 1)
        single = single + (pull**2).sum(axis=(0, 1)) * count / max(count - 1, 1)
    splits = len(by_split)
    between = (by_split**2).sum(axis=0) * splits / max(splits - 1, 1)
    return np.sqrt(np.maximum(by_patient + between - single, 0))


def _p_of_t(mean: np.ndarray, error: np.ndarray, freedom: np.ndarray, side: int) -> np.ndarray:
    """Of a t statistic; 1 where nothing can be said."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / error
        p = stats.t.sf(side * t, freedom) if side else 2 * stats.t.sf(abs(t), freedom)
    certain = np.where((side * mean > 0) if side else (mean != 0), 0.0, 1.0)  # all patients alike
    return np.where(error == 0, certain, np.where(np.isfinite(p), p, 1.0))


@cache
def _signs(patients: int) -> np.ndarray:
    """Random signs (FLIPS, patients), the same for every contrast of a design."""
    return np.random.default_rng(0).choice((-1.0, 1.0), (FLIPS, patients))


def sign_flip(shares: Sequence[np.ndarray], side: int = 0) -> np.ndarray:
    """p of a mean over random signs of the patients' shares in it, (n, …) of each modality; the shares add up to it."""
    values = np.concatenate(shares)
    columns = values.reshape(len(values), -1)
    reached = np.empty(columns.shape[1])
    for start in range(0, len(reached), BLOCK):  # all at once take a gigabyte
        block = columns[:, start : start + BLOCK]
        found, flipped = block.sum(axis=0), _signs(len(values)) @ block
        found, flipped = (side * found, side * flipped) if side else (abs(found), abs(flipped))
        reached[start : start + BLOCK] = (flipped >= found - 1e-9).sum(axis=0)
    return ((1 + reached) / (FLIPS + 1)).reshape(values.shape[1:])


def nadeau_bengio(splits: np.ndarray, tested_share: float, side: int = 0) -> np.ndarray:
    """p of the mean over splits (J, …), its variance s² (1/J + test results over training cases); 1 for one split."""
    count = len(splits)
    if count < 2:
        return np.ones(splits.shape[1:])
    error = np.sqrt(splits.var(axis=0, ddof=1) * (1 / count + tested_share))
    return _p_of_t(splits.mean(axis=0), error, np.float64(count - 1), side)


def verdicts(found: Sequence[Contrast], rule: Rule) -> list[str]:
    """A verdict for each contrast of a family, Holm-corrected: helps, harms, no effect above 1 point, or undecided."""
    if rule.name is None:
        return [NO_RULE] * len(found)
    differs = holm([f.p[rule.name] for f in found])
    alike = holm([f.p_equivalent[rule.name] for f in found])
    return [_verdict(f.difference, p, q) for f, p, q in zip(found, differs, alike, strict=True)]


def _verdict(difference: float, p: float, p_equivalent: float) -> str:
    if p <= LEVEL:
        return "helps" if difference > 0 else "harms"
    return f"no effect above {OF_INTEREST:g} point" if p_equivalent <= LEVEL else "undecided"


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values (Holm, 1979)."""
    order = np.argsort(values)
    steps = np.maximum.accumulate(np.array(values)[order] * np.arange(len(values), 0, -1))
    return np.minimum(1.0, steps[np.argsort(order)]).tolist()


@cache
def rule_of(design: Design, family: int) -> Rule:
    """The rule of most power that seldom errs in families of so many contrasts: see ``Rule``."""
    if design.rare:
        return Rule(None, {}, {}, {}, design.rare)
    noise = _without_difference(design, family, _kept_noise(design))

    def wrong(side: int = 0) -> dict[str, float]:
        found = p_values(noise, design.tested_share, side)
        rejected = {n: p.reshape(SIMULATIONS, family).min(axis=1) * family <= LEVEL for n, p in found.items()}
        return {name: float(families.mean()) for name, families in rejected.items()}  # by Holm's first step

    # An effect of just OF_INTEREST is denied where the noise alone lies below 0: the other side's test always rejects.
    errors, denied, chances = wrong(), wrong(-1), power(design, family, PRINTED)
    kept = [n for n in RULES if max(errors[n], denied[n]) <= MOST_ERRORS and chances[n] > 0]
    return Rule(max(kept, key=chances.get, default=None), errors, denied, chances)


def _kept_noise(design: Design) -> Noise:
    return tuple(NOISE.get(modality, OTHERS_NOISE) for modality in design.modalities)


@lru_cache(maxsize=2)  # each some 100 MB
def _without_difference(design: Design, family: int, noise: Noise) -> tuple[Results, ...]:
    """Made-up differences, (patients, splits, SIMULATIONS · family) of each modality.

    Every contrast is of a method of its own with one common reference, whose noise all contrasts of a family share.
    """
    generator, results = np.random.default_rng(0), []
    for number, of_modality in enumerate(noise):
        tested = design.incidence(number)
        method, reference = (_of_a_method(generator, tested.shape, of_modality, count) for count in (family, 1))
        drawn = (method - reference).reshape(*tested.shape, -1)
        results.append((drawn * tested[..., None], tested))
    return tuple(results)


def _of_a_method(
    generator: np.random.Generator, shape: tuple[int, int], noise: tuple[float, float, float], count: int
) -> np.ndarray:
    """Noise of a method's Dice (patients, splits, SIMULATIONS, count): half of a difference's variance."""
    patients, splits = shape
    drawn = np.zeros((patients, splits, SIMULATIONS, count), np.float32)
    for variance, extent in zip(noise, ((patients, 1), (1, splits), shape), strict=True):
        if variance:
            normal = generator.standard_normal((*extent, SIMULATIONS, count), dtype=np.float32)
            drawn += np.float32(np.sqrt(variance / 2)) * normal
    return drawn


def power(design: Design, family: int, effect: float, noise: Noise | None = None) -> dict[str, float]:
    """Chance of every rule to find one contrast with this effect (points) among others without any, after Holm.

    ``noise``: instead of ``NOISE``, which rules are chosen by.
    """
    noise = noise or _kept_noise(design)
    if np.isnan(noise).any():  # nothing can be said of a single split
        return dict.fromkeys(RULES, float("nan"))
    results = _without_difference(design, family, noise)
    shift = np.tile(np.eye(family)[0] * effect, SIMULATIONS)
    shifted = [((v + shift) * t[..., None], t) for v, t in results]
    chances = {}
    for name, p in p_values(shifted, design.tested_share).items():
        p = p.reshape(SIMULATIONS, family)
        order = np.sort(p, axis=1)
        adjusted = np.maximum.accumulate(order * np.arange(family, 0, -1), axis=1)
        place = (order < p[:, :1]).sum(axis=1)
        chances[name] = float((adjusted[np.arange(len(p)), place] <= LEVEL).mean())
    return chances


def noise_of(contrasts: Sequence[pd.DataFrame], modalities: Sequence[str]) -> Noise:
    """Variances of some contrasts' differences, means over contrasts; negative ones are 0. NaN: a part never stands
    alone, as in a single split."""
    found = np.array([[components(d[d["modality"] == m]) for m in modalities] for d in contrasts])
    return tuple(tuple(map(float, own)) for own in np.maximum(found.mean(axis=0), 0))


def components(differences: pd.DataFrame) -> tuple[float, float, float]:
    """Variance between patients, between splits and of the rest of one modality's differences, by moments.

    Half the mean squared distance of two results of one patient, of one split, and of neither, are sums of two or of
    all three.
    """
    values, patients = differences["difference"].to_numpy(), differences["patient"].to_numpy()
    splits = (differences["split"].astype(str) + " " + differences["seed"].astype(str)).to_numpy()
    i, j = np.triu_indices(len(values), 1)
    half, patient, split = (values[i] - values[j]) ** 2 / 2, patients[i] == patients[j], splits[i] == splits[j]
    pairs = (patient & ~split, split & ~patient, ~patient & ~split)
    within, beside, apart = (half[m].mean() if m.any() else float("nan") for m in pairs)
    return float(apart - within), float(apart - beside), float(within + beside - apart)
