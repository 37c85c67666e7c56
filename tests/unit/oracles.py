"""How far one gets without looking at shapes: the bounds that phantoms may not be easier than."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def interval_dice(image: NDArray, masks: Iterable[NDArray[np.bool_]], bins: int = 64) -> list[float]:
    """For each mask, the best Dice of image-in-[lo, hi] with it, over all intervals between quantiles."""
    edges = np.unique(np.quantile(image, np.linspace(0, 1, bins + 1)))
    index = np.clip(np.searchsorted(edges, image, side="right") - 1, 0, len(edges) - 2)
    inside = _below(index.ravel(), len(edges))
    best = []
    for mask in masks:
        hits = _below(index[mask], len(edges))
        dice = 2 * (hits - hits[:, None]) / (inside - inside[:, None] + mask.sum() + 1e-9)
        best.append(float(np.triu(dice).max()))
    return best


def _below(index: NDArray[np.int_], edges: int) -> NDArray[np.int_]:
    """How many voxels lie below each edge, from the interval that each voxel lies in."""
    return np.concatenate([[0], np.cumsum(np.bincount(index, minlength=edges - 1))])


def atlas_dice(masks: list[NDArray[np.bool_]]) -> list[float]:
    """For each mask (D, H, W), the best Dice of a thresholded frequency map of the others."""
    shape = np.max([mask.shape for mask in masks], axis=0)
    padded = np.stack([_padded(mask, shape) for mask in masks])
    total = padded.sum(axis=0)
    best = []
    for mask in padded:
        others = total - mask
        # Voxels (all, and hits) where at least k of the others have the structure, for k = 1, 2, ...
        size, hits = (
            np.bincount(v, minlength=len(masks))[::-1].cumsum()[::-1][1:] for v in (others.ravel(), others[mask])
        )
        best.append(float((2 * hits / (size + mask.sum())).max()))
    return best


def _padded(mask: NDArray[np.bool_], shape: NDArray[np.int_]) -> NDArray[np.bool_]:
    before = (shape - mask.shape) // 2
    return np.pad(mask, np.stack([before, shape - mask.shape - before], axis=1))
