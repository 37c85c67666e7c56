"""Scores of a part of a run's split: every case segmented, on both grids."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
import torch

from ssc import matrix
from ssc.data.preprocess import read_case, read_truth, to_scan_grid
from ssc.data.writing import write_image
from ssc.inference import Predictor
from ssc.scoring import rows_of, write_scores


def evaluate(folder: Path, part: str, overlap: float, device: torch.device) -> None:
    """Segment and score every case of a part of the run's split, on the case's grid and on its scan's.

    Writes ``label_maps/MODALITY_CASE.nii.gz`` in each scan's geometry and, last, ``scores.csv``.
    """
    predictor = Predictor.of_run(folder, overlap, device)
    run = matrix.Run.from_key(predictor.run)
    out, rows = run.predictions(part), []
    for modality in run.modalities:
        for case in run.cases[modality][part]:
            cases = run.cases_folder(modality)
            image, label = read_case(cases, case)
            truth = read_truth(cases, case)
            found = predictor.case_probabilities(image, modality)
            native = to_scan_grid(found, image, truth)
            _write(native, truth, out / "label_maps" / f"{modality}_{case}.nii.gz")
            for grid, predicted, true in (("native", native, truth), ("preprocessed", found.argmax(axis=0), label)):
                rows += rows_of(case, modality, grid, predicted, true, predictor.structures)
    write_scores(rows, out / "scores.csv")


def _write(labels, like: sitk.Image, path: Path) -> None:
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(like)
    write_image(image, path)
