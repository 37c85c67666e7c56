"""What a training step costs on this machine, variant by variant, as one table to paste.

    python benchmarks/step.py [--task abdomen] [--data phantom] [--scale small] [--images N] [--threads 1]
                              [--steps 20] [--device auto] [--variants backbone ours …]

Inputs are random; network and losses are those of the preset, with plain AdamW (no clipping, no stochastic depth); a
GPU computes the forward pass in bfloat16, as a training does. The share is that of the machine's own rate at products
of large matrices of that type. Quote the ratios: times differ from machine to machine and with what else runs there.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssc import matrix
from ssc.config import Settings
from ssc.losses import objective
from ssc.models.network import Network, initialise, parameter_count
from ssc.runs import run_settings
from ssc.tasks import tasks

SIDE = 4096  # of the matrices whose product gives the machine's rate; a quarter of it on a CPU


@dataclass
class Step:
    """One step of a variant's training, on random images."""

    network: Network
    inputs: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]
    settings: object

    def __post_init__(self):
        self.optimiser = torch.optim.AdamW(self.network.parameters(), fused=True)

    @classmethod
    def of(cls, variant: matrix.Variant, options: argparse.Namespace) -> Step:
        """That of a variant at a task, data and scale."""
        device = torch.device(getattr(options, "device", "cpu"))
        split, modality = tasks()[options.task].draws[0], None if variant.joint else "ct"
        run = matrix.Run(options.data, options.scale, options.task, split, 0, variant.name, modality)
        settings = run_settings(Settings(), run)
        network = initialise(Network(settings.network, settings.classes, run.modalities), seed=0).to(device)
        images, view = options.images or settings.sampling.images, network.view
        shape, classes = (images, view.channels, *view.size), settings.classes
        inputs = {m: torch.randn(shape, device=device) for m in run.modalities}
        labels = {m: torch.randint(0, classes, (images, 1, *view.size), device=device) for m in run.modalities}
        return cls(network, inputs, labels, settings)

    @property
    def images(self) -> int:
        """Of all modalities."""
        return sum(len(image) for image in self.inputs.values())

    def __call__(self) -> None:
        """Forward, losses, backward, optimiser; waits until a GPU has done it."""
        embeddings = {m: entry.weight for m, entry in self.network.class_embeddings.items()}
        device = next(iter(self.inputs.values())).device
        self.optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            outputs = self.network(self.inputs)
        objective(outputs, self.labels, embeddings, self.settings.objective)[0].backward()
        self.optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, steps: int) -> float:
        """The median of some steps, after three to warm up."""
        times = []
        for _ in range(steps + min(3, steps - 1)):
            started = time.perf_counter()
            self()
            times.append(time.perf_counter() - started)
        return statistics.median(times[-steps:])


def seconds(variant: matrix.Variant, options: argparse.Namespace) -> float:
    """Median seconds of one step; `against.py` asks for it."""
    return Step.of(variant, options).seconds(options.steps)


def matrix_rate(device: torch.device) -> float:
    """Floating-point operations a second of this device in large products, of the type that a training uses there."""
    side = SIDE if device.type == "cuda" else SIDE // 4
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
    times = []
    for _ in range(12):
        started = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(times[2:])


def peak_gib(device: torch.device) -> float:
    """Peak memory: on a GPU of the tensors since the last reset, on a CPU of the whole process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="abdomen", choices=tasks())
    trained = [name for name, row in matrix.variants().items() if not row.external and "_rate_" not in name]
    parser.add_argument("--variants", nargs="+", default=trained, choices=trained, metavar="VARIANT")
    parser.add_argument("--images", type=int, help="of each modality; default: the preset's")
    parser.add_argument("--data", default="phantom", choices=matrix.DATA)
    parser.add_argument("--scale", default="small", choices=matrix.SCALES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_args()
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    rate = matrix_rate(device)
    name = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"CPU ({platform.machine()}), {options.threads} threads"
    )
    print(f"{name}, torch {torch.__version__}, {rate / 1e9:.0f} GFLOP/s in large products; "
          f"{options.task}, {options.data} data, {options.scale} scale\n")  # fmt: skip
    print("| variant | parameters | ms a step | images a step | images a second | GFLOP a step | share of the rate "
          "| peak memory |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name in options.variants:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        step = Step.of(matrix.variants()[name], options)
        took = step.seconds(options.steps)
        with FlopCounterMode(display=False) as counter:
            step()
        operations, images = counter.get_total_flops(), step.images
        print(f"| {name} | {parameter_count(step.network.parameters()):,} | {1000 * took:.1f} | {images} | "
              f"{images / took:.1f} | {operations / 1e9:.2f} | {100 * operations / took / rate:.0f} % | "
              f"{peak_gib(device):.1f} GiB |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
