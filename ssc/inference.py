"""Prediction: sliding windows over a case, the way back to the scan's geometry, scores of a split's part.

External Attention Modules and auxiliary heads take no part.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference
from safetensors.torch import load_file
from torch import Tensor

from ssc import matrix
from ssc.config import RunSettings
from ssc.data.preprocess import read_case, to_case, to_scan_grid
from ssc.data.sampling import pad_to
from ssc.data.scan import Scan, dicom_modality, read_image
from ssc.data.sources import source
from ssc.errors import DataError, RunError
from ssc.metrics import SCORES, score_case
from ssc.models.network import Network, inference_state

COLUMNS = ("case", "modality", "structure", "grid", "status", *SCORES)


@torch.inference_mode()
def probabilities(network: Network, image: Tensor, modality: str, crop: Sequence[int], overlap: float) -> Tensor:
    """Class probabilities (Z, D, H, W) of an image (1, D, H, W), from overlapping windows of size ``crop``.

    Windows are weighted by a Gaussian; an image smaller than a window is padded with its minimum.
    """
    padded = pad_to(image, crop, float(image.min()))
    logits = sliding_window_inference(
        padded[None], crop, 4, lambda windows: network.predict(windows, modality), overlap, mode="gaussian"
    )
    start = [(p - s) // 2 for p, s in zip(padded.shape[1:], image.shape[1:], strict=True)]
    inside = tuple(slice(a, a + s) for a, s in zip(start, image.shape[1:], strict=True))
    return logits[0].float().softmax(dim=0)[(slice(None), *inside)]


class Predictor:
    """A trained run, ready to segment scans.

    Raises RunError where the run's folder is incomplete.
    """

    def __init__(self, folder: Path, overlap: float, device: torch.device):
        self.run = matrix.Run.from_key(str(folder))
        self.task, self.overlap, self.device = matrix.tasks()[self.run.task], overlap, device
        for name in ("settings.json", "run.json", "weights.safetensors"):
            if not (folder / name).is_file():
                raise RunError(
                    f"{folder}: {name} is missing; is the run trained? Make it with snakemake {folder}/{name}"
                )
        self.settings = RunSettings.model_validate_json((folder / "settings.json").read_text("utf-8"))
        self.preprocessing = json.loads((folder / "run.json").read_text("utf-8"))["preprocessing"]
        self.network = inference_network(self.settings, self.run)
        state = inference_state(load_file(folder / "weights.safetensors"), self.settings.flags["modulation"])
        self.network.load_state_dict(state)
        self.network.to(device).eval()

    def case_probabilities(self, case: sitk.Image, modality: str) -> np.ndarray:
        """Class probabilities (Z, D, H, W) on the grid of a preprocessed case."""
        image = torch.from_numpy(sitk.GetArrayFromImage(case))[None].to(self.device)
        found = probabilities(self.network, image, modality, self.settings.network["crop"], self.overlap)
        return found.cpu().numpy()

    def segment(self, scan: Scan) -> np.ndarray:
        """Label map (D, H, W) on the scan's own grid."""
        case = to_case(scan, **self.preprocessing[scan.modality]).image
        return to_scan_grid(self.case_probabilities(case, scan.modality), case, scan.image)


def inference_network(settings: RunSettings, run: matrix.Run) -> Network:
    """The run's network without External Attention Modules."""
    task = matrix.tasks()[run.task]
    flags = {**settings.flags, "eam": False, "icr": False}
    return Network(task.backbone, task.spatial_dims, task.classes, run.modalities, flags, settings.network)


def evaluate(folder: Path, part: str, overlap: float, raw: dict[str, Path], device: torch.device) -> None:
    """Segment and score every case of a part of the run's split, on both grids.

    Writes ``MODALITY_CASE.nii.gz`` in each scan's geometry and, last, ``scores.csv``.
    """
    predictor = Predictor(folder, overlap, device)
    run, out = predictor.run, predictor.run.predictions(part)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for modality in run.modalities:
        archive = source(predictor.task.modalities[modality])
        values = predictor.task.source_values(predictor.task.modalities[modality])
        cases = matrix.cases_folder(run.data, run.scale, run.task, modality)
        for case in matrix.splits()[run.task][run.split][modality][part]:
            scan = archive.read(raw[modality], case, values)
            rows += _evaluate_case(predictor, scan, read_case(cases, case), out)
    partial = out / "scores.csv.part"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(out / "scores.csv")


def _evaluate_case(predictor: Predictor, scan: Scan, case: tuple[sitk.Image, sitk.Image], out: Path) -> list[dict]:
    names = [structure.name for structure in predictor.task.structures]
    found = predictor.case_probabilities(case[0], scan.modality)
    native = to_scan_grid(found, case[0], scan.image)
    label = sitk.GetImageFromArray(native)
    label.CopyInformation(scan.image)
    sitk.WriteImage(label, str(out / f"{scan.modality}_{scan.case}.nii.gz"), useCompression=True)
    grids = {"native": (native, scan.label), "preprocessed": (found.argmax(axis=0), case[1])}
    rows = []
    for grid, (prediction, truth) in grids.items():
        scores = score_case(prediction, sitk.GetArrayFromImage(truth), truth.GetSpacing()[::-1], names)
        rows += [{"case": scan.case, "modality": scan.modality, "grid": grid, **row} for row in scores]
    return rows


def predict_scan(
    folder: Path, path: Path, out: Path, modality: str | None, overlap: float, device: torch.device
) -> None:
    """Segment a user's own scan, a NIfTI file or a DICOM folder, into a NIfTI label map of its geometry.

    ``modality`` may be left out for DICOM. Raises DataError, RunError.
    """
    predictor = Predictor(folder, overlap, device)
    if modality is None and path.is_dir():
        modality = dicom_modality(path)
    known = predictor.run.modalities
    if modality not in known:
        raise DataError(
            f"{path}: modality {modality or 'unknown'}; this run knows {', '.join(known)}. Give --modality."
        )
    scan = Scan(path.name, modality, read_image(path), None)
    labels = predictor.segment(scan)
    partial = out.with_name(f".part-{out.name}")  # keeps the ending that tells the format
    if path.is_dir():
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(scan.image)
        sitk.WriteImage(image, str(partial), useCompression=True)
    else:
        given = nib.load(path)
        header = given.header.copy()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        nib.save(type(given)(labels.transpose(2, 1, 0), given.affine, header), partial)
    partial.replace(out)
