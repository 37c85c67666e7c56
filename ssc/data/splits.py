"""The rules behind ``config/splits.yaml``, fixed before any training.

Abdomen: five draws and one development split. Heart: one split with the test cases of the literature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ssc import matrix
from ssc.errors import DataError

BTCV_CASES = [f"{number:04d}" for number in (*range(1, 11), *range(21, 41))]
CHAOS_CASES = [str(n) for n in (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)]
CASES_PER_DRAW = {"ct": 30, "mri": 9}
HEART_CASES = [str(number) for number in range(1001, 1021)]
# The test cases that UMMKD and SIFA are known by; their validation cases are not, so two are drawn.
HEART_TEST = {"ct": ["1003", "1008", "1014", "1019"], "mri": ["1007", "1009", "1018", "1019"]}
HEART_VALIDATION = 2

Parts = dict[str, list[str]]


def _parts(shuffled: list[str], validation: int, test: int) -> Parts:
    """Test cases first, then validation, the rest for training; each part sorted by number."""
    held_out = validation + test
    parts = {"train": shuffled[held_out:], "validation": shuffled[test:held_out], "test": shuffled[:test]}
    return {part: sorted(ids, key=int) for part, ids in parts.items()}


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
    for seed, name in enumerate((matrix.DEVELOPMENT, *draws)):
        generator, splits[name] = np.random.default_rng(seed), {}
        for modality, ids in cases.items():
            shuffled = [str(case) for case in generator.permutation(sorted(ids, key=int))]
            if name != matrix.DEVELOPMENT:
                shuffled = shuffled[: cases_per_draw[modality]]
            shares = (0.2, 0.2) if name == matrix.DEVELOPMENT else (0.1, 0.2)
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


def splits_yaml() -> str:
    """The text of ``config/splits.yaml``."""
    draws = {name: task.draws for name, task in matrix.tasks().items()}
    cases = {"ct": BTCV_CASES, "mri": CHAOS_CASES}
    splits = {
        "abdomen": abdomen_splits(cases, CASES_PER_DRAW, draws["abdomen"]),
        "heart": heart_splits(draws["heart"]),
    }
    head = "# Written once from the rules in ssc/data/splits.py, before anything was trained. Do not edit.\n"
    return head + "".join(_yaml(splits))


def _yaml(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Nested keys; lists of ids in one line, quoted, since YAML reads 0010 as a number."""
    for key, entry in value.items():
        if isinstance(entry, dict):
            yield f"{indent}{key}:\n"
            yield from _yaml(entry, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(entry)}\n"
