"""Folding: a trained network becomes one plain backbone per modality, with nothing left of the modulation.

Φ of Eq. 13 is a constant vector per modality and branch, so the backbone takes it into its weights. What stays of the
method is the modality's image embedding, whose bias no zero-padded convolution could take in.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ssc.errors import RunError
from ssc.models.network import Network
from ssc.settings import NetworkSettings


@torch.no_grad()
def fold(network: Network, modality: str) -> Network:
    """The network of one modality: its image embedding and a backbone, with Eq. 13-15 folded.

    ``predict`` gives the same logits as before; without modulation it is a mere selection. The given
    network stays as it is. Raises RunError where it does not know the modality.
    """
    if modality not in network.modalities:
        raise RunError(f"modality {modality}: this network knows {', '.join(network.modalities)}")
    plain = copy.deepcopy(network)
    plain.settings, plain.modalities = folded_settings(network.settings), (modality,)
    if plain.image_embedding:
        plain.image_embedding = nn.ModuleDict({modality: plain.image_embedding[modality]})
    for module in plain.parted:
        module.keep(modality)
    if plain.own_encoders:
        plain.backbone.encoder, plain.own_encoders = plain.own_encoders[modality], nn.ModuleDict()
    plain.class_embeddings, plain.eam, plain.modulation = nn.ModuleDict(), nn.ModuleDict(), None
    if network.modulation is not None:
        plain.backbone.fold(network.modulation(network.class_embeddings[modality].weight[None]))
    return plain


def folded_settings(settings: NetworkSettings) -> NetworkSettings:
    """What is left of a network's settings once it is folded."""
    return settings.model_copy(update={"own_encoder": False, "eam": None, "modulation": None})


def unfolded(settings: NetworkSettings, classes: int, modality: str, modulated: bool) -> Network:
    """A folded network without its weights, for a state to be loaded into."""
    network = Network(settings, classes, (modality,))
    if modulated:  # where a branch keeps its Φ, there is a place for it
        network.backbone.fold([torch.ones(1, width) for width in network.backbone.branch_widths])
    return network
