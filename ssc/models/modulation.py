"""Modality-aware channel multiplication (Eq. 13-15), and stochastic depth by the same hook.

Both are factors on the residual branches of a backbone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Modulation(nn.Module):
    """Class embeddings -> one vector Φ for each residual branch (Eq. 13).

    ``residual``: Φ = 1 + ΩW with W = 0 at the start, so that Joint V3 starts as Joint V2;
    otherwise Φ = ΩW as printed.
    """

    def __init__(self, classes: int, embedding_width: int, branch_widths: Sequence[int], residual: bool):
        super().__init__()
        self.residual, self.branch_widths = residual, list(branch_widths)
        self.aggregate = nn.Parameter(torch.empty(classes))  # w_1
        # W_2 and W_3 of every block, side by side: one product instead of dozens.
        self.projection = nn.Linear(embedding_width, sum(branch_widths), bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.aggregate, 1 / len(self.aggregate))
        if self.residual:
            nn.init.zeros_(self.projection.weight)

    def forward(self, class_embeddings: Tensor) -> list[Tensor]:
        """Q of each image's modality (B, Z, D) -> Φ of each branch, (B, width)."""
        omega = torch.einsum("z,bzc->bc", self.aggregate, class_embeddings)
        phi = self.projection(omega) + (1.0 if self.residual else 0.0)
        return list(phi.split(self.branch_widths, dim=-1))


def stochastic_depth(rates: Sequence[float], images: int, seed: int, step: int, modality: str) -> Tensor:
    """Factors (branches, images): 0 for a dropped branch of an image, else 1 / (1 - rate).

    Drawn from a generator of their own, so that pairing and resuming see the same draws.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {step} {modality} depth".encode()))
    keep = 1 - torch.tensor(rates)[:, None]
    return (torch.rand(len(rates), images, generator=generator) < keep) / keep
