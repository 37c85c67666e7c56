"""A backbone: a segmentation network that hands out three feature maps and lets a caller scale its branches.

It knows no method. Everything that the method puts around a network goes through ``Backbone``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

Factors = Sequence[Tensor]  # one a residual branch, (B, C) or (B, 1)


class Features(NamedTuple):
    """What a backbone finds in images (B, channels, *S)."""

    maps: list[Tensor]  # (B, *s, D), coarse to fine; empty where only logits were asked for
    logits: list[Tensor]  # (B, Z, *S), then coarser ones (deep supervision)


class Backbone(nn.Module):
    """What a network offers to the method."""

    map_widths: list[int]  # channels D of the maps, coarse to fine
    branch_widths: list[int]  # channels of every residual branch, in the order of ``Factors``
    branch_rates: list[float]  # stochastic depth of each

    def forward(self, image: Tensor, factors: Factors | None = None, only_finest: bool = False) -> Features:
        """image (B, channels, *S). ``factors`` scale the branches (Eq. 14-15); ``only_finest``: one map of logits."""
        raise NotImplementedError

    def fold(self, factors: Factors) -> None:
        """Take factors (1, C), one a branch, into the weights for good."""
        raise NotImplementedError
