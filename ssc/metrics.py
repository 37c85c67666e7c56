"""Scores of one case: Dice, symmetric surface distance, HD95, normalised surface Dice (MONAI's metrics).

Rules for empty masks, decided before MONAI is asked (it answers inf or NaN there):
present and found: all scores. Present, not found: ``missed``, Dice 0, distances undefined, NSD 0.
Absent and not predicted: ``absent``, no score. Absent but predicted: ``false_positive``, no score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

NSD_TOLERANCE_MM = 2.0
SCORES = ("dice", "asd_mm", "hd95_mm", "nsd_2mm")


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice (%) of two masks of one shape, not both empty."""
    return 200.0 * int((prediction & truth).sum()) / (int(prediction.sum()) + int(truth.sum()))


def score_structure(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float | str]:
    """Status and scores of one structure; masks (D, H, W), spacing in the same order of axes."""
    scores = dict.fromkeys(SCORES, float("nan"))
    if not truth.any():
        return {"status": "false_positive" if prediction.any() else "absent", **scores}
    if not prediction.any():
        return {"status": "missed", **scores, "dice": 0.0, "nsd_2mm": 0.0}
    a, b = (_box(mask, prediction | truth) for mask in (prediction, truth))
    pair = [torch.from_numpy(mask)[None, None] for mask in (a, b)]
    spacing = [float(s) for s in spacing_mm]
    options = {"include_background": True, "spacing": spacing}
    return {
        "status": "found",
        "dice": dice(prediction, truth),
        "asd_mm": float(compute_average_surface_distance(*pair, symmetric=True, **options)),
        "hd95_mm": float(compute_hausdorff_distance(*pair, percentile=95, **options)),
        "nsd_2mm": 100.0 * float(compute_surface_dice(*pair, [NSD_TOLERANCE_MM], use_subvoxels=True, **options)),
    }


def score_case(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], names: Sequence[str]
) -> list[dict]:
    """One row a structure; label maps (D, H, W) with values 1, 2, … in the order of ``names``."""
    return [
        {"structure": name, **score_structure(prediction == value, truth == value, spacing_mm)}
        for value, name in enumerate(names, start=1)
    ]


def _box(mask: np.ndarray, both: np.ndarray) -> np.ndarray:
    """``mask`` inside the bounding box of ``both`` and one voxel around: the rest has no surface."""
    ranges = []
    for axis in range(both.ndim):
        found = np.flatnonzero(both.any(axis=tuple(i for i in range(both.ndim) if i != axis)))
        ranges.append(slice(found[0], found[-1] + 1))
    return np.pad(mask[tuple(ranges)], 1)
