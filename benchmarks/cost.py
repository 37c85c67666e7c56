"""What the trainings of every table cost at a scale, counted, not run: operations, hours, weights.

    python benchmarks/cost.py --rate TFLOP/S [--data real] [--scale paper]

Operations of a step (forward, losses, backward) are counted on tensors without memory. A training takes

    hours = steps x operations of a step / rate / 3600

where ``rate`` is what a machine really does: `step.py` prints operations and time of a step, and their quotient is it.
Each table counts all its trainings; those that it shares with another table are trained once.
"""

from __future__ import annotations

import argparse
from functools import cache

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ssc import matrix
from ssc.config import Settings
from ssc.losses import objective
from ssc.models.network import Network, parameter_count
from ssc.runs import RunSettings, run_settings

PAPER = "the paper's own"
FIGURE_5 = "tau"  # the table behind its curve, which is not printed as a table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, required=True, help="10^12 operations a second that a training reaches")
    parser.add_argument("--data", default="real", choices=matrix.DATA)
    parser.add_argument("--scale", default="paper", choices=matrix.SCALES)
    options = parser.parse_args()
    settings = Settings(data=options.data, scale=options.scale)
    tables = {name: _runs(table, settings) for name, table in matrix.tables().items()}
    own = [name for name, table in matrix.tables().items() if table.published or name == FIGURE_5]
    paper = {run for name in own for run in tables[name]}
    print("| table | trainings | 10^15 operations | hours | weights |\n|---|---|---|---|---|")
    for name, runs in {PAPER: paper, **tables}.items():
        if name != PAPER and not set(runs) - paper:
            continue
        operations, parameters = (sum(values) for values in zip(*(_cost(run, settings) for run in runs), strict=True))
        label = name if name == PAPER else f"`{name}`, beyond them {len(set(runs) - paper)}"
        hours = operations / (options.rate * 1e12) / 3600
        print(f"| {label} | {len(runs)} | {operations / 1e15:,.3g} | {hours:,.1f} | {4 * parameters / 2**30:.1f} GiB |")


def _runs(table: matrix.Table, settings: Settings) -> list[matrix.Run]:
    """The trainings behind a table."""
    runs = matrix.table_runs(table.name, settings.data_of(table.task), settings.scale, list(settings.seeds))
    return [run for run in runs if not run.external]


def _cost(run: matrix.Run, settings: Settings) -> tuple[int, int]:
    """Operations of a training, and its network's parameters."""
    found = run_settings(settings, run)
    alike = found.model_copy(update={"key": "", "cases": {m: {} for m in found.modalities}, "code": ""})
    operations, parameters = _step(alike.model_dump_json())
    return found.optimiser.steps * operations, parameters


@cache
def _step(text: str) -> tuple[int, int]:
    settings = RunSettings.model_validate_json(text)
    network = Network(settings.network, settings.classes, settings.modalities).to("meta")
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")  # tensors of the CPU, but without memory
        size, images = network.view.size, settings.sampling.images
        inputs = {m: torch.zeros(images, network.view.channels, *size) for m in settings.modalities}
        labels = {m: torch.zeros((images, 1, *size), dtype=torch.long) for m in settings.modalities}
        embeddings = {m: entry.weight for m, entry in network.class_embeddings.items()}
        with FlopCounterMode(display=False) as counter:
            objective(network(inputs), labels, embeddings, settings.objective)[0].backward()
    return counter.get_total_flops(), parameter_count(network.parameters())


if __name__ == "__main__":
    main()
