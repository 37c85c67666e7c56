"""Figures 1-3 as diagrams, drawn from the variants' flags and Table 3: what the code has, not what we remember."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import FancyBboxPatch, Patch

from ssc import matrix
from ssc.tasks import Task

SHARED, OWN, ATTENTION, LOSS, DATA = "#cfe2f3", "#fff2cc", "#d9ead3", "#f4cccc", "#eeeeee"
DROPPED = "dashed: dropped at inference"
Point = tuple[float, float]


def figure1(table3: pd.DataFrame, task: Task) -> plt.Figure:
    """The framework of Ours: two modalities through one network, modules at every decoder stage, four losses."""
    ours, rows = matrix.variants()["ours"], _rows(table3, task)
    figure, axis = _canvas((12.5, 6.8), (0, 25.6), (-0.4, 12.6))
    names = _shown(task)
    heights = dict(zip(names, (10.2, 1.2), strict=True))
    widths, blocks = rows["encoder widths"].split(", "), rows["encoder blocks"].split(", ")
    _box(axis, (5.2, 5.8), 2.6, 4.4, "encoder\n" + _stages("G", blocks, widths), SHARED)
    decoder_widths, decoder_blocks = rows["decoder widths"].split(", "), rows["decoder blocks"].split(", ")
    for scale, (width, count) in enumerate(zip(decoder_widths, decoder_blocks, strict=True), start=1):
        x = 6.2 + 3.2 * scale
        _box(axis, (x, 5.8), 2.4, 1.7, f"decoder L{scale}\n{count} blocks\n{width} channels", SHARED)
        _arrow(axis, (x - (2.0 if scale > 1 else 2.9), 5.8), (x - 1.2, 5.8))
        for name, y in heights.items():
            at = 8.4 if y > 5.8 else 3.2
            _box(axis, (x, at), 2.4, 1.0, f"EAM {name.upper()}\nscale {scale}", ATTENTION, dashed=True)
            _arrow(axis, (x, 6.65 if y > 5.8 else 4.95), (x, at + (-0.5 if y > 5.8 else 0.5)), dashed=True)
            if scale < len(decoder_widths):
                _arrow(axis, (x + 1.2, at), (x + 2.0, at), dashed=True)
    for name, y in heights.items():
        _box(axis, (1.2, y), 1.8, 1.1, f"{name.upper()}\nimage", DATA)
        _box(axis, (1.2, 8.0 if y > 5.8 else 3.6), 1.8, 1.1, "image\nembedding", OWN)
        _arrow(axis, (1.2, y + (-0.55 if y > 5.8 else 0.55)), (1.2, 8.55 if y > 5.8 else 3.05))
        _arrow(axis, (2.1, 8.0 if y > 5.8 else 3.6), (3.9, 6.6 if y > 5.8 else 5.0))
        at = 8.4 if y > 5.8 else 3.2
        _box(axis, (6.4, y), 2.2, 1.1, f"class embeddings\nQ {name.upper()}", OWN)
        _arrow(axis, (7.5, y), (8.2, at), dashed=True)
        if ours.modulation:
            _arrow(axis, (6.0, y + (-0.55 if y > 5.8 else 0.55)), (5.6, 8.0 if y > 5.8 else 3.6))
            axis.text(4.1, 9.0 if y > 5.8 else 2.5, "Φ on the branches of\nevery block", fontsize=7.5, ha="center")
        _box(axis, (19.4, at), 3.4, 1.1, "auxiliary maps and E,\nEq. 6-9", LOSS, dashed=True)
        _arrow(axis, (17.0, at), (17.7, at), dashed=True)
    _box(axis, (19.4, 5.8), 3.4, 1.1, "segmentation", DATA)
    _arrow(axis, (17.0, 5.8), (17.7, 5.8))
    both = " and ".join(map(str.upper, names))
    if ours.mcr:
        _box(axis, (13.4, 11.4), 6.6, 1.1, f"modality consistency: Q of {both}, Eq. 10", LOSS, dashed=True)
        _arrow(axis, (7.5, 10.6), (10.1, 11.3), dashed=True)
        around = ((7.5, 0.9), (8.4, 0.1), (25.2, 0.1), (25.2, 11.4))  # the second modality's way round the network
        axis.plot(*zip(*around, strict=True), color="0.2", linestyle="--", linewidth=1)
        _arrow(axis, (25.2, 11.4), (16.7, 11.4), dashed=True)
    if ours.icr:
        _box(axis, (23.2, 5.8), 2.8, 1.7, f"image consistency:\nE of {both},\nEq. 11", LOSS, dashed=True)
        for at, end in ((8.4, 6.65), (3.2, 4.95)):
            _arrow(axis, (21.1, at), (22.6, end), dashed=True)
    _legend(figure)
    axis.set_title("Figure 1: training of Ours", fontsize=11)
    return figure


def figure2(task: Task) -> plt.Figure:
    """The External Attention Module at one scale, step by step."""
    figure, axis = _canvas((10, 4.6), (0, 20), (0, 9))
    _box(axis, (1.6, 7.2), 2.6, 1.2, "class embeddings\nZ × D", OWN)
    _box(axis, (1.6, 2.6), 2.6, 1.2, "feature map\nP × D", SHARED)
    _box(axis, (5.4, 7.2), 2.6, 1.2, "LN, W_Q", ATTENTION, dashed=True)
    _box(axis, (5.4, 2.6), 2.6, 1.2, "LN, W_K", ATTENTION, dashed=True)
    _box(axis, (9.2, 4.9), 2.8, 1.3, "semantic-aware maps\nA = q kᵀ, N heads", ATTENTION, dashed=True)
    for y in (7.2, 2.6):
        _arrow(axis, (2.9, y), (4.1, y), dashed=True)
        _arrow(axis, (6.7, y), (7.8, 5.3 if y > 5 else 4.5), dashed=True)
    _box(axis, (14.2, 7.4), 4.6, 1.3, "softmax over P, values, W_O, MLP\nEq. 2-5", ATTENTION, dashed=True)
    _box(axis, (14.2, 4.9), 4.6, 1.3, "filters K = Q W, gates over classes\nE (Z × Z), Eq. 6-8", ATTENTION, dashed=True)
    _box(axis, (14.2, 2.4), 4.6, 1.3, "1 × 1 convolution a class\nauxiliary map, Eq. 9", ATTENTION, dashed=True)
    for y, target in ((7.4, "next scale's\nembeddings"), (4.9, "image\nconsistency"), (2.4, "auxiliary\nloss")):
        _arrow(axis, (10.6, 4.9), (11.9, y), dashed=True)
        _arrow(axis, (16.5, y), (17.5, y), dashed=True)
        _box(axis, (18.7, y), 2.4, 1.2, target, DATA if y > 7 else LOSS, dashed=True)
    axis.text(0.4, 0.6, f"Z = {task.classes} classes with background; one module a modality and scale", fontsize=9)
    _title(axis, "Figure 2: External Attention Module")
    return figure


def figure3(task: Task, names: Sequence[str] = ("joint_v1", "joint_v2", "joint_v3")) -> plt.Figure:
    """The three joint architectures, by their flags."""
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 5.2), layout="constrained")
    for axis, letter, name in zip(axes, "abc", names, strict=True):
        axis.set(xlim=(0, 10), ylim=(0, 11.6))
        axis.axis("off")
        _architecture(axis, matrix.variants()[name], _shown(task))
        axis.set_title(f"({letter}) {matrix.variants()[name].label}", fontsize=12)
    figure.suptitle("Figure 3: yellow: a modality's own, blue: shared; " + DROPPED, fontsize=10)
    return figure


def _architecture(axis: plt.Axes, variant: matrix.Variant, modalities: Sequence[str]) -> None:
    columns = dict(zip(modalities, (2.6, 7.4), strict=True))
    for name, x in columns.items():
        _box(axis, (x, 0.7), 3.2, 0.9, f"{name.upper()} image", DATA)
        _box(axis, (x, 2.3), 3.2, 0.9, "image embedding", OWN)
        _arrow(axis, (x, 1.15), (x, 1.85))
        _arrow(axis, (x, 2.75), (x, 3.55))
        if variant.own_encoder:
            _box(axis, (x, 4.1), 3.6, 1.1, f"encoder {name.upper()}", OWN)
        _arrow(axis, (x, 4.65), (x, 5.55))
        _box(axis, (x, 8.2), 3.2, 0.9, f"EAM {name.upper()}", ATTENTION, dashed=True)
        _arrow(axis, (x, 6.65), (x, 7.75), dashed=True)
        _box(axis, (x, 10.2), 3.2, 0.9, f"Q {name.upper()}", OWN, dashed=not variant.modulation)
        _arrow(axis, (x, 9.75), (x, 8.65), dashed=True)
    if not variant.own_encoder:
        _box(axis, (5, 4.1), 8.4, 1.1, "encoder", SHARED)
    _box(axis, (5, 6.1), 8.4, 1.1, "decoder, heads", SHARED)
    if variant.modulation:
        for x, far, edge in ((1.0, 0.3, 0.8), (9.0, 9.7, 9.2)):
            axis.plot([x, far, far], [10.2, 10.2, 4.1], color="0.2", linewidth=1)
            for y in (6.1, 4.1):
                _arrow(axis, (far, y), (edge, y))
        axis.text(5, 9.35, "Φ multiplies every\nblock's branches", fontsize=8, ha="center", va="center")


def _shown(task: Task) -> list[str]:
    """The first two modalities: further ones would look the same."""
    return list(task.modalities)[:2]


def _rows(table3: pd.DataFrame, task: Task) -> dict[str, str]:
    return table3[table3["task"] == task.name].set_index("row")["ours"].astype(str).to_dict()


def _stages(letter: str, blocks: Sequence[str], widths: Sequence[str]) -> str:
    numbered = enumerate(zip(blocks, widths, strict=True), start=1)
    return "\n".join(f"{letter}{i}: {count} blocks,\n{width} channels" for i, (count, width) in numbered)


def _legend(figure: plt.Figure) -> None:
    colours = {"data": DATA, "a modality's own": OWN, "shared": SHARED, "External Attention": ATTENTION, "losses": LOSS}
    keys = [Patch(facecolor=colour, edgecolor="0.25", label=label) for label, colour in colours.items()]
    keys.append(Patch(facecolor="none", edgecolor="0.25", linestyle="--", label=DROPPED.removeprefix("dashed: ")))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=9)


def _canvas(size: Point, x: Point, y: Point) -> tuple[plt.Figure, plt.Axes]:
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.set(xlim=x, ylim=y)
    axis.axis("off")
    return figure, axis


def _title(axis: plt.Axes, text: str) -> None:
    axis.set_title(f"{text}   (yellow: a modality's own, blue: shared; {DROPPED})", fontsize=10)


def _box(axis: plt.Axes, at: Point, width: float, height: float, text: str, colour: str, dashed: bool = False) -> None:
    corner = at[0] - width / 2, at[1] - height / 2
    style = {"boxstyle": "round,pad=0,rounding_size=0.18", "linestyle": "--" if dashed else "-"}
    axis.add_patch(FancyBboxPatch(corner, width, height, facecolor=colour, edgecolor="0.25", **style))
    axis.text(*at, text, ha="center", va="center", fontsize=8)


def _arrow(axis: plt.Axes, start: Point, end: Point, dashed: bool = False) -> None:
    style = {"arrowstyle": "-|>", "color": "0.2", "linestyle": "--" if dashed else "-", "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=style)
