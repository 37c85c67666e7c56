"""Folding: a trained network becomes one plain backbone per modality, with nothing left of the modulation.

Φ of Eq. 13 is a constant vector per modality, block and branch, and each branch ends in a linear layer:
Φ ⊙ (Wh + b) = (diag(Φ) W) h + Φ ⊙ b. What stays of the method is the modality's image embedding, whose
bias no zero-padded convolution could take in.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssc.errors import RunError
from ssc.models.network import Network
from ssc.models.windows import Block, CrossBlock


@torch.no_grad()
def fold(network: Network, modality: str) -> Network:
    """The network of one modality: its image embedding and a backbone, without flags (Eq. 13-15 folded).

    ``predict`` gives the same logits as before; without modulation it is a mere selection. The given
    network stays as it is. Raises RunError where it does not know the modality.
    """
    if modality not in network.modalities:
        raise RunError(f"modality {modality}: this network knows {', '.join(network.modalities)}")
    plain = copy.deepcopy(network)
    plain.modalities = (modality,)
    plain.image_embedding = nn.ModuleDict({modality: plain.image_embedding[modality]})
    if isinstance(plain.encoder, nn.ModuleDict):
        plain.encoder = plain.encoder[modality]
    plain.class_embeddings, plain.eam, plain.modulation = nn.ModuleDict(), nn.ModuleDict(), None
    if network.modulation is not None:
        factors = network.modulation(network.class_embeddings[modality].weight[None])
        for block, (phi1, phi2) in zip(_blocks(plain), factors, strict=True):
            _scale_rows(block.attention.projection, phi1[0])
            _scale_rows(block.mlp[-1], phi2[0])
    return plain


def _blocks(network: Network) -> list[Block | CrossBlock]:
    """All Transformer blocks in the order of the modulation: the encoder's, then the decoder's."""
    parts = (network.encoder, network.decoder)
    return [module for part in parts for module in part.modules() if isinstance(module, (Block, CrossBlock))]


def _scale_rows(layer: nn.Linear, phi: Tensor) -> None:
    """A linear layer whose outputs are those of before times ``phi``."""
    layer.weight.mul_(phi[:, None])
    layer.bias.mul_(phi)
