"""Seconds of a training step, variant by variant, as ratios to the backbone's in the same run.

    python benchmarks/step.py [--data phantom|real] [--scale small] [--threads 1] [--steps 20]

Inputs are random; the network, losses and optimiser are those of the configured preset. Quote the ratios:
absolute times differ from machine to machine and with what else runs there.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from ssc import matrix
from ssc.config import Settings, run_settings
from ssc.losses import objective
from ssc.models.network import Network, initialise


def seconds(variant: matrix.Variant, data: str, scale: str, steps: int) -> float:
    """Median seconds of one step: forward, losses, backward, optimiser."""
    run = matrix.Run(data, scale, "abdomen", "draw0", 0, variant.name, None if variant.joint else "ct")
    settings, task = run_settings(Settings(), run), matrix.tasks()[run.task]
    modules = (task.backbone, task.spatial_dims, task.classes, run.modalities, settings.flags, settings.network)
    network = initialise(Network(*modules), seed=0)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    crop, images = settings.sampling["crop"], settings.sampling["images"]
    inputs = {m: torch.randn(images, 1, *crop) for m in run.modalities}
    labels = {m: torch.randint(0, task.classes, (images, 1, *crop)) for m in run.modalities}
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    times = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        optimiser.zero_grad()
        objective(network(inputs), labels, embeddings, settings.losses)[0].backward()
        optimiser.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


def main() -> None:
    """Print a line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="phantom", choices=("phantom", "real"))
    parser.add_argument("--scale", default="small", choices=("smoke", "small", "paper"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reference = None
    for variant in matrix.variants().values():
        took = seconds(variant, options.data, options.scale, options.steps)
        reference = reference or took
        images = 2 if variant.joint else 1
        print(
            f"{variant.name:14} {1000 * took:7.1f} ms a step of {images} modalities, {took / reference:5.2f} x backbone"
        )


if __name__ == "__main__":
    main()
