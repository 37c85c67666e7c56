"""Label maps from elsewhere, scored as the workflow scores its own, so that they can stand in its tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ssc import matrix
from ssc.data import phantoms
from ssc.data.nifti import read_nifti
from ssc.data.preprocess import read_case, to_scan_grid
from ssc.data.scan import check_same_geometry, map_labels
from ssc.data.sources import source
from ssc.errors import DataError, RunError
from ssc.metrics import SCORES, score_case
from ssc.settings import nearest
from ssc.tasks import Task, tasks
from ssc.whole import whole

COLUMNS = ("case", "modality", "structure", "grid", "status", *SCORES)
ENDINGS = (".nii.gz", ".nii")


def rows_of(
    case: str, modality: str, grid: str, prediction: np.ndarray, truth: sitk.Image, structures: Sequence[str]
) -> list[dict]:
    """Rows of scores.csv of one case on one grid; ``prediction`` (D, H, W) with our label values."""
    scores = score_case(prediction, sitk.GetArrayFromImage(truth), truth.GetSpacing()[::-1], structures)
    return [{"case": case, "modality": modality, "grid": grid, **row} for row in scores]


def write_scores(rows: Iterable[dict], path: Path) -> None:
    """scores.csv, whole or not at all."""
    with whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def score_folder(folder: Path, run: matrix.Run, raw: Mapping[str, Path], names: Mapping[int, str] | None) -> list[str]:
    """Score ``MODALITY_CASE.nii.gz`` of every test case of an external run; its scores.csv and run.json are written.

    A label map lies on its scan's grid or on the preprocessed case's (then scored on both; beside it ``.npz`` may hold
    ``probabilities``, classes first). ``names``: label value there -> structure; None: our values. Returns the names of
    the cases without a file, which count as missed. Raises DataError, RunError.
    """
    if not matrix.variants()[run.variant].external:
        raise RunError(
            f"method {run.variant}: not external. Add a row to config/matrix.yaml under variants: "
            f"{run.variant}: {{ label: …, joint: true, external: true }}"
        )
    task, rows, missing = tasks()[run.task], [], []
    values = _values(task, names)
    for modality in run.modalities:
        archive = source(task.source(modality))
        if run.data == "phantom":
            phantoms.ensure(task.source(modality), raw[modality])
        for case in run.cases[modality]["test"]:
            truth = archive.read(raw[modality], case, task.values(modality)).label
            file = _file(folder, f"{modality}_{case}")
            if file is None:
                missing.append(f"{modality} {case}")
                nothing = np.zeros(truth.GetSize()[::-1], np.uint8)
                rows += rows_of(case, modality, "native", nothing, truth, _structures(task))
                continue
            cases = matrix.cases_folder(run.data, run.scale, run.task, modality)
            for grid, (prediction, label) in _on_grids(file, truth, cases, case, values).items():
                rows += rows_of(case, modality, grid, prediction, label, _structures(task))
    if len(missing) == sum(len(run.cases[modality]["test"]) for modality in run.modalities):
        raise DataError(f"{folder}: no label map of a test case, expected names such as {_example(run)}.nii.gz")
    write_scores(rows, run.predictions("test") / "scores.csv")
    with whole(run.folder / "run.json") as path:
        path.write_text(json.dumps({"key": run.key, "external": str(folder), "missing": missing}, indent=1) + "\n")
    return missing


def _structures(task: Task) -> list[str]:
    return [structure.name for structure in task.structures]


def _values(task: Task, names: Mapping[int, str] | None) -> list[tuple[int, int]] | None:
    """Label values there of our labels 1, 2, …; None: ours."""
    if names is None:
        return None
    unknown = set(names.values()) - set(_structures(task))
    if unknown:
        name = sorted(unknown)[0]
        raise DataError(f"--map: '{name}' is no structure of {task.name}; {nearest(name, _structures(task))}")
    of_name = {name: value for value, name in names.items()}
    lacking = [name for name in _structures(task) if name not in of_name]
    if lacking:
        raise DataError(f"--map: no value for {', '.join(lacking)}")
    return [(of_name[name], of_name[name]) for name in _structures(task)]


def _on_grids(
    file: Path, truth: sitk.Image, cases: Path, case: str, values: list[tuple[int, int]] | None
) -> dict[str, tuple[np.ndarray, sitk.Image]]:
    """Our labels and the truth, by grid: the scan's, or also the case's where the label map lies on that."""
    image = read_nifti(file).image
    ours = [(value, value) for value in range(1, 256)]
    accepted = [(0, 0), *ours]
    labels = map_labels(sitk.GetArrayFromImage(image), values or ours, str(file), accepted)
    if image.GetSize() == truth.GetSize() or not (cases / f"{case}_image.nii.gz").is_file():
        check_same_geometry(truth, image, str(file))
        return {"native": (labels, truth)}
    case_image, case_label = read_case(cases, case)
    check_same_geometry(case_image, image, str(file))
    stored = file.with_name(file.name.removesuffix(".gz").removesuffix(".nii") + ".npz")
    if stored.is_file():
        with np.load(stored) as arrays:
            shares = arrays["probabilities"]
    else:
        shares = np.stack([labels == value for value in range(int(labels.max()) + 1)])
    return {"native": (to_scan_grid(shares, case_image, truth), truth), "preprocessed": (labels, case_label)}


def _file(folder: Path, name: str) -> Path | None:
    found = [path for path in (folder / f"{name}{ending}" for ending in ENDINGS) if path.is_file()]
    return found[0] if found else None


def _example(run: matrix.Run) -> str:
    modality = run.modalities[0]
    return f"{modality}_{run.cases[modality]['test'][0]}"
