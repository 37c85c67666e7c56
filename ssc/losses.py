"""The objective: Eq. 9-12. Every loss returns a scalar; ``objective`` returns (loss, parts).

Segmentation terms are cross-entropy plus soft Dice over batch and space jointly, background left out of Dice; a test
compares them with MONAI's ``DiceCELoss``. A class absent from a batch adds a constant near 1 to Dice, without a
gradient that matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssc.models.network import Output
from ssc.rivals import losses as rivals
from ssc.settings import Objective

SMOOTH = 1e-5  # on both sides of Dice's fraction


def segmentation(logits: Sequence[Tensor], label: Tensor) -> Tensor:
    """L_seg with deep supervision: outputs weighted 1, 1/2, 1/4, … and normalised.

    logits: (B, Z, *S) fine to coarse; label: (B, 1, *S) of integers, brought to coarser grids by nearest.
    """
    weights = [0.5**i for i in range(len(logits))]
    losses = (_dice_ce(scale, _one_hot(_nearest(label, scale), scale.shape[1])) for scale in logits)
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


def auxiliary(maps: Sequence[Tensor], label: Tensor, reading: str) -> Tensor:
    """L_aux (Eq. 9): the same two terms on every scale's auxiliary map, summed over scales.

    maps: (B, Z, *S) of any grids; label: (B, 1, *S) of integers. ``reading`` of the label on a coarser grid:
    'soft' = shares of the classes in each position, 'nearest' = the voxel at its centre.
    """
    classes = maps[0].shape[1]
    if reading == "soft":
        whole = _one_hot(label, classes)
        targets = [F.interpolate(whole, size=tuple(scale.shape[2:]), mode="area") for scale in maps]
    else:
        targets = [_one_hot(_nearest(label, scale), classes) for scale in maps]
    return sum(_dice_ce(scale, target) for scale, target in zip(maps, targets, strict=True))


def _dice_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice, (B, Z, *S) both, in float32 at least: mixed precision is the network's business.

    MONAI's DiceCELoss takes softmax twice and checks much: on the coarse maps of a step that is a tenth of it.
    """
    logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=1)
    cross_entropy = -(target * logs).sum(dim=1).mean()
    found, truth = logs[:, 1:].exp(), target[:, 1:]
    axes = (0, *range(2, logs.ndim))
    overlap, total = (found * truth).sum(axes), found.sum(axes) + truth.sum(axes)
    return cross_entropy + (1 - (2 * overlap + SMOOTH) / (total + SMOOTH)).mean()


def modality_consistency(embeddings: dict[str, Tensor]) -> Tensor:
    """L_mcr (Eq. 10): 1 - cosine of the class embeddings Q (Z, 4C), summed over classes and modality pairs."""
    pairs = itertools.combinations(embeddings.values(), 2)
    return sum((1 - F.cosine_similarity(a, b, dim=-1)).sum() for a, b in pairs)


def image_consistency(correlations: dict[str, Sequence[Tensor]], tau: float) -> Tensor:
    """L_icr (Eq. 11): KL in both directions between softmax(E/τ) of the k-th images of two modalities.

    correlations: modality -> E (B, Z, Z) of every scale. Summed over scales and classes, mean over images.
    """
    total = 0.0
    for first, second in itertools.combinations(correlations.values(), 2):
        for a, b in zip(first, second, strict=True):
            p, q = (F.log_softmax(e / tau, dim=-1) for e in (a, b))  # over classes j
            # KL(p‖q) + KL(q‖p) = Σ (p - q)(log p - log q)
            total = total + ((p.exp() - q.exp()) * (p - q)).sum(dim=(1, 2)).mean()
    return total


def objective(
    outputs: dict[str, Output],
    labels: dict[str, Tensor],
    embeddings: dict[str, Tensor],
    terms: Objective,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L (Eq. 12), with the rivals' terms, and its unweighted parts. A term takes part where its weight is not None.

    labels: modality -> (B, 1, *S) of integers; embeddings: modality -> Q (Z, D).
    """
    parts = {f"seg_{m}": _segmentation(output.logits, labels[m], terms) for m, output in outputs.items()}
    loss = sum(parts.values())
    if terms.alpha is not None:
        aux = {
            f"aux_{m}": auxiliary(output.semantics.auxiliary, labels[m], terms.aux_target)
            for m, output in outputs.items()
        }
        loss, parts = loss + terms.alpha * sum(aux.values()), parts | aux
    correlations = {m: output.semantics.correlations for m, output in outputs.items() if output.semantics}
    if terms.shuffled:
        embeddings, correlations = _shuffled(embeddings, correlations)
    if terms.beta is not None:
        parts["mcr"] = modality_consistency(embeddings)
        loss = loss + terms.beta * parts["mcr"]
    if terms.gamma is not None:
        parts["icr"] = image_consistency(correlations, terms.tau)
        loss = loss + terms.gamma * parts["icr"]
    if terms.kd is not None:
        finest = {m: output.logits[0] for m, output in outputs.items()}
        targets = {m: _one_hot(labels[m], logits.shape[1]) for m, logits in finest.items()}
        parts["kd"] = rivals.distillation(finest, targets, terms.kd_absent)
        loss = loss + terms.kd * parts["kd"]
    return loss, {name: part.detach() for name, part in parts.items()}


def _segmentation(logits: Sequence[Tensor], label: Tensor, terms: Objective) -> Tensor:
    if terms.segmentation == "paper":
        return segmentation(logits, label)
    return rivals.segmentation(logits[0], _one_hot(label, logits[0].shape[1]))


def _shuffled(
    embeddings: dict[str, Tensor], correlations: dict[str, Sequence[Tensor]]
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """A control: the classes of the k-th modality moved on by k places, so that no class meets its own name."""
    places = {m: k for k, m in enumerate(embeddings)}
    return (
        {m: q.roll(places[m], dims=0) for m, q in embeddings.items()},
        {m: [e.roll((places[m], places[m]), dims=(1, 2)) for e in scales] for m, scales in correlations.items()},
    )


def _nearest(label: Tensor, like: Tensor) -> Tensor:
    """The label at the centre of each voxel of the grid of ``like``."""
    size = like.shape[2:]
    return (
        label
        if label.shape[2:] == size
        else F.interpolate(label.to(torch.uint8), size=tuple(size), mode="nearest-exact")
    )


def _one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, 1, *S) of integers -> (B, Z, *S) in float32."""
    one_hot = torch.zeros(len(label), classes, *label.shape[2:], device=label.device)
    return one_hot.scatter_(1, label.long(), 1.0)
