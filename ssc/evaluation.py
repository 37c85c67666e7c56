"""Scores of a part of a run's split: every case segmented, on both grids."""

from __future__ import annotations

import csv
from pathlib import Path

import SimpleITK as sitk
import torch

from ssc import matrix
from ssc.data import phantoms
from ssc.data.preprocess import read_case, to_scan_grid
from ssc.data.scan import Scan
from ssc.data.sources import source
from ssc.data.writing import write_image
from ssc.inference import Predictor
from ssc.metrics import SCORES, score_case
from ssc.tasks import tasks
from ssc.whole import whole

COLUMNS = ("case", "modality", "structure", "grid", "status", *SCORES)


def evaluate(folder: Path, part: str, overlap: float, raw: dict[str, Path], device: torch.device) -> None:
    """Segment and score every case of a part of the run's split, on both grids.

    Writes ``MODALITY_CASE.nii.gz`` in each scan's geometry and, last, ``scores.csv``.
    """
    predictor = Predictor.of_run(folder, overlap, device)
    run = matrix.Run.from_key(predictor.run)
    task, out = tasks()[run.task], run.predictions(part)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for modality in run.modalities:
        if run.data == "phantom":
            phantoms.ensure(task.source(modality), raw[modality])
        archive = source(task.source(modality))
        cases = matrix.cases_folder(run.data, run.scale, run.task, modality)
        for case in run.cases[modality][part]:
            scan = archive.read(raw[modality], case, task.values(modality))
            rows += _evaluate_case(predictor, scan, modality, read_case(cases, case), out)
    with whole(out / "scores.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _evaluate_case(
    predictor: Predictor, scan: Scan, modality: str, case: tuple[sitk.Image, sitk.Image], out: Path
) -> list[dict]:
    found = predictor.case_probabilities(case[0], modality)
    native = to_scan_grid(found, case[0], scan.image)
    label = sitk.GetImageFromArray(native)
    label.CopyInformation(scan.image)
    write_image(label, out / f"{modality}_{scan.case}.nii.gz")
    grids = {"native": (native, scan.label), "preprocessed": (found.argmax(axis=0), case[1])}
    rows = []
    for grid, (prediction, truth) in grids.items():
        truth_array, spacing_mm = sitk.GetArrayFromImage(truth), truth.GetSpacing()[::-1]
        scores = score_case(prediction, truth_array, spacing_mm, predictor.structures)
        rows += [{"case": scan.case, "modality": modality, "grid": grid, **row} for row in scores]
    return rows
