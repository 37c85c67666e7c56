"""The rules behind the splits in ``config/tasks``, fixed before any training.

Abdomen: five draws, one development split, and folds over all patients, four times. Heart: one split with the test
cases of the literature. A user's own task: folds over patients.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssc.data.nifti import stem
from ssc.data.sources.layouts import CHANNEL
from ssc.errors import DataError
from ssc.matrix import DEVELOPMENT
from ssc.tasks import natural

BTCV_CASES = [f"{number:04d}" for number in (*range(1, 11), *range(21, 41))]
CHAOS_CASES = [str(n) for n in (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)]
CASES_PER_DRAW = {"ct": 30, "mri": 9}
HEART_CASES = [str(number) for number in range(1001, 1021)]
# The test cases that UMMKD and SIFA are known by; their validation cases are not, so two are drawn.
HEART_TEST = {"ct": ["1003", "1008", "1014", "1019"], "mri": ["1007", "1009", "1018", "1019"]}
HEART_VALIDATION = 2
VALIDATION = 2  # cases, at least, of each modality in a fold

Parts = dict[str, list[str]]


def _parts(shuffled: list[str], validation: int, test: int) -> Parts:
    """Test cases first, then validation, the rest for training; each part sorted by number."""
    held_out = validation + test
    parts = {"train": shuffled[held_out:], "validation": shuffled[test:held_out], "test": shuffled[:test]}
    return {part: sorted(ids, key=natural) for part, ids in parts.items()}


def abdomen_splits(cases: dict[str, list[str]], cases_per_draw: dict[str, int], draws: tuple[str, ...]) -> dict:
    """Splits by name, modality and part.

    Draw d permutes each modality's sorted ids in turn with ``default_rng(1 + d)``; the first
    ``cases_per_draw`` count, 70/10/20 % of them for training, validation and test. The development split
    takes all cases, 60/20/20 %, from ``default_rng(0)``. Raises DataError where cases are missing.
    """
    for modality, count in cases_per_draw.items():
        if len(cases[modality]) < count:
            raise DataError(f"{modality}: {len(cases[modality])} cases found, a draw needs {count}")
    splits = {}
    for seed, name in enumerate((DEVELOPMENT, *draws)):
        generator, splits[name] = np.random.default_rng(seed), {}
        for modality, ids in cases.items():
            shuffled = [str(case) for case in generator.permutation(sorted(ids, key=natural))]
            if name != DEVELOPMENT:
                shuffled = shuffled[: cases_per_draw[modality]]
            shares = (0.2, 0.2) if name == DEVELOPMENT else (0.1, 0.2)
            validation, test = (round(share * len(shuffled)) for share in shares)
            splits[name][modality] = _parts(shuffled, validation, test)
    return splits


def heart_splits(draws: tuple[str, ...]) -> dict:
    """The one split: the test cases are given, ``default_rng(0)`` draws two of the others for validation."""
    (name,), generator, split = draws, np.random.default_rng(0), {}
    for modality, test in HEART_TEST.items():
        others = generator.permutation([case for case in HEART_CASES if case not in test]).tolist()
        split[modality] = _parts([*test, *others], HEART_VALIDATION, len(test))
    return {name: split}


def fold_splits(
    cases: dict[str, list[str]],
    folds: int,
    repeats: int = 1,
    patients: Mapping[str, str] | None = None,
    train: Mapping[str, int] | None = None,
) -> dict:
    """Seeded folds over patients, by name, modality and part; every repeat is a new partition.

    Each fold tests one of ``folds`` parts of the patients; a tenth of the others, at least ``VALIDATION`` cases of each
    modality, validate; the rest train, of a modality in ``train`` only so many. ``patients``: case -> patient, where
    one has several scans; all of them are on one side. Raises DataError where there are too few.
    """
    people: dict[str, dict[str, list[str]]] = {}  # patient -> modality -> cases
    for modality, ids in cases.items():
        if len(ids) < folds + VALIDATION:
            raise DataError(f"{modality}: {len(ids)} cases, expected at least {folds + VALIDATION} for {folds} folds")
        for case in sorted(ids, key=natural):
            patient = (patients or {}).get(case, f"{modality} {case}")
            people.setdefault(patient, {}).setdefault(modality, []).append(case)
    for modality in cases:
        count = sum(modality in scans for scans in people.values())
        if count < folds + 1:
            raise DataError(f"{modality}: scans of {count} patients, expected more than {folds} for {folds} folds")
    splits = {}
    for repeat in range(repeats):
        generator = np.random.default_rng([repeat, folds])
        parts = _partition(people, folds, generator)
        for fold, tested in enumerate(parts):
            others = generator.permutation([person for part in parts if part is not tested for person in part]).tolist()
            validating = _enough(others, people, {m: max(VALIDATION, len(ids) // 10) for m, ids in cases.items()})
            training = [person for person in others if person not in validating]
            name = f"repeat{repeat}_fold{fold}" if repeats > 1 else f"fold{fold}"
            for modality in cases:
                for part, persons in (("train", training), ("test", tested)):
                    if not _cases(persons, people, modality):
                        raise DataError(f"{modality}: {name} has no case to {part}; choose fewer folds")
            splits[name] = {
                modality: {
                    "train": _cases(training, people, modality, (train or {}).get(modality)),
                    "validation": _cases(validating, people, modality),
                    "test": _cases(tested, people, modality),
                }
                for modality in cases
            }
    return splits


def _partition(people: dict[str, dict[str, list[str]]], folds: int, generator: np.random.Generator) -> list[list[str]]:
    """Patients dealt out to folds, those with scans of the same modalities in turn, so that folds are alike."""
    parts: list[list[str]] = [[] for _ in range(folds)]
    dealt = 0
    for kind in dict.fromkeys(tuple(scans) for scans in people.values()):
        for person in generator.permutation([p for p, scans in people.items() if tuple(scans) == kind]).tolist():
            parts[dealt % folds].append(person)
            dealt += 1
    return parts


def _enough(order: list[str], people: dict[str, dict[str, list[str]]], wanted: dict[str, int]) -> list[str]:
    """The first patients of an order that make so many cases of each modality."""
    chosen, missing = [], dict(wanted)
    for person in order:
        if any(missing[modality] > 0 for modality in people[person]):
            chosen.append(person)
            for modality, ids in people[person].items():
                missing[modality] -= len(ids)
    return chosen


def _cases(
    persons: list[str], people: dict[str, dict[str, list[str]]], modality: str, most: int | None = None
) -> list[str]:
    found = [case for person in persons for case in people[person].get(modality, [])][:most]
    return sorted(found, key=natural)


def given_splits(
    path: Path, cases: dict[str, list[str]], test: Sequence[str], patients: Mapping[str, str]
) -> dict[str, Any]:
    """splits_final.json, or a datalist with folds; without a test list what a fold holds out is its test part.

    Raises DataError for a file of another form, or one that names what is no case.
    """
    splits = {}
    known = {case for ids in cases.values() for case in ids}
    for number, (train, held) in enumerate(_folds_of(path)):
        unknown = {*train, *held, *test} - known
        if unknown:
            raise DataError(f"{path}: fold {number} names {sorted(unknown, key=natural)[0]}, which is no case")
        if test:
            parts = {"train": train - set(test), "validation": held - set(test), "test": set(test)}
        else:
            validation = _drawn(train, cases, patients, np.random.default_rng([number]))
            parts = {"train": train - validation, "validation": validation, "test": held}
        splits[f"fold{number}"] = {
            modality: {part: [case for case in ids if case in chosen] for part, chosen in parts.items()}
            for modality, ids in cases.items()
        }
    return splits


def _drawn(
    train: set[str], cases: dict[str, list[str]], patients: Mapping[str, str], generator: np.random.Generator
) -> set[str]:
    """Of a fold's training cases those that validate, at least ``VALIDATION`` of each modality, patient by patient."""
    chosen: set[str] = set()
    for ids in cases.values():
        for case in generator.permutation([case for case in ids if case in train]).tolist():
            if len(chosen & set(ids)) < VALIDATION:
                own = {other for other in train if patients.get(other, other) == patients.get(case, case)}
                chosen |= own
    return chosen


def _folds_of(path: Path) -> list[tuple[set[str], set[str]]]:
    """What each fold trains on and holds out. Raises DataError for a file of another form."""
    expected = f"{path}: expected nnU-Net's splits_final.json, or a datalist whose cases have image and fold"
    try:
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, list):
            return [(set(fold["train"]), set(fold["val"])) for fold in content]
        of_fold: dict[int, set[str]] = {}
        for row in content["training"]:
            of_fold.setdefault(int(row["fold"]), set()).add(stem(row["image"]).removesuffix(CHANNEL))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(expected) from None
    everything = set().union(*of_fold.values())
    return [(everything - held, held) for _, held in sorted(of_fold.items())]


def splits_yaml(splits: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Nested keys; lists of ids in one line, quoted, since YAML reads 0010 as a number."""
    for key, entry in splits.items():
        if isinstance(entry, dict):
            yield f"{indent}{key}:\n"
            yield from splits_yaml(entry, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(entry, ensure_ascii=False)}\n"
