"""The External Attention Module (Sec. 2.2, Eq. 1-8): class embeddings meet the feature maps of an image.

It takes feature maps and embeddings and knows no backbone. Symbols as in the paper: Z classes, N heads,
P positions of a map, D channels (4C, 2C, C at the three scales of the paper's backbones), B images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssc.errors import SettingsError
from ssc.models.mlp import Mlp


@dataclass
class Semantics:
    """What the modules of one modality found: one entry a scale, coarse to fine."""

    auxiliary: list[Tensor]  # logits (B, Z, *S), for Eq. 9
    correlations: list[Tensor]  # E (B, Z, Z), for Eq. 11; empty where no loss asks for them


class ExternalAttention(nn.Module):
    """The module of one modality at one scale.

    What no loss can reach is not built: without ``next_width`` the value path that would feed a next scale is left
    out, with ``correlations=False`` the filters of Eq. 6. ``map_scale``: 'none' as printed, or 'sqrt_d'.
    """

    def __init__(
        self, width: int, next_width: int | None, heads: int, classes: int, correlations: bool, map_scale: str
    ):
        super().__init__()
        if width % heads:
            raise SettingsError(f"External Attention Module: width {width} is no multiple of {heads} heads")
        self.heads, self.map_scale, self.attention_scale = heads, map_scale, (width // heads) ** -0.5
        self.norm_query = nn.LayerNorm(width)
        self.norm_map = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)  # W_Q
        self.to_key = nn.Linear(width, width, bias=False)  # W_K
        self.update = None if next_width is None else EmbeddingUpdate(width, next_width, heads)
        self.filters = SemanticFilters(classes, width, heads) if correlations else None
        # F_1x1 of Eq. 9: the N maps of class j to one logit map. Weight (Z, N, 1), taken as a product: no convolution
        # of PyTorch is quick at so few channels a group.
        self.auxiliary = nn.Conv1d(classes * heads, classes, 1, groups=classes)

    def forward(self, query: Tensor, features: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """query (B, Z, D), features (B, *S, D) -> auxiliary logits (B, Z, *S), E (B, Z, Z), next query.

        E is None without filters, the next query (B, Z, next width) is None at the last scale.
        """
        size = features.shape[1:-1]
        normed = self.norm_map(features.flatten(1, -2))  # (B, P, D)
        q = self._split(self.to_query(self.norm_query(query)))  # (B, N, Z, d), Eq. 1
        k = self._split(self.to_key(normed))  # (B, N, P, d)
        maps = q @ k.transpose(-1, -2)  # (B, N, Z, P)
        attention = maps * self.attention_scale
        semantic_maps = (maps if self.map_scale == "none" else attention).transpose(1, 2)  # A (B, Z, N, P)
        weight, bias = self.auxiliary.weight, self.auxiliary.bias
        logits = (weight.transpose(1, 2) @ semantic_maps).squeeze(2) + bias[:, None]
        correlations = None if self.filters is None else self.filters(query, semantic_maps)
        following = None if self.update is None else self.update(query, attention, normed)
        return logits.unflatten(-1, size), correlations, following

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class EmbeddingUpdate(nn.Module):
    """The value path: Eq. 2-5, and the change of width that gives the next scale's class embeddings."""

    def __init__(self, width: int, next_width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_value = nn.Linear(width, width, bias=False)  # W_V
        self.projection = nn.Linear(width, width, bias=False)  # W_O
        self.norm = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.reduce = nn.Linear(width, next_width)  # the paper's 1x1 convolution, which halves

    def forward(self, query: Tensor, attention: Tensor, features: Tensor) -> Tensor:
        """query (B, Z, D), attention (B, N, Z, P) before the softmax, features (B, P, D) -> (B, Z, next width)."""
        v = self.to_value(features).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, P, d)
        mixed = attention.softmax(dim=-1) @ v  # (B, N, Z, d), Eq. 2: softmax over positions
        query = self.projection(mixed.transpose(1, 2).flatten(2)) + query  # Eq. 3-4
        query = self.mlp(self.norm(query)) + query  # Eq. 5
        return self.reduce(query)


class SemanticFilters(nn.Module):
    """Semantic filtering, re-weighting and aggregation (Eq. 6-8).

    Since each S^ij weights all N maps of class j alike, Eq. 7-8 reduce to
    E^ij = Σ_x σ_ij(x) a_j(x) / Σ_x σ_ij(x) with a_j = Σ_n A^j_n: no (Z, Z, N, P) array is needed. The
    quotient is a softmax over positions of log σ_ij, which cannot become 0/0 when the gates underflow.
    """

    def __init__(self, classes: int, width: int, heads: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width, heads))  # W^i
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)

    def forward(self, query: Tensor, semantic_maps: Tensor) -> Tensor:
        """query (B, Z, D), A (B, Z, N, P) -> E (B, Z, Z)."""
        kernels = (query[:, :, None] @ self.weight).squeeze(2)  # K^i: (B, Z, N)
        similarity = kernels[:, None] @ semantic_maps  # S^ij: (B, j, i, P), Eq. 6
        gates = similarity.log_softmax(dim=1).softmax(dim=3)  # σ over j, normalised over x, Eq. 7
        totals = semantic_maps.sum(dim=2)[..., None]  # a_j: (B, j, P, 1)
        return (gates @ totals).squeeze(3).transpose(1, 2)  # (B, i, j), Eq. 8


class ExternalAttentionModules(nn.Module):
    """The modules of one modality at all scales, coarse to fine."""

    def __init__(self, widths: Sequence[int], heads: int, classes: int, correlations: bool, map_scale: str):
        super().__init__()
        self.scales = nn.ModuleList(
            ExternalAttention(width, following, heads, classes, correlations, map_scale)
            for width, following in zip(widths, [*widths[1:], None], strict=True)
        )

    def forward(self, class_embeddings: Tensor, maps: Sequence[Tensor]) -> Semantics:
        """class_embeddings Q (Z, D of the coarsest map), maps (B, *S, D) coarse to fine."""
        query = class_embeddings.expand(len(maps[0]), -1, -1)
        found = Semantics([], [])
        for module, features in zip(self.scales, maps, strict=True):
            logits, correlations, query = module(query, features)
            found.auxiliary.append(logits)
            if correlations is not None:
                found.correlations.append(correlations)
        return found
