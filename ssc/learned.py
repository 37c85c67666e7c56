"""What a trained network with External Attention Modules has learned, as arrays for a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssc import matrix
from ssc.data.sampling import load_case
from ssc.errors import RunError
from ssc.inference import read_run
from ssc.models.network import Network
from ssc.whole import whole


@torch.inference_mode()
def write_learned(folder: Path, out: Path) -> None:
    """One window of the first test case of each modality through the training network of a run.

    The npz holds, under ``MODALITY/``: ``image`` and ``label``, the window's middle slice (H, W); ``auxiliary``,
    class probabilities (Z, h, w) of the finest auxiliary map there; ``E1`` … ``E3`` (Z, Z) of every scale;
    ``phi``, the mean of |Φ - 1| in every branch. Raises RunError for a run without modules.
    """
    settings, _, state = read_run(folder)
    if settings.network.eam is None:
        raise RunError(f"{folder}: this variant has no External Attention Modules; take a run of another one")
    network = Network(settings.network, settings.classes, settings.modalities).eval()
    network.load_state_dict(state)
    run = matrix.Run.from_key(settings.key)
    windows = {m: _window(run, m, network.view.crop) for m in run.modalities}
    volumes = network.view.spatial_dims == 3
    outputs = network({m: image[None] if volumes else image for m, (image, _) in windows.items()})
    arrays = {}
    for m, output in outputs.items():
        image, label = windows[m]
        middle = image.shape[1] // 2
        arrays[f"{m}/image"], arrays[f"{m}/label"] = image[0, middle], label[0, middle]
        finest = output.semantics.auxiliary[-1][0].softmax(dim=0)  # (Z, *S)
        arrays[f"{m}/auxiliary"] = finest[:, finest.shape[1] // 2] if volumes else finest
        arrays |= {f"{m}/E{scale}": e[0] for scale, e in enumerate(output.semantics.correlations, start=1)}
        if network.modulation is not None:
            factors = network.modulation(network.class_embeddings[m].weight[None])
            arrays[f"{m}/phi"] = torch.tensor([float((phi - 1).abs().mean()) for phi in factors])
    with whole(out) as path:
        np.savez_compressed(path, **{name: np.asarray(value) for name, value in arrays.items()})


def _window(run: matrix.Run, modality: str, crop: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Image and label (1, *crop) around the middle of the structures of the first test case."""
    image, label = load_case(run.cases_folder(modality), run.cases[modality]["test"][0], crop)
    centre = (label[0] > 0).nonzero().float().mean(dim=0).round().int().tolist()
    starts = [max(0, min(c - w // 2, n - w)) for c, w, n in zip(centre, crop, label.shape[1:], strict=True)]
    inside = (slice(None), *(slice(a, a + w) for a, w in zip(starts, crop, strict=True)))
    return image[inside], label[inside]
