"""A folded network in a form that needs neither this package nor its configuration: torch.export's .pt2, or ONNX.

Beside it a ``MODALITY.metadata.json`` with the keys of a MONAI bundle's metadata.json that fit.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Literal

import monai
import numpy as np
import torch
from torch import Tensor, nn

from ssc.errors import RunError, UserError
from ssc.inference import Card, read_folded
from ssc.models.network import Network
from ssc.whole import whole

Format = Literal["export", "onnx"]
SUFFIX = {"export": "pt2", "onnx": "onnx"}


class OneModality(nn.Module):
    """Windows (B, channels, *S) of one modality -> logits (B, Z, *S)."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """The folded network's ``predict``."""
        return self.network.predict(image, self.network.modalities[0])


def check_format(form: Format) -> None:
    """Raises UserError where the packages of the extra ``onnx`` are wanted and missing."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if form == "onnx" and missing:
        raise UserError(f"--format onnx: the packages {', '.join(missing)} are missing; pip install onnx onnxscript")


def write_exported(folder: Path, form: Format) -> None:
    """Each folded network of ``folder`` as ``MODALITY.pt2`` or ``.onnx``, for one window at a time, and its metadata.

    Raises RunError for a card of another version, and for a network that torch cannot export.
    """
    for card, network in read_folded(folder):
        name = f"{card.modality}.{SUFFIX[form]}"
        try:
            with whole(folder / name) as path:
                _export(network, form, path)
        except RuntimeError as error:  # torch's exporters raise its children
            build, why = card.network.backbone.build, str(error).strip().splitlines()[0]
            raise RunError(f"{folder / name}: torch cannot export {build}: {why}") from None
        with whole(folder / f"{card.modality}.metadata.json") as path:
            path.write_text(json.dumps(_metadata(card, name), indent=1) + "\n", "utf-8")


def _export(network: Network, form: Format, path: Path) -> None:
    layers = OneModality(network).eval()
    window = torch.zeros(1, network.view.channels, *network.view.size)
    with torch.no_grad():
        layers(window)  # so that the masks that attention keeps are real, not those of torch's tracing
        program = torch.export.export(layers, (window,))
    if form == "export":
        torch.export.save(program, path)
        return
    # torch's exporter tells of packages that it could use, on stdout and by logging.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program, input_names=["image"], output_names=["logits"], dynamo=True)
    made.save(path, external_data=False)


def _metadata(card: Card, name: str) -> dict:
    """The keys of MONAI's bundle metadata that fit a network of one modality."""
    view = card.network.view
    window = {"type": "image", "spatial_shape": list(view.size), "dtype": "float32", "is_patch_data": True}
    classes = ["background", *card.labels]
    return {
        "version": card.commit,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "name": card.run,
        "task": f"segmentation of {', '.join(card.labels)}",
        "network": name,
        "preprocessing": card.preprocessing,
        "network_data_format": {
            "inputs": {
                "image": {
                    **window,
                    "format": "hounsfield" if card.preprocessing["kind"] == "ct" else "magnitude",
                    "modality": card.modality.upper(),
                    "num_channels": view.channels,
                    "channel_def": {
                        str(i): "image" if view.channels == 1 else f"slice {i}" for i in range(view.channels)
                    },
                }
            },
            "outputs": {
                "pred": {
                    **window,
                    "format": "logits",
                    "num_channels": len(classes),
                    "channel_def": {str(value): label for value, label in enumerate(classes)},
                }
            },
        },
    }
