"""The paper's figures. matplotlib, no torch."""

from __future__ import annotations

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
from matplotlib.lines import Line2D

from ssc import matrix
from ssc.data.scan import Scan
from ssc.data.sources import source
from ssc.results.tables import read_scores

REFERENCE = "ours"  # the method whose median case is shown


@dataclass(frozen=True)
class Shown:
    """The case of a row of Figure 4: chosen by rule, never by looks."""

    modality: str
    split: str
    case: str
    dice: float


def median_case(scores: pd.DataFrame, modality: str) -> Shown:
    """The test result whose mean Dice over structures is the (lower) median of Ours on the native grid."""
    chosen = scores[(scores["method"] == REFERENCE) & (scores["modality"] == modality) & (scores["grid"] == "native")]
    means = chosen.groupby(["split", "case"], sort=True)["dice"].mean().sort_values(kind="stable")
    split, case = means.index[(len(means) - 1) // 2]
    return Shown(modality, split, case, float(means.iloc[(len(means) - 1) // 2]))


def best_slice(label: np.ndarray) -> int:
    """The axial slice (D, H, W) with the most structures, and among those with the most labelled voxels."""
    structures = np.stack([(label == value).any(axis=(1, 2)) for value in np.unique(label[label > 0])]).sum(axis=0)
    return int(np.lexsort(((label > 0).sum(axis=(1, 2)), structures))[-1])


def figure4(runs: Sequence[matrix.Run], task: matrix.Task, raw: dict[str, str]) -> plt.Figure:
    """Overlays of one case a modality: scan, ground truth, and the label map of every method."""
    scores = read_scores(runs)
    methods = list(dict.fromkeys(run.variant for run in runs))
    titles = ["Scan", "Ground truth", *(matrix.variants()[method].label for method in methods)]
    columns = (len(titles) + 1) // 2
    figure = plt.figure(figsize=(2.3 * columns, 10.8), layout="constrained", facecolor="white")
    for part, modality in zip(figure.subfigures(len(task.modalities), 1), task.modalities, strict=True):
        shown = median_case(scores, modality)
        part.suptitle(
            f"{modality.upper()}, case {shown.case} of {shown.split}: median Dice of Ours ({shown.dice:.1f} %)",
            fontweight="bold",
        )
        archive = task.modalities[modality]
        scan = source(archive).read(Path(raw[modality]), shown.case, task.source_values(archive))
        maps = [None, scan.label, *(_prediction(runs, method, shown) for method in methods)]
        axes = part.subplots(2, columns).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, title, label in zip(axes, titles, maps, strict=False):
            _panel(axis, scan, label, task)
            axis.set_title(title, fontsize=11)
    legend = [Line2D([], [], color=s.colour, linewidth=7, label=s.label) for s in task.structures]
    note = f"{runs[0].data} data, {runs[0].scale} scale, seed {runs[0].seed}"
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=12, title=note)
    return figure


def _prediction(runs: Sequence[matrix.Run], method: str, shown: Shown) -> sitk.Image:
    run = next(
        run for run in runs if run.variant == method and run.split == shown.split and shown.modality in run.modalities
    )
    return sitk.ReadImage(str(run.predictions("test") / f"{shown.modality}_{shown.case}.nii.gz"))


def _panel(axis: plt.Axes, scan: Scan, label: sitk.Image | None, task: matrix.Task) -> None:
    """One axial slice as a radiologist sees it: the patient's right on the left, the front on top."""
    image = sitk.DICOMOrient(scan.image, "LPS")
    truth = sitk.GetArrayFromImage(sitk.DICOMOrient(scan.label, "LPS"))
    z = best_slice(truth)
    picture = sitk.GetArrayFromImage(image)
    low, high = (-125, 275) if scan.modality == "ct" else np.percentile(picture[picture > 0], (0.5, 99.5))
    width, height = (n * s for n, s in zip(image.GetSize()[:2], image.GetSpacing()[:2], strict=True))
    options = {"extent": (0, width, height, 0), "interpolation": "nearest"}
    axis.imshow(picture[z], cmap="gray", vmin=low, vmax=high, **options | {"interpolation": "bilinear"})
    if label is None:
        return
    values = sitk.GetArrayFromImage(sitk.DICOMOrient(label, "LPS"))[z]
    colours = ListedColormap([s.colour for s in task.structures])
    axis.imshow(np.ma.masked_equal(values, 0), cmap=colours, vmin=0.5, vmax=task.classes - 0.5, alpha=0.45, **options)
    centres = [
        np.linspace(0, length, n, endpoint=False) + length / n / 2
        for length, n in ((width, values.shape[1]), (height, values.shape[0]))
    ]
    for value, structure in enumerate(task.structures, start=1):
        if (values == value).any():
            axis.contour(*centres, values == value, levels=[0.5], colors=structure.outline, linewidths=1.4)
