"""Scores of one case: Dice, precision, recall, volume; surface distances and surface Dice (MONAI's metrics).

Rules for empty masks, decided before MONAI is asked (it answers inf or NaN there):
present and found: all scores. Present, not found: ``missed``, Dice, NSD, recall 0, distances and precision undefined.
Absent and not predicted: ``absent``, no score. Absent but predicted: ``false_positive``, no score.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance
from torch import Tensor

NSD_TOLERANCES_MM = (2.0, 3.0)
warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)  # MONAI's own call
SCORES = ("dice", "asd_mm", "hd95_mm", "nsd_2mm", "nsd_3mm", "volume_difference_ml", "precision", "recall")


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice (%) of two masks of one shape, not both empty."""
    return 200.0 * int((prediction & truth).sum()) / (int(prediction.sum()) + int(truth.sum()))


def score_structure(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float | str]:
    """Status and scores of one structure; masks (D, H, W), spacing in the same order of axes.

    ``volume_difference_ml`` is the prediction's volume less the truth's.
    """
    scores = dict.fromkeys(SCORES, float("nan"))
    if not truth.any():
        return {"status": "false_positive" if prediction.any() else "absent", **scores}
    found, present = int(prediction.sum()), int(truth.sum())
    volume = {"volume_difference_ml": (found - present) * float(np.prod(spacing_mm)) / 1000}
    if not found:
        return {"status": "missed", **scores, **volume, **dict.fromkeys(("dice", "nsd_2mm", "nsd_3mm", "recall"), 0.0)}
    a, b = (_box(mask, prediction | truth) for mask in (prediction, truth))
    shared = int((prediction & truth).sum())
    return {
        "status": "found",
        "dice": dice(prediction, truth),
        **_distances(torch.from_numpy(a), torch.from_numpy(b), [float(s) for s in spacing_mm]),
        **volume,
        "precision": 100.0 * shared / found,
        "recall": 100.0 * shared / present,
    }


def _distances(prediction: Tensor, truth: Tensor, spacing_mm: list[float]) -> dict[str, float]:
    """ASD, HD95 and NSD of two masks that are not empty.

    Each is MONAI's metric of that name, which would search the same distances again for every one of them.
    """
    options = {"spacing": spacing_mm, "symmetric": True}
    _, (there, back), _ = get_edge_surface_distance(prediction.float(), truth.float(), **options)
    edges, distances, areas = get_edge_surface_distance(prediction, truth, use_subvoxels=True, **options)
    areas = torch.cat([area[edge] for area, edge in zip(areas, edges, strict=True)])
    distance = torch.cat(distances)
    shares = {mm: areas[distance <= mm].sum() / areas.sum() for mm in NSD_TOLERANCES_MM}
    return {
        "asd_mm": float(torch.cat([there, back]).mean()),
        "hd95_mm": max(float(torch.quantile(d, 0.95)) for d in (there, back)),
        **{f"nsd_{mm:g}mm": 100.0 * float(share) for mm, share in shares.items()},
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
