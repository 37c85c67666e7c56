"""Scores against hand-computed examples and against SciPy's distance transform."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from ssc.metrics import dice, score_case, score_structure

SPACING = (8.0, 1.5, 2.0)


def _boxes(shift):
    a, b = np.zeros((2, 12, 24, 24), bool)
    a[3:8, 5:15, 5:15] = True
    b[3:8, 5:15, 5 + shift : 15 + shift] = True
    return a, b


def test_dice_by_hand():
    a, b = _boxes(shift=4)  # 6 of 10 columns overlap
    assert dice(a, b) == pytest.approx(60.0)


def test_equal_masks_are_perfect():
    a, _ = _boxes(0)
    scores = score_structure(a, a, SPACING)
    perfect = dict.fromkeys(("dice", "nsd_2mm", "nsd_3mm", "precision", "recall"), 100.0)
    assert scores == {"status": "found", "asd_mm": 0.0, "hd95_mm": 0.0, "volume_difference_ml": 0.0, **perfect}


def test_precision_recall_and_volume_by_hand():
    """Of 10 × 10 columns 6 × 10 overlap; the prediction lacks two of its five slices."""
    truth, prediction = _boxes(shift=4)
    prediction[3:5] = False
    scores = score_structure(prediction, truth, SPACING)
    assert scores["precision"] == pytest.approx(60.0) and scores["recall"] == pytest.approx(100 * 3 * 60 / 500)
    assert scores["volume_difference_ml"] == pytest.approx((300 - 500) * np.prod(SPACING) / 1000)


def test_distance_of_two_plates_is_their_gap_in_millimetres():
    """One-voxel plates, three slices of 8 mm apart: every surface point is 24 mm from the other plate."""
    a, b = np.zeros((2, 12, 20, 20), bool)
    a[2, 4:16, 4:16] = b[5, 4:16, 4:16] = True
    scores = score_structure(a, b, SPACING)
    assert scores["asd_mm"] == pytest.approx(24.0) and scores["hd95_mm"] == pytest.approx(24.0)
    assert scores["nsd_2mm"] == 0.0


@pytest.mark.parametrize("shift", [1, 3])
def test_distances_are_scipys(shift):
    """Distances of each surface's points to the other: pooled mean, and the larger 95th percentile."""
    a, b = _boxes(shift)
    a[5, 8, 8] = False  # a hole inside is a surface too
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    to = [ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in edges]
    distances = [to[1][edges[0]], to[0][edges[1]]]
    scores = score_structure(a, b, SPACING)
    assert scores["asd_mm"] == pytest.approx(np.concatenate(distances).mean(), rel=1e-5)
    assert scores["hd95_mm"] == pytest.approx(max(np.percentile(d, 95) for d in distances), rel=1e-5)


def test_nsd_counts_the_surface_within_two_millimetres():
    """Cubes of 20 mm, one 3 mm further along x. Near the other cube are: of the four faces beside, 19 of 20 mm;
    of the face inside the other cube, the frame of 2 mm; of the face outside, nothing."""
    a, b = np.zeros((2, 40, 40, 40), bool)
    a[10:30, 10:30, 10:30] = b[10:30, 10:30, 13:33] = True
    expected = 100 * (4 * 19 * 20 + (20**2 - 16**2)) / (6 * 20**2)
    scores = score_structure(a, b, (1.0, 1.0, 1.0))
    assert scores["nsd_2mm"] == pytest.approx(expected, abs=4)
    assert scores["nsd_3mm"] == pytest.approx(100.0, abs=6)  # all but the middles of the faces at both ends
    assert scores["nsd_3mm"] > scores["nsd_2mm"]


def test_asd_does_not_depend_on_where_the_structure_lies():
    a, b = _boxes(2)
    inside = score_structure(a, b, SPACING)
    padded = score_structure(np.pad(a, 7), np.pad(b, 7), SPACING)
    assert inside == pytest.approx(padded, nan_ok=True)


def test_empty_masks_are_named_never_scored_as_perfect():
    a, _ = _boxes(0)
    empty = np.zeros_like(a)
    missed = score_structure(empty, a, SPACING)
    assert missed["status"] == "missed" and {missed[name] for name in ("dice", "nsd_2mm", "nsd_3mm", "recall")} == {0}
    assert np.isnan(missed["precision"]) and missed["volume_difference_ml"] == -a.sum() * np.prod(SPACING) / 1000
    assert np.isnan(missed["asd_mm"]) and np.isnan(missed["hd95_mm"])
    for prediction, status in ((empty, "absent"), (a, "false_positive")):
        scores = score_structure(prediction, empty, SPACING)
        assert scores.pop("status") == status and all(np.isnan(value) for value in scores.values())


def test_a_case_gives_one_row_a_structure():
    truth = np.zeros((4, 8, 8), np.uint8)
    truth[1:3, 1:4, 1:4], truth[1:3, 5:7, 5:7] = 1, 2
    rows = score_case(truth, truth, SPACING, ["liver", "spleen", "kidney"])
    assert [(row["structure"], row["status"]) for row in rows] == [
        ("liver", "found"), ("spleen", "found"), ("kidney", "absent")
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_monais_metrics(seed):
    """Blobs of noise, searched once for all of them; MONAI's own functions each search anew."""
    generator, spacing = np.random.default_rng(seed), (5.0, 1.5, 2.0)
    truth, prediction = (ndimage.gaussian_filter(generator.normal(size=(20, 30, 30)), 3) > 0.02 for _ in range(2))
    row = score_structure(prediction, truth, spacing)
    pair, options = [torch.from_numpy(x)[None, None] for x in (prediction, truth)], {"spacing": spacing}
    options["include_background"] = True
    assert row["asd_mm"] == pytest.approx(float(compute_average_surface_distance(*pair, symmetric=True, **options)))
    assert row["hd95_mm"] == pytest.approx(float(compute_hausdorff_distance(*pair, percentile=95, **options)))
    for mm in (2.0, 3.0):
        nsd = compute_surface_dice(*pair, [mm], use_subvoxels=True, **options)
        assert row[f"nsd_{mm:g}mm"] == pytest.approx(100 * float(nsd))
