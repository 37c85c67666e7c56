"""Seconds of a training step, variant by variant, as ratios to the backbone's in the same run.

    python benchmarks/step.py [--task abdomen] [--data phantom] [--scale small] [--images N] [--threads 1]
                              [--steps 20] [--variants backbone ours …]

Inputs are random; network and losses are those of the default preset, with plain AdamW (no clipping, no stochastic
depth). Quote the ratios:
absolute times differ from machine to machine and with what else runs there.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from ssc import matrix
from ssc.config import Settings
from ssc.losses import objective
from ssc.models.network import Network, initialise
from ssc.runs import run_settings
from ssc.tasks import tasks


def seconds(variant: matrix.Variant, options: argparse.Namespace) -> float:
    """Median seconds of one step: forward, losses, backward, optimiser."""
    split, modality = tasks()[options.task].draws[0], None if variant.joint else "ct"
    run = matrix.Run(options.data, options.scale, options.task, split, 0, variant.name, modality)
    settings = run_settings(Settings(), run)
    network = initialise(Network(settings.network, settings.classes, run.modalities), seed=0)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    images, view = options.images or settings.sampling.images, network.view
    inputs = {m: torch.randn(images, view.channels, *view.size) for m in run.modalities}
    labels = {m: torch.randint(0, settings.classes, (images, 1, *view.size)) for m in run.modalities}
    embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
    times = []
    warm_up = min(3, options.steps - 1)
    for _ in range(options.steps + warm_up):
        started = time.perf_counter()
        optimiser.zero_grad()
        objective(network(inputs), labels, embeddings, settings.objective)[0].backward()
        optimiser.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[warm_up:])


def main() -> None:
    """Print a line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="abdomen", choices=tasks())
    parser.add_argument("--variants", nargs="+", default=[*matrix.variants()], choices=matrix.variants())
    parser.add_argument("--images", type=int, help="of each modality; default: the preset's")
    parser.add_argument("--data", default="phantom", choices=matrix.DATA)
    parser.add_argument("--scale", default="small", choices=matrix.SCALES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reference = None
    for name in options.variants:
        variant = matrix.variants()[name]
        took = seconds(variant, options)
        reference = reference or took
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{name:14} {1000 * took:9.1f} ms a step of {1 + variant.joint} modalities, "
            f"{took / reference:5.2f} x {options.variants[0]}; peak memory so far {peak:.1f} GiB"
        )


if __name__ == "__main__":
    main()
