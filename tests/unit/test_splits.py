"""The committed splits: the rule's own, leak-free, of the paper's sizes."""

from pathlib import Path

import pytest

from ssc import matrix
from ssc.data.splits import BTCV_CASES, CHAOS_CASES, abdomen_splits, splits_yaml
from ssc.errors import DataError

SIZES = {"ct": (21, 3, 6), "mri": (6, 1, 2)}  # train, validation, test of a draw


def test_the_committed_file_is_the_rules():
    assert (Path(__file__).parents[2] / "config/splits.yaml").read_text("utf-8") == splits_yaml()


def test_the_hearts_test_cases_are_the_literatures():
    """14 training, 2 validation and 4 test cases a modality; ids as used with UMMKD's and SIFA's data."""
    (split,) = matrix.splits()["heart"].values()
    assert split["ct"]["test"] == ["1003", "1008", "1014", "1019"]
    assert split["mri"]["test"] == ["1007", "1009", "1018", "1019"]
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


@pytest.mark.parametrize("split", list(matrix.splits()["abdomen"]))
def test_parts_share_no_case(split):
    for modality, parts in matrix.splits()["abdomen"][split].items():
        cases = [case for part in parts.values() for case in part]
        assert len(cases) == len(set(cases))
        assert set(cases) <= set(BTCV_CASES if modality == "ct" else CHAOS_CASES)
        if split != matrix.DEVELOPMENT:
            assert tuple(len(parts[p]) for p in ("train", "validation", "test")) == SIZES[modality]


def test_development_split_is_the_fixed_one():
    split = matrix.splits()["abdomen"][matrix.DEVELOPMENT]
    assert [int(c) for c in split["ct"]["test"]] == [3, 5, 21, 22, 32, 37]
    assert [int(c) for c in split["ct"]["validation"]] == [7, 27, 29, 34, 36, 39]
    assert [int(c) for c in split["mri"]["test"]] == [3, 8, 34, 38]
    assert [int(c) for c in split["mri"]["validation"]] == [15, 19, 20, 22]


def test_fewer_cases_than_a_draw_needs_is_an_error():
    with pytest.raises(DataError, match="mri: 8 cases found, a draw needs 9"):
        abdomen_splits({"ct": BTCV_CASES, "mri": CHAOS_CASES[:8]}, {"ct": 30, "mri": 9}, ("draw0",))
