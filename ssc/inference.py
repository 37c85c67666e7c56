"""Prediction: sliding windows over a case, the way back to the scan's geometry, scores of a split's part.

External Attention Modules and auxiliary heads take no part.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssc import matrix
from ssc.build import build_network
from ssc.config import NETWORK_KEYS, RunSettings
from ssc.data import phantoms
from ssc.data.preprocess import read_case, to_case, to_scan_grid
from ssc.data.sampling import neighbouring_slices, pad_to
from ssc.data.scan import Scan, dicom_modality, read_image
from ssc.data.sources import source
from ssc.errors import DataError, RunError
from ssc.metrics import SCORES, score_case
from ssc.models.folding import fold
from ssc.models.network import Network, inference_state
from ssc.whole import whole

WINDOWS_AT_ONCE = 4
FOLDED = "*.folded.json"
NO_MRI = -100  # a little below 0 is resampling's; an MRI does not reach so far
COLUMNS = ("case", "modality", "structure", "grid", "status", *SCORES)


@torch.inference_mode()
def probabilities(network: Network, image: Tensor, modality: str, crop: Sequence[int], overlap: float) -> Tensor:
    """Class probabilities (Z, D, H, W) of an image (1, D, H, W), from overlapping windows of size ``crop``.

    Windows are weighted by a Gaussian; an image smaller than a window is padded with its minimum. A 2D
    network sees every slice with its neighbours.
    """
    flat = network.spatial_dims == 2
    window = crop[1:] if flat else crop
    padded = pad_to(image, window, float(image.min()))
    images = neighbouring_slices(padded, crop[0]) if flat else padded[None]
    logits = sliding_window_inference(
        images, window, WINDOWS_AT_ONCE, lambda x: network.predict(x, modality), overlap, mode="gaussian"
    )
    logits = logits.transpose(0, 1) if flat else logits[0]
    start = [(p - s) // 2 for p, s in zip(padded.shape[1:], image.shape[1:], strict=True)]
    inside = tuple(slice(a, a + s) for a, s in zip(start, image.shape[1:], strict=True))
    return logits.float().softmax(dim=0)[(slice(None), *inside)]


class Predictor:
    """Trained networks, ready to segment scans of their modalities.

    ``run``: key of the run that trained them; ``structures``: in the order of the label values 1, 2, …;
    ``networks``: modality -> network that predicts it (may be one for all); ``preprocessing``: modality ->
    arguments of ``to_case``.
    """

    def __init__(
        self,
        run: str,
        structures: Sequence[str],
        networks: dict[str, Network],
        preprocessing: dict[str, dict],
        crop: Sequence[int],
        overlap: float,
    ):
        self.run, self.structures = run, structures
        self.networks, self.preprocessing, self.crop, self.overlap = networks, preprocessing, crop, overlap

    @classmethod
    def load(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folder of a run, or one that ``write_folded`` made. Raises RunError where it is neither."""
        return (
            cls.of_folded(folder, overlap, device) if list(folder.glob(FOLDED)) else cls.of_run(folder, overlap, device)
        )

    @classmethod
    def of_run(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folder of a trained run. Raises RunError where it is incomplete."""
        run, settings, record, state = read_run(folder)
        flags = {**settings.flags, "eam": False, "icr": False}
        network = build_network(run.task, run.modalities, flags, settings.network)
        network.load_state_dict(inference_state(state, settings.flags["modulation"]))
        network.to(device).eval()
        networks = dict.fromkeys(run.modalities, network)
        crop = settings.network["crop"]
        return cls(run.key, settings.structures, networks, record["preprocessing"], crop, overlap)

    @classmethod
    def of_folded(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folded networks of ``folder``."""
        networks, preprocessing = {}, {}
        for path in sorted(folder.glob(FOLDED)):
            card = json.loads(path.read_text("utf-8"))
            modality = card["modality"]
            network = build_network(card["task"], (modality,), matrix.variants()["backbone"].flags(), card["network"])
            network.load_state_dict(load_file(folder / card["weights"]))
            networks[modality], preprocessing[modality] = network.to(device).eval(), card["preprocessing"]
        return cls(card["run"], list(card["labels"]), networks, preprocessing, card["network"]["crop"], overlap)

    def case_probabilities(self, case: sitk.Image, modality: str) -> np.ndarray:
        """Class probabilities (Z, D, H, W) on the grid of a preprocessed case."""
        network = self.networks[modality]
        image = torch.from_numpy(sitk.GetArrayFromImage(case))[None].to(next(network.parameters()).device)
        return probabilities(network, image, modality, self.crop, self.overlap).cpu().numpy()

    def segment(self, scan: Scan) -> np.ndarray:
        """Label map (D, H, W) on the scan's own grid."""
        case = to_case(scan, **self.preprocessing[scan.modality]).image
        return to_scan_grid(self.case_probabilities(case, scan.modality), case, scan.image)


def read_run(folder: Path) -> tuple[matrix.Run, RunSettings, dict, dict[str, Tensor]]:
    """A trained run: its key, settings, record and weights. Raises RunError where one is missing."""
    run = matrix.Run.from_key(str(folder))
    for name in ("settings.json", "run.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise RunError(f"{folder}: {name} is missing; is the run trained? Make it with snakemake {folder}/{name}")
    settings = RunSettings.model_validate_json((folder / "settings.json").read_text("utf-8"))
    record = json.loads((folder / "run.json").read_text("utf-8"))
    return run, settings, record, load_file(folder / "weights.safetensors")


def write_folded(folder: Path, out: Path) -> None:
    """Fold a trained run into one plain network a modality: ``MODALITY.safetensors``, ``MODALITY.folded.json``.

    The JSON holds all that a scan needs on its way: spacing, intensities, window, labels.
    """
    run, settings, record, state = read_run(folder)
    if settings.flags["unet"]:
        raise RunError(f"{folder}: a U-Net holds nothing to fold; give the run itself to ssc predict")
    network = build_network(run.task, run.modalities, settings.flags, settings.network)
    network.load_state_dict(state)
    labels = {structure.name: value for value, structure in enumerate(matrix.tasks()[run.task].structures, start=1)}
    for modality in run.modalities:
        with whole(out / f"{modality}.safetensors") as path:
            save_file(fold(network, modality).state_dict(), path)
        card = {
            "run": run.key,
            "commit": record["commit"],
            "task": run.task,
            "backbone": matrix.tasks()[run.task].backbone,
            "modality": modality,
            "weights": f"{modality}.safetensors",
            "labels": labels,
            "network": {key: settings.network[key] for key in NETWORK_KEYS},
            "preprocessing": record["preprocessing"][modality],
        }
        with whole(out / FOLDED.replace("*", modality)) as path:
            path.write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def evaluate(folder: Path, part: str, overlap: float, raw: dict[str, Path], device: torch.device) -> None:
    """Segment and score every case of a part of the run's split, on both grids.

    Writes ``MODALITY_CASE.nii.gz`` in each scan's geometry and, last, ``scores.csv``.
    """
    predictor, run = Predictor.of_run(folder, overlap, device), matrix.Run.from_key(str(folder))
    task, out = matrix.tasks()[run.task], run.predictions(part)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for modality in run.modalities:
        if run.data == "phantom":
            phantoms.ensure(task.modalities[modality], raw[modality])
        archive = source(task.modalities[modality])
        values = task.source_values(task.modalities[modality])
        cases = matrix.cases_folder(run.data, run.scale, run.task, modality)
        for case in run.cases[modality][part]:
            scan = archive.read(raw[modality], case, values)
            rows += _evaluate_case(predictor, scan, read_case(cases, case), task, out)
    with whole(out / "scores.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _evaluate_case(
    predictor: Predictor, scan: Scan, case: tuple[sitk.Image, sitk.Image], task: matrix.Task, out: Path
) -> list[dict]:
    names = [structure.name for structure in task.structures]
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


@dataclass(frozen=True)
class Prediction:
    """What became of a user's scan: modality, volume of every structure, doubts about the result."""

    modality: str
    volumes_ml: dict[str, float]
    warnings: list[str]


def predict_scan(
    folder: Path, path: Path, out: Path, modality: str | None, overlap: float, device: torch.device
) -> Prediction:
    """Segment a user's own scan, a NIfTI file or a DICOM folder, into a NIfTI label map of its geometry.

    ``modality`` may be left out for DICOM. Raises DataError, RunError.
    """
    named = dicom_modality(path) if path.is_dir() else None
    if modality and named not in (None, modality):
        raise DataError(f"{path}: its DICOM files say {named}, expected {modality}, the modality that was given")
    modality = modality or named
    predictor = Predictor.load(folder, overlap, device)
    known = predictor.networks
    if modality not in known:
        raise DataError(
            f"{path}: modality {modality or 'unknown'}; this run knows {', '.join(known)}. Give --modality."
        )
    scan = Scan(path.name, modality, read_image(path), None)
    warnings = _doubts(predictor, scan)
    labels = predictor.segment(scan)
    with whole(out) as written:
        if path.is_dir():
            image = sitk.GetImageFromArray(labels)
            image.CopyInformation(scan.image)
            sitk.WriteImage(image, str(written), useCompression=True)
        else:
            given = nib.load(path)
            header = given.header.copy()
            header.set_data_dtype(np.uint8)
            header.set_slope_inter(1, 0)
            nib.save(type(given)(labels.transpose(2, 1, 0), given.affine, header), written)
    counts = np.bincount(labels.ravel(), minlength=len(predictor.structures) + 1)[1:]
    voxel_ml = np.prod(scan.image.GetSpacing()) / 1000
    volumes_ml = dict(zip(predictor.structures, (counts * voxel_ml).tolist(), strict=True))
    missing = [name for name, volume in volumes_ml.items() if not volume]
    if missing:
        warnings.append(f"no voxel of {', '.join(missing)} was found")
    return Prediction(modality, volumes_ml, warnings)


def _doubts(predictor: Predictor, scan: Scan) -> list[str]:
    """Why a label map of this scan may mean nothing."""
    found = []
    if predictor.run.startswith("phantom/"):
        found.append("this run was trained on phantoms alone: on a patient's scan its labels mean nothing")
    lowest = float(sitk.GetArrayViewFromImage(scan.image).min())
    if scan.modality == "ct" and lowest >= 0:
        found.append("no value is below 0, and CT in Hounsfield units has air near -1000: is it an MRI, or shifted?")
    if scan.modality == "mri" and lowest < NO_MRI:
        found.append(f"values go down to {lowest:.0f}, and MRI has none below 0: is it a CT?")
    if predictor.preprocessing[scan.modality]["box"] == "paper":
        found.append("this run's heart boxes came from label maps; this scan's comes from its centre")
    return found
