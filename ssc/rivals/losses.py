"""UMMKD's losses (Dou et al., TMI 2020): its segmentation terms, and the distillation between modalities."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 2.0  # of the distillation
LEAST = 0.005  # probability below which its cross-entropy has no gradient


def segmentation(logits: Tensor, target: Tensor) -> Tensor:
    """Its Dice and class-weighted cross-entropy of one modality, background included in both.

    logits (B, Z, *S); target (B, Z, *S), one-hot. Sums run over the batch and all positions:
    -(1/Z) Σ_c 2 Σ p g / (Σ p² + Σ g + 1e-7), and the mean of -Σ_c w_c g log clip(p, 0.005, 1), w_c = 1 - share of c.
    """
    found = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1)
    axes = (0, *range(2, logits.ndim))
    truth = target.sum(axes)
    dice = -(2 * (found * target).sum(axes) / ((found**2).sum(axes) + truth + 1e-7)).mean()
    weights = (1 - truth / truth.sum()).view(1, -1, *(1,) * (logits.ndim - 2))
    cross_entropy = -(weights * target * found.clamp(LEAST, 1).log()).sum(dim=1).mean()
    return dice + cross_entropy


def distillation(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor], absent: str) -> Tensor:
    """Symmetric KL between the modalities' mean predictions over the true voxels of each class.

    logits, targets: modality -> (B, Z, *S), targets one-hot. The logits' mean over a class's voxels, softened by T = 2,
    is that class's distribution; ½ [KL + KL] of two modalities, summed over pairs of modalities. ``absent``: 'skip', a
    class counts where both modalities show it (0 if none is); 'as_code', a class that one lacks has uniform
    probabilities there, and the mean is over all classes.
    """
    total = torch.zeros((), device=next(iter(logits.values())).device)
    for first, second in itertools.combinations(logits, 2):
        (a, seen), (b, also) = (_of_classes(logits[m], targets[m]) for m in (first, second))
        p, q = (F.log_softmax(x / TEMPERATURE, dim=1) for x in (a, b))
        each = ((p.exp() - q.exp()) * (p - q)).sum(dim=1) / 2  # ½ [KL(p‖q) + KL(q‖p)]
        counted = (seen & also).to(each.dtype) if absent == "skip" else torch.ones_like(each)
        total = total + (each * counted).sum() / counted.sum().clamp(min=1)
    return total


def _of_classes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean logits over the voxels of each true class (Z, Z), and which classes there are."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).transpose(0, 1).flatten(1)  # (Z, P)
    target = target.transpose(0, 1).flatten(1).to(logits.dtype)
    voxels = target.sum(dim=1)
    return target @ logits.T / (voxels + 1e-6)[:, None], voxels > 0
