"""Label maps from elsewhere, scored as the workflow scores its own, so that they can stand in its tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ssc import matrix
from ssc.data.nifti import ENDINGS, read_nifti, stem
from ssc.data.preprocess import read_case, read_truth, to_scan_grid
from ssc.data.scan import LABEL_ROUNDING, check_same_geometry
from ssc.errors import DataError, RunError
from ssc.metrics import SCORES, score_case
from ssc.settings import nearest
from ssc.tasks import Task, tasks
from ssc.whole import whole

COLUMNS = ("case", "modality", "structure", "grid", "status", *SCORES)
Scored = tuple[np.ndarray, sitk.Image]  # our labels (D, H, W), and the truth


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


def score_folder(folder: Path, run: matrix.Run, names: Mapping[int, str] | None) -> list[str]:
    """Score ``MODALITY_CASE.nii.gz`` of every test case of an external run; its scores.csv and run.json are written.

    A label map lies on its scan's grid or on the preprocessed case's (then scored on both; beside it ``.npz`` may hold
    ``probabilities``, classes first). ``names``: label value there -> structure, of which several may be one; None: our
    values. Returns the names of the cases without a file, which count as missed. Raises DataError, MissingDataError
    where the split's cases are not made yet, RunError.
    """
    if not matrix.variants()[run.variant].external:
        raise RunError(
            f"method {run.variant}: not external. Add a row to config/matrix.yaml under variants: "
            f"{run.variant}: {{ label: …, joint: true, external: true }}"
        )
    task = tasks()[run.task]
    ours = _our_values(task, names)
    found: dict[tuple[str, str], dict[str, Scored]] = {}
    missing: dict[tuple[str, str], sitk.Image] = {}
    for modality in run.modalities:
        for case in run.cases[modality]["test"]:
            truth = read_truth(run.cases_folder(modality), case)
            file = _file(folder, f"{modality}_{case}")
            if file is None:
                missing[modality, case] = truth
            else:
                found[modality, case] = _on_grids(file, truth, run.cases_folder(modality), case, ours)
    if not found:
        raise DataError(f"{folder}: no label map of a test case, expected names such as {_example(run)}.nii.gz")
    on_cases = any("preprocessed" in grids for grids in found.values())
    for (modality, case), truth in missing.items():
        truths = {"native": truth}
        if on_cases:
            truths["preprocessed"] = read_case(run.cases_folder(modality), case)[1]
        found[modality, case] = {grid: (np.zeros(x.GetSize()[::-1], np.uint8), x) for grid, x in truths.items()}
    rows = [
        row
        for modality in run.modalities
        for case in run.cases[modality]["test"]
        for grid, (prediction, truth) in found[modality, case].items()
        for row in rows_of(case, modality, grid, prediction, truth, [structure.name for structure in task.structures])
    ]
    write_scores(rows, run.predictions("test") / "scores.csv")
    lacking = [f"{modality} {case}" for modality, case in missing]
    with whole(run.folder / "run.json") as path:
        path.write_text(json.dumps({"key": run.key, "external": str(folder), "missing": lacking}, indent=1) + "\n")
    return lacking


def _our_values(task: Task, names: Mapping[int, str] | None) -> dict[int, int]:
    """Our label value of every value there; what is not among them is background where names were given."""
    values = {structure.name: value for value, structure in enumerate(task.structures, start=1)}
    if names is None:
        return {0: 0, **{value: value for value in values.values()}}
    for name in names.values():
        if name not in values:
            raise DataError(f"--map: '{name}' is no structure of {task.name}; {nearest(name, values)}")
    lacking = [name for name in values if name not in names.values()]
    if lacking:
        raise DataError(f"--map: no value for {', '.join(lacking)}")
    return {value: values[name] for value, name in names.items()}


def _on_grids(file: Path, truth: sitk.Image, cases: Path, case: str, ours: Mapping[int, int]) -> dict[str, Scored]:
    """Our labels and the truth, by grid: the scan's, or also the case's where the label map lies on that."""
    image = read_nifti(file).image
    labels = _translated(image, ours, file)
    if image.GetSize() == truth.GetSize():
        check_same_geometry(truth, image, str(file))
        return {"native": (labels, truth)}
    case_image, case_label = read_case(cases, case)
    check_same_geometry(case_image, image, str(file))
    shares = _shares(file, labels, ours)
    return {"native": (to_scan_grid(shares, case_image, truth), truth), "preprocessed": (labels, case_label)}


def _translated(image: sitk.Image, ours: Mapping[int, int], file: Path) -> np.ndarray:
    """Our labels (D, H, W). Raises DataError for fractions, and for values beyond ours, if no map was given."""
    array = sitk.GetArrayFromImage(image)
    rounded = np.round(array).astype(np.int64)
    if (np.abs(array - rounded) > LABEL_ROUNDING).any():
        raise DataError(f"{file}: holds fractions, expected whole numbers. Was it interpolated?")
    unnamed = sorted(set(np.unique(rounded).tolist()) - set(ours))
    if unnamed and 0 in ours:
        raise DataError(f"{file}: label has value {unnamed[0]}, expected ours, 0 to {max(ours)}. Give --map.")
    labels = np.zeros(rounded.shape, np.uint8)
    for value, label in ours.items():
        labels[rounded == value] = label
    return labels


def _shares(file: Path, labels: np.ndarray, ours: Mapping[int, int]) -> np.ndarray:
    """Probabilities (Z, D, H, W) in the order of our labels, from the file beside; else 1 where the label is."""
    classes = max(ours.values()) + 1
    stored = file.with_name(f"{stem(file.name)}.npz")
    if not stored.is_file():
        return np.stack([labels == value for value in range(classes)])
    with np.load(stored) as arrays:
        if "probabilities" not in arrays:
            raise DataError(f"{stored}: no array named probabilities")
        given = arrays["probabilities"]
    if given.shape[1:] != labels.shape or len(given) <= max(ours):
        expected = (max(ours) + 1, *labels.shape)
        raise DataError(f"{stored}: probabilities have shape {given.shape}, expected {expected} or more classes")
    shares = np.zeros((classes, *labels.shape), np.float32)
    for value, probability in enumerate(given):
        shares[ours.get(value, 0)] += probability
    return shares


def _file(folder: Path, name: str) -> Path | None:
    found = [path for path in (folder / f"{name}{ending}" for ending in ENDINGS) if path.is_file()]
    return found[0] if found else None


def _example(run: matrix.Run) -> str:
    modality = run.modalities[0]
    return f"{modality}_{run.cases[modality]['test'][0]}"
