"""Scores of a part of a run's split: every case segmented, on both grids."""

from __future__ import annotations

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
from ssc.scoring import rows_of, write_scores
from ssc.tasks import tasks


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
    write_scores(rows, out / "scores.csv")


def _evaluate_case(
    predictor: Predictor, scan: Scan, modality: str, case: tuple[sitk.Image, sitk.Image], out: Path
) -> list[dict]:
    found = predictor.case_probabilities(case[0], modality)
    native = to_scan_grid(found, case[0], scan.image)
    label = sitk.GetImageFromArray(native)
    label.CopyInformation(scan.image)
    write_image(label, out / f"{modality}_{scan.case}.nii.gz")
    rows = rows_of(scan.case, modality, "native", native, scan.label, predictor.structures)
    best = found.argmax(axis=0)
    return rows + rows_of(scan.case, modality, "preprocessed", best, case[1], predictor.structures)
