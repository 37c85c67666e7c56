"""Table 3: the configuration of the tasks' backbones, read from networks that are really built."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ssc import matrix
from ssc.config import Settings
from ssc.models.backbones.transformer import Transformer
from ssc.models.backbones.windows import WindowAttention
from ssc.models.network import Network, parameter_count
from ssc.presets import Data, Scale
from ssc.runs import run_settings
from ssc.settings import View
from ssc.tasks import Task, tasks

# What the paper's Table 3 prints, by row and task.
PRINTED = {
    "encoder blocks": {"heart": "2, 2, 2, 2", "abdomen": "2, 2, 2, 2"},
    "decoder blocks": {"heart": "2, 2, 2, 2", "abdomen": "2, 2, 2, 2"},
    "patch": {"heart": "4 × 4", "abdomen": "4 × 4 × 2"},
    "down-sampling": {"heart": "patch merging", "abdomen": "strided convolution"},
    "up-sampling": {"heart": "patch expanding", "abdomen": "strided convolution"},
}


def describe(settings: Settings, data: Data, scale: Scale) -> list[dict[str, Any]]:
    """Rows of Table 3 for the paper's two tasks: task, backbone, row, ours, printed.

    Networks are built without storage (PyTorch's meta device), so that any scale fits any machine.
    """
    rows = []
    for task in (task for task in tasks().values() if task.published_as):
        for name, value in _numbers(settings, data, scale, task).items():
            printed = PRINTED.get(name, {}).get(task.name, "")
            rows.append(
                {"task": task.name, "backbone": task.backbone, "row": name, "ours": value, "printed": printed}
                | {"data": data, "scale": scale}
            )
    return rows


def _numbers(settings: Settings, data: Data, scale: Scale, task: Task) -> dict[str, Any]:
    plain, ours = (_network(settings, data, scale, task, variant) for variant in ("backbone", "ours"))
    view, backbone = plain.view, plain.backbone
    with FlopCounterMode(display=False) as counter:
        plain.predict(torch.empty(1, view.channels, *view.size, device="meta"), plain.modalities[0])
    numbers = {"window of inference": _times(view.crop), "patch": _times(_patch(backbone, view))}
    attention = {part: _attention(getattr(backbone, part)) for part in ("encoder", "decoder")}
    for part, blocks in attention.items():
        stages = list(blocks.values())
        numbers[f"{part} blocks"] = ", ".join(str(len(stage)) for stage in stages)
        numbers[f"{part} widths"] = ", ".join(str(stage[0].projection.out_features) for stage in stages)
        numbers[f"{part} heads"] = ", ".join(str(stage[0].heads) for stage in stages)
        numbers[f"{part} windows"] = ", ".join(_times(stage[0].window) for stage in stages)
    numbers |= {"down-sampling": _sampling(backbone.encoder), "up-sampling": _sampling(backbone.decoder)}
    numbers["parameters of the backbone"] = parameter_count(plain.parameters())
    numbers["parameters of Ours in training"] = parameter_count(ours.parameters())
    numbers["GFLOP a window (2 × multiply-add)"] = round(counter.get_total_flops() / 1e9, 2)
    return numbers


def _network(settings: Settings, data: Data, scale: Scale, task: Task, variant: str) -> Network:
    modality = None if matrix.variants()[variant].joint else next(iter(task.modalities))
    run = matrix.Run(data, scale, task.name, task.draws[0], 0, variant, modality)
    chosen = run_settings(settings, run)
    with torch.device("meta"):
        return Network(chosen.network, chosen.classes, run.modalities).eval()


def _attention(part: nn.Module) -> dict[str, list[WindowAttention]]:
    """The attention layers of each stage, in order."""
    stages: dict[str, list[WindowAttention]] = {}
    for name, module in part.named_modules():
        if isinstance(module, WindowAttention):
            stages.setdefault(".".join(name.split(".")[:2]), []).append(module)
    return stages


def _patch(backbone: Transformer, view: View) -> list[int]:
    """Voxels a token of the first stage, D H W or H W."""
    tokens = backbone.encoder.patch_embedding(torch.empty(1, view.channels, *view.size, device="meta"))
    return [-(-s // t) for s, t in zip(view.size, tokens.shape[1:-1], strict=True)]


def _sampling(part: nn.Module) -> str:
    """How a part goes from one grid to the next: by its layer between two stages."""
    kinds = {
        "Merge": "patch merging",
        "Down": "strided convolution",
        "Expand": "patch expanding",
        "Up": "strided convolution",
    }
    return next(kinds[type(module).__name__] for module in part.modules() if type(module).__name__ in kinds)


def _times(values: tuple[int, ...] | list[int]) -> str:
    return " × ".join(map(str, values))
