"""The paper's figures. matplotlib, no torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import SimpleITK as sitk
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from ssc import matrix
from ssc.contrasts import structure_differences
from ssc.data import phantoms
from ssc.data.scan import Scan
from ssc.data.sources import source
from ssc.errors import UserError
from ssc.jobs import Files
from ssc.results.tables import read_scores
from ssc.tasks import Task, tasks

OURS = "#0072b2"  # colour of our own results
# Orientation of a case -> axes on the page: the patient's right on the left, the front or the head on top.
PAGE = {"RAS": "LPS", "RSA": "LIP", "ASR": "PIR"}


@dataclass(frozen=True)
class Shown:
    """A test result of a figure's row."""

    modality: str
    split: str
    case: str
    dice: float  # of one method, its mean over structures


def median_case(scores: pd.DataFrame, modality: str, method: str) -> Shown:
    """The test result whose mean Dice over structures is the (lower) median of a method's on the native grid."""
    means = _means(scores, modality, method).sort_values(kind="stable")
    split, case = means.index[(len(means) - 1) // 2]
    return Shown(modality, split, case, float(means.iloc[(len(means) - 1) // 2]))


def first_result(scores: pd.DataFrame, modality: str, case: str, method: str) -> Shown:
    """The result of a case in the first split that tests it. Raises UserError where none does."""
    means = _means(scores, modality, method)
    means = means[means.index.get_level_values("case") == case]
    if means.empty:
        raise UserError(f"{modality} case {case}: no test case of {method} here; config/matrix.yaml pictures it")
    return Shown(modality, means.index[0][0], case, float(means.iloc[0]))


def _means(scores: pd.DataFrame, modality: str, method: str) -> pd.Series:
    """Of each split and case."""
    chosen = scores[(scores["method"] == method) & (scores["modality"] == modality) & (scores["grid"] == "native")]
    means = chosen.groupby(["split", "case"], sort=True)["dice"].mean().dropna()  # without scans that show nothing
    if means.empty:
        raise UserError(f"no {modality} case of {method} shows a structure: nothing to picture")
    return means


def best_slice(label: np.ndarray) -> int:
    """The slice of a label map (D, H, W) with the most structures, and among those with the most labelled voxels."""
    structures = np.stack([(label == value).any(axis=(1, 2)) for value in np.unique(label[label > 0])]).sum(axis=0)
    return int(np.lexsort(((label > 0).sum(axis=(1, 2)), structures))[-1])


def figure4(runs: dict[str, Sequence[matrix.Run]], raw: dict[str, str]) -> plt.Figure:
    """Overlays of one case a task and modality: scan, ground truth, and the label map of every method.

    The case is the median one of the last method. ``runs``: task -> its runs; ``raw``: archive -> folder of raw scans.
    """
    first = next(iter(runs.values()))[0]
    runs = {name: [r for r in of_task if r.configured_seed == first.configured_seed] for name, of_task in runs.items()}
    rows = [
        (of_task, median_case(read_scores(of_task), modality, of_task[-1].variant), "median Dice")
        for name, of_task in runs.items()
        for modality in tasks()[name].modalities
        if any(modality in run.modalities for run in of_task)
    ]
    return _overlays(rows, raw)


def pictured_cases(table: matrix.Table, runs: Sequence[matrix.Run], raw: dict[str, str]) -> plt.Figure:
    """Overlays as in ``figure4`` of the cases that a table names, each in the first split that tests it.

    Label maps from elsewhere (external methods) are not shown.
    """
    runs = [run for run in runs if not run.external and run.configured_seed == runs[0].configured_seed]
    scores, last = read_scores(runs), runs[-1].variant
    shown = [first_result(scores, m, case, last) for m, cases in table.pictured.items() for case in cases]
    return _overlays([(runs, each, "Dice") for each in shown], raw)


def _overlays(rows: Sequence[tuple[Sequence[matrix.Run], Shown, str]], raw: dict[str, str]) -> plt.Figure:
    """A row a case: the runs that may have segmented it, the case, and what its Dice is called."""
    first = rows[0][0][0]
    panels = 2 + max(len({run.variant for run in runs}) for runs, _, _ in rows)
    lines = 1 if panels <= 3 else 2
    columns = -(-panels // lines)
    size = max(2.3 * columns, 7.5), (2.4 * lines + 0.4) * len(rows) + 0.5
    figure = plt.figure(figsize=size, layout="constrained", facecolor="white")
    parts = np.atleast_1d(figure.subfigures(len(rows), 1))
    for part, (runs, shown, measure) in zip(parts, rows, strict=True):
        label = matrix.variants()[runs[-1].variant].label
        case = f"{shown.modality.upper()}, case {shown.case} of {shown.split}"
        part.suptitle(f"{case}: {measure} of {label} ({shown.dice:.1f} %)", fontweight="bold")
        _draw_case(part, runs, shown, raw, (lines, columns))
    figure.supxlabel(f"{first.data} data, {first.scale} scale, seed {first.configured_seed}", fontsize=11)
    return figure


def _draw_case(
    part: SubFigure, runs: Sequence[matrix.Run], shown: Shown, raw: dict[str, str], panels: tuple[int, int]
) -> None:
    """Rows and columns of panels: the case by every method, and the legend of its task."""
    task, modality = tasks()[runs[0].task], shown.modality
    archive = task.source(modality)
    if runs[0].data == "phantom":
        phantoms.ensure(archive, Path(raw[archive]))
    scan = source(archive).read(Path(raw[archive]), shown.case, task.values(modality))
    methods = list(dict.fromkeys(run.variant for run in runs))
    titles = ["Scan", "Ground truth", *(matrix.variants()[method].label for method in methods)]
    maps = [None, scan.label, *(_prediction(runs, method, shown) for method in methods)]
    axes = part.subplots(*panels).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, title, label in zip(axes, titles, maps, strict=False):
        _panel(axis, scan, label, task, modality)
        axis.set_title(title, fontsize=11)
    legend = [Line2D([], [], color=s.colour, linewidth=7, label=s.label) for s in task.structures]
    part.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=11)


def _prediction(runs: Sequence[matrix.Run], method: str, shown: Shown) -> sitk.Image:
    run = next(
        run for run in runs if run.variant == method and run.split == shown.split and shown.modality in run.modalities
    )
    return sitk.ReadImage(str(run.predictions("test") / "label_maps" / f"{shown.modality}_{shown.case}.nii.gz"))


def _panel(axis: plt.Axes, scan: Scan, label: sitk.Image | None, task: Task, modality: str) -> None:
    """One slice as a radiologist sees it."""
    image = sitk.DICOMOrient(scan.image, PAGE[task.orientation])
    truth = sitk.GetArrayFromImage(sitk.DICOMOrient(scan.label, PAGE[task.orientation]))
    z = best_slice(truth)
    picture = sitk.GetArrayFromImage(image)
    intensity = task.modalities[modality].intensity
    window = intensity.clip if intensity.unit == "value" else None
    low, high = window or np.percentile(picture[picture > picture.min()], (0.5, 99))
    width, height = (n * s for n, s in zip(image.GetSize()[:2], image.GetSpacing()[:2], strict=True))
    options = {"extent": (0, width, height, 0), "interpolation": "nearest"}
    axis.imshow(picture[z], cmap="gray", vmin=low, vmax=high, **options | {"interpolation": "bilinear"})
    left, right, top, bottom = _body(picture[z])
    axis.set(xlim=(left * width, right * width), ylim=(bottom * height, top * height))
    if label is None:
        return
    values = sitk.GetArrayFromImage(sitk.DICOMOrient(label, PAGE[task.orientation]))[z]
    colours = ListedColormap([s.colour for s in task.structures])
    axis.imshow(np.ma.masked_equal(values, 0), cmap=colours, vmin=0.5, vmax=task.classes - 0.5, alpha=0.45, **options)
    centres = [
        np.linspace(0, length, n, endpoint=False) + length / n / 2
        for length, n in ((width, values.shape[1]), (height, values.shape[0]))
    ]
    for value, structure in enumerate(task.structures, start=1):
        if (values == value).any():
            axis.contour(*centres, values == value, levels=[0.5], colors=structure.outline, linewidths=1.4)


def _body(plane: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of what is brighter than the mean, and a tenth around it, as shares of the plane."""
    sides = []
    for axis in (0, 1):
        bright = np.flatnonzero((plane > plane.mean()).any(axis=axis)) / plane.shape[1 - axis]
        margin = 0.1 * (bright[-1] - bright[0])
        sides += [max(0, bright[0] - margin), min(1, bright[-1] + margin)]
    return tuple(sides)


def save(figure: plt.Figure, output: Files) -> None:
    """As ``output.pdf``, its fonts embedded, and ``output.png``; the same figure gives the same bytes."""
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # TrueType: text can be searched, and journals take it
        figure.savefig(output.pdf, metadata={"CreationDate": None})
    figure.savefig(output.png, dpi=200)


def overall_means(table: pd.DataFrame, labels: dict[str, str], note: str) -> plt.Figure:
    """Overall mean Dice of every method, a line each: ours with its interval, the paper's where one is printed.

    ``table``: tidy rows; ``labels``: method -> its name, in the order of the lines; ``note``: data and scale.
    """
    chosen = "metric == 'dice' and modality == 'overall' and grid == 'native'"
    rows = table.query(chosen).drop_duplicates("method").set_index("method").loc[list(labels)]
    figure, axis = plt.subplots(figsize=(8.3, 0.75 + 0.225 * len(rows)), layout="constrained", facecolor="white")
    places = np.arange(len(rows))
    errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    axis.errorbar(rows["mean"], places, xerr=errors, fmt="o", color=OURS, capsize=3, label=f"here, {note}")
    if rows["published_mean"].notna().any():
        axis.plot(rows["published_mean"], places, "x", color="#d55e00", label="the paper's, its own data and scale")
    axis.set_yticks(places, labels.values())
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_xlabel("overall mean Dice (%)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def patients_differences(table: matrix.Table, scores: pd.DataFrame, note: str) -> plt.Figure:
    """Every contrast of a table as one line a modality: a dot a patient, the difference of its mean Dice.

    Of a patient the mean over all results, of a result over its structures. A bar is the mean; patients beyond the
    quartiles by 1.5 times their distance are named. ``scores``: of the table's runs on the scans' own grid; ``note``:
    data and scale.
    """
    modalities = list(tasks()[table.task].modalities)
    size = 5.5 + 2.6 * len(modalities), 1.4 + 0.8 * len(table.contrasts)
    figure, axes = plt.subplots(1, len(modalities), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for place, pair in enumerate(table.contrasts):
        found = structure_differences(scores, *pair).groupby(["modality", "patient", "split", "seed", "case"])
        found = found["difference"].mean().groupby(["modality", "patient"]).mean()
        for axis, modality in zip(axes[0], modalities, strict=True):
            _draw_patients(axis, found[modality], place)
    labels = {name: variant.label for name, variant in matrix.variants().items()}
    axes[0, 0].set_yticks(range(len(table.contrasts)), [f"{labels[a]}\n− {labels[b]}" for a, b in table.contrasts])
    axes[0, 0].invert_yaxis()
    for axis, modality in zip(axes[0], modalities, strict=True):
        axis.axvline(0, color="0.5", linewidth=0.8)
        axis.set(title=modality.upper(), xlabel="difference of Dice (points)")
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right", "left"]].set_visible(False)
    figure.supxlabel(note, fontsize=9)
    return figure


def _draw_patients(axis: plt.Axes, differences: pd.Series, place: int) -> None:
    """One line of dots; its outliers with their names."""
    values = differences.sort_values()
    heights = place + 0.28 * np.sin(2.4 * np.arange(len(values)))  # apart from their neighbours
    axis.plot(values, heights, "o", color=OURS, markersize=4, alpha=0.6, markeredgewidth=0)
    axis.plot([values.mean()] * 2, [place - 0.38, place + 0.38], color="#d55e00", linewidth=2)
    low, high = values.quantile([0.25, 0.75])
    for (patient, value), height in zip(values.items(), heights, strict=True):
        if not low - 1.5 * (high - low) <= value <= high + 1.5 * (high - low):
            axis.annotate(str(patient), (value, height), (4, 3), textcoords="offset points", fontsize=7)


def figure5(
    table: pd.DataFrame, temperatures: dict[str, float], scores: pd.DataFrame, reference: str, note: str
) -> plt.Figure:
    """Overall mean Dice over the temperature τ of Eq. 11, beside the reference method's.

    ``table``: tidy rows of the tau table; ``temperatures``: method -> τ; ``scores``: its runs' scores, whose
    draws are shown as dots.
    """
    chosen = "metric == 'dice' and modality == 'overall' and grid == 'native'"
    overall = table.query(chosen).set_index("method")
    draws = scores[scores["grid"] == "native"].groupby(["method", "split", "modality", "structure"])["dice"].mean()
    draws = draws.groupby(["method", "split", "modality"]).mean().groupby(["method", "split"]).mean()
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    methods = sorted(temperatures, key=temperatures.get)
    x = [temperatures[method] for method in methods]
    means, low, high = (overall.loc[methods, name].to_numpy() for name in ("mean", "low", "high"))
    axis.errorbar(x, means, yerr=[means - low, high - means], fmt="o-", color="#0072b2", capsize=3, label="V3 + icr")
    for method in methods:
        dots = draws[method].to_numpy()
        axis.plot([temperatures[method]] * len(dots), dots, ".", color="0.6", markersize=4, zorder=0)
    row = overall.loc[reference]
    axis.axhline(row["mean"], color="#d55e00", linestyle="--", label=matrix.variants()[reference].label)
    axis.axhspan(row["low"], row["high"], color="#d55e00", alpha=0.12, linewidth=0)
    axis.set(xlabel="temperature τ", ylabel="overall mean Dice (%)", xticks=x)
    described = "bars and band: 95 % over patients; dots: single draws\nThe paper: rises from 1 to 4, falls after."
    axis.set_title(described, fontsize=9)
    axis.legend(frameon=False)
    figure.supxlabel(note, fontsize=8)
    return figure


def learned(
    arrays: dict[str, np.ndarray], history: pd.DataFrame, task: Task, names: Sequence[str], note: str
) -> plt.Figure:
    """What Ours has learned: auxiliary maps, class correlations E, cosines of the class embeddings, Φ.

    ``arrays``: what ``ssc.learned`` wrote; ``history``: of the same run; ``names``: of the classes.
    """
    figure = plt.figure(figsize=(11, 12), layout="constrained", facecolor="white")
    maps, correlations, lines = figure.subfigures(3, 1, height_ratios=(2.2, 1.2, 1.6))
    _draw_auxiliary(maps, arrays, task, names)
    _draw_correlations(correlations, arrays, task, names)
    cosine, phi = lines.subplots(1, 2)
    for name in names:
        cosine.plot(history["step"], history[f"cosine_{name}"], label=name)
    cosine.set(xlabel="step", ylabel="cosine of the modalities' embeddings", title="class embeddings, Eq. 10")
    cosine.legend(frameon=False, fontsize=8)
    for modality in task.modalities:
        phi.plot(arrays[f"{modality}/phi"], marker=".", label=modality.upper())
    phi.set(xlabel="residual branch, encoder first", ylabel="mean |Φ - 1|", title="channel multiplication, Eq. 13")
    phi.legend(frameon=False, fontsize=8)
    figure.supxlabel(note, fontsize=9)
    return figure


def _draw_auxiliary(part: SubFigure, arrays: dict, task: Task, names: Sequence[str]) -> None:
    """A row a modality: the slice with its labels, then the finest auxiliary map of every class."""
    part.suptitle("auxiliary maps of the finest map, Eq. 9 (class probability)")
    axes = part.subplots(len(task.modalities), len(names) + 1)
    colours = ListedColormap([s.colour for s in task.structures])
    for row, modality in zip(axes, task.modalities, strict=True):
        for axis in row:
            axis.axis("off")
        row[0].imshow(_as_on_page(arrays[f"{modality}/image"]), cmap="gray")
        labels = np.ma.masked_equal(_as_on_page(arrays[f"{modality}/label"]), 0)
        row[0].imshow(labels, cmap=colours, vmin=0.5, vmax=task.classes - 0.5, alpha=0.5)
        row[0].set_title(f"{modality.upper()}, truth", fontsize=9)
        for axis, name, probability in zip(row[1:], names, arrays[f"{modality}/auxiliary"], strict=True):
            axis.imshow(_as_on_page(probability), cmap="magma", vmin=0, vmax=1)
            axis.set_title(name, fontsize=9)


def _as_on_page(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W) of a case, whose axes run to the patient's right and to the front or head, as it is looked at."""
    return np.flip(plane, axis=(0, 1))


def _draw_correlations(part: SubFigure, arrays: dict, task: Task, names: Sequence[str]) -> None:
    """Softmax of E over j: at every scale the modalities side by side."""
    part.suptitle("class correlations softmax(E), Eq. 8")
    shown = [(modality, scale) for scale in (1, 2, 3) for modality in task.modalities]
    for axis, (modality, scale) in zip(part.subplots(1, len(shown)), shown, strict=True):
        e = arrays[f"{modality}/E{scale}"]
        shares = np.exp(e - e.max(axis=1, keepdims=True))
        axis.imshow(shares / shares.sum(axis=1, keepdims=True), cmap="viridis", vmin=0, vmax=1)
        axis.set_title(f"{modality.upper()}, scale {scale}", fontsize=9)
        axis.set_xticks(range(len(names)), names, fontsize=7, rotation=90)
        axis.set_yticks(range(len(names)), names if axis.get_subplotspec().is_first_col() else [], fontsize=7)


def training_curves(runs: Sequence[matrix.Run], note: str) -> plt.Figure:
    """Segmentation and auxiliary loss of every variant over the steps, modality by modality."""
    modalities = list(tasks()[runs[0].task].modalities)
    parts = ("seg", "aux")
    figure, axes = plt.subplots(2, len(modalities), figsize=(9, 6), sharex=True, sharey="row", layout="constrained")
    methods = list(dict.fromkeys(run.variant for run in runs))
    colours = dict(zip(methods, itertools.cycle(plt.get_cmap("tab10").colors)))
    for run in runs:
        history = pd.read_csv(run.folder / "history.csv")
        for row, part in enumerate(parts):
            for column, modality in enumerate(modalities):
                if f"{part}_{modality}" in history:
                    label = matrix.variants()[run.variant].label
                    axes[row, column].plot(
                        history["step"], history[f"{part}_{modality}"], color=colours[run.variant], label=label
                    )
    for column, modality in enumerate(modalities):
        axes[0, column].set_title(modality.upper())
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("segmentation loss")
    axes[1, 0].set_ylabel("auxiliary loss, Eq. 9")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{runs[0].split}, {note}")
    return figure
