"""The committed splits: the rule's own, leak-free, of the paper's sizes."""

import pytest

from ssc import matrix
from ssc.data.splits import BTCV_CASES, CASES_PER_DRAW, CHAOS_CASES, abdomen_splits, fold_splits, heart_splits
from ssc.errors import DataError
from ssc.tasks import tasks

SIZES = {"ct": (21, 3, 6), "mri": (6, 1, 2)}  # train, validation, test of a draw
FOLD_SIZES = {"ct": (21, 3, 6), "mri": (6, 2, 4)}


def _as_lists(splits):
    return {
        name: {m: {part: list(ids) for part, ids in parts.items()} for m, parts in split.items()}
        for name, split in splits.items()
    }


def test_the_committed_splits_are_the_rules():
    abdomen, heart = tasks()["abdomen"], tasks()["heart"]
    cases = {"ct": BTCV_CASES, "mri": CHAOS_CASES}
    folds = fold_splits(cases, 5, repeats=4, train={m: sizes[0] for m, sizes in SIZES.items()})
    assert _as_lists(abdomen.splits) == abdomen_splits(cases, CASES_PER_DRAW, abdomen.draws) | folds
    assert _as_lists(heart.splits) == heart_splits(heart.draws)


def test_the_hearts_test_cases_are_the_literatures():
    """14 training, 2 validation and 4 test cases a modality; ids as used with UMMKD's and SIFA's data."""
    (split,) = tasks()["heart"].splits.values()
    assert list(split["ct"]["test"]) == ["1003", "1008", "1014", "1019"]
    assert list(split["mri"]["test"]) == ["1007", "1009", "1018", "1019"]
    for parts in split.values():
        assert [len(parts[part]) for part in ("train", "validation", "test")] == [14, 2, 4]
        assert sorted(case for part in parts.values() for case in part) == [str(number) for number in range(1001, 1021)]


def test_few_shot_keeps_one_of_three_and_all_else():
    def cases(variant, seed=0):
        return matrix.Run("real", "small", "heart", "fixed", seed, variant, None).cases

    everything, one, three = (cases(variant) for variant in ("ours", "ours_1_mri", "ours_3_mri"))
    assert len(one["mri"]["train"]) == 1 and len(three["mri"]["train"]) == 3
    assert set(one["mri"]["train"]) < set(three["mri"]["train"]) < set(everything["mri"]["train"])
    assert one["ct"] == three["ct"] == everything["ct"]
    assert one["mri"]["test"] == everything["mri"]["test"]
    assert len({tuple(cases("ours_1_ct", seed)["ct"]["train"]) for seed in range(20)}) > 5  # drawn by the seed


@pytest.mark.parametrize("split", list(tasks()["abdomen"].splits))
def test_parts_share_no_case(split):
    for modality, parts in tasks()["abdomen"].splits[split].items():
        cases = [case for part in parts.values() for case in part]
        assert len(cases) == len(set(cases))
        assert set(cases) <= set(BTCV_CASES if modality == "ct" else CHAOS_CASES)
        if split.startswith("repeat"):  # all patients are tested once a repeat
            assert tuple(len(parts[p]) for p in ("train", "validation", "test")) == FOLD_SIZES[modality]
        elif split != matrix.DEVELOPMENT:
            assert tuple(len(parts[p]) for p in ("train", "validation", "test")) == SIZES[modality]


def test_development_split_is_the_fixed_one():
    split = tasks()["abdomen"].splits[matrix.DEVELOPMENT]
    assert [int(c) for c in split["ct"]["test"]] == [3, 5, 21, 22, 32, 37]
    assert [int(c) for c in split["ct"]["validation"]] == [7, 27, 29, 34, 36, 39]
    assert [int(c) for c in split["mri"]["test"]] == [3, 8, 34, 38]
    assert [int(c) for c in split["mri"]["validation"]] == [15, 19, 20, 22]


def test_fewer_cases_than_a_draw_needs_is_an_error():
    with pytest.raises(DataError, match="mri: 8 cases found, a draw needs 9"):
        abdomen_splits({"ct": BTCV_CASES, "mri": CHAOS_CASES[:8]}, {"ct": 30, "mri": 9}, ("draw0",))


def test_folds_test_every_patient_once_a_repeat_and_share_none():
    cases = {"a": [f"a{n}" for n in range(1, 21)], "b": [f"b{n}" for n in range(1, 18)]}
    splits = fold_splits(cases, 5, repeats=3, train={"a": 9})
    assert list(splits) == [f"repeat{r}_fold{f}" for r in range(3) for f in range(5)]
    for repeat in range(3):
        own = [splits[f"repeat{repeat}_fold{fold}"] for fold in range(5)]
        for modality, ids in cases.items():
            assert sorted(case for split in own for case in split[modality]["test"]) == sorted(ids)
            assert {len(split[modality]["test"]) for split in own} <= {len(ids) // 5, -(-len(ids) // 5)}
    partitions = {frozenset(frozenset(splits[f"repeat{r}_fold{f}"]["a"]["test"]) for f in range(5)) for r in range(3)}
    assert len(partitions) == 3  # each repeat is a new one
    for split in splits.values():
        for modality, parts in split.items():
            found = [case for ids in parts.values() for case in ids]
            assert len(found) == len(set(found)) and len(parts["validation"]) == 2
            assert len(parts["train"]) == (9 if modality == "a" else 17 - 2 - len(parts["test"]))
    assert splits == fold_splits(cases, 5, repeats=3, train={"a": 9})


def test_all_scans_of_a_patient_are_on_one_side():
    cases = {"a": [f"a{n}" for n in range(20)], "b": [f"b{n}" for n in range(12)]}
    patients = {f"a{n}": f"p{n}" for n in range(20)} | {f"b{n}": f"p{n // 2}" for n in range(12)}
    for split in fold_splits(cases, 5, patients=patients).values():
        sides = {}
        for parts in split.values():
            for part, ids in parts.items():
                for case in ids:
                    assert sides.setdefault(patients[case], part) == part
        assert all(len(parts["test"]) >= 2 and len(parts["validation"]) >= 2 for parts in split.values())


def test_too_few_cases_for_folds_are_refused():
    with pytest.raises(DataError, match="a: 6 cases, expected at least 7 for 5 folds"):
        fold_splits({"a": list("123456"), "b": [str(n) for n in range(20)]}, 5)
