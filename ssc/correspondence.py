"""Do the correlations E of two modalities know which class is which? The image consistency alone cannot tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ssc.models.network import Network


def own_rows(correlations: Mapping[str, Sequence[Tensor]], tau: float) -> Tensor:
    """Share of classes whose row of E in one modality is nearest to its own row in the other, (scales,); chance is 1/Z.

    correlations: modality -> E (B, Z, Z) of every scale; the k-th images of two modalities are a pair, as in Eq. 11.
    Near: KL in both directions between rows of softmax(E/τ). Means over pairs of modalities, images and classes.
    """
    shares = []
    for first, second in itertools.combinations(correlations.values(), 2):
        shares.append([_nearest_is_own(a / tau, b / tau) for a, b in zip(first, second, strict=True)])
    return torch.tensor(shares).mean(dim=0)


def _nearest_is_own(a: Tensor, b: Tensor) -> float:
    p, q = (F.log_softmax(e.double(), dim=-1) for e in (a, b))  # (B, Z, Z), over classes j
    p, q = p[:, :, None], q[:, None]  # every row of one against every row of the other
    far = ((p.exp() - q.exp()) * (p - q)).sum(dim=-1)  # (B, Z, Z)
    own = torch.arange(far.shape[1], device=far.device)
    return float((far.argmin(dim=-1) == own).double().mean())


@torch.no_grad()
def correspondence(network: Network, batches: Iterable[Mapping[str, Tensor]], tau: float) -> list[float]:
    """``own_rows`` of a trained network with correlations, a scale at a time; mean over batches of images."""
    network.eval()
    found = []
    for images in batches:
        outputs = network(dict(images))
        found.append(own_rows({m: output.semantics.correlations for m, output in outputs.items()}, tau))
    return [round(share, 4) for share in torch.stack(found).mean(dim=0).tolist()]
