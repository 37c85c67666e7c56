"""Layers with a part of their own for each modality."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Parted(nn.Module):
    """A layer that must know whose images it is given: ``counts`` of each modality, in the order of the batch.

    The network sets it before each pass; None: all are the first modality's.
    """

    counts: Mapping[str, int] | None = None

    def keep(self, modality: str) -> None:
        """Give up all other modalities' parts."""
        raise NotImplementedError


class PerModality(Parted):
    """One layer a modality, each for its own images; tensors, or lists of them, are joined again in the batch's order.

    Parameters part here and nowhere else, so that everything shared sees one batch.
    """

    def __init__(self, modalities: Sequence[str], build: Callable[[], nn.Module]):
        super().__init__()
        self.layers = nn.ModuleDict({m: build() for m in modalities})

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if self.counts is None or len(self.counts) == 1:
            modality = next(iter(self.counts or self.layers))
            return self.layers[modality](x)
        parts = x.split(list(self.counts.values()))
        found = [self.layers[m](part) for m, part in zip(self.counts, parts, strict=True)]
        if isinstance(found[0], Tensor):
            return torch.cat(found)
        return [torch.cat(level) for level in zip(*found, strict=True)]

    def keep(self, modality: str) -> None:
        self.layers = nn.ModuleDict({modality: self.layers[modality]})


def with_own_norms(network: nn.Module, modalities: Sequence[str]) -> nn.Module:
    """The network, each of its batch norms replaced by one a modality: scale, shift and running statistics."""
    for name, child in network.named_children():
        if isinstance(child, PerModality):  # parted already
            continue
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(network, name, PerModality(modalities, lambda norm=child: copy.deepcopy(norm)))
        else:
            with_own_norms(child, modalities)
    return network
