"""Prediction: sliding windows over a case, the way back to the scan's geometry, a user's own scan.

External Attention Modules and auxiliary heads take no part. A folded network needs no configuration: its card says all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssc.data.dicom import dicom_files, dicom_kind
from ssc.data.nifti import stem
from ssc.data.preprocess import on_scan_grid, scan_range, to_case, to_scan_grid
from ssc.data.reading import read_image
from ssc.data.sampling import neighbouring_slices, pad_to
from ssc.data.scan import Scan, numbers, unit_fault, unit_notes
from ssc.data.verify import file_sha256
from ssc.data.writing import write_image, write_labels_like
from ssc.errors import DataError, RunError
from ssc.models.folding import fold, unfolded
from ssc.models.network import Network, inference_state
from ssc.runs import RunSettings, read_record, read_settings
from ssc.settings import NetworkSettings, Strict
from ssc.whole import whole

WINDOWS_AT_ONCE = 4
FOLDED = "*.folded.json"


class Card(Strict):
    """All that a folded network of one modality needs: where it is from, and a scan's way through it."""

    format: Literal[3] = 3
    run: str
    commit: str
    modality: str
    weights: str  # file beside the card
    labels: dict[str, int]  # structure -> value in a label map
    network: NetworkSettings
    modulated: bool  # the backbone took Φ into its weights; where a branch ends in no linear layer, it keeps Φ
    preprocessing: dict[str, Any]
    trained_on: dict[str, dict[str, list[float]]]  # ranges of the training cases' scans


@torch.inference_mode()
def probabilities(network: Network, image: Tensor, modality: str, overlap: float) -> Tensor:
    """Class probabilities (Z, D, H, W) of an image (1, D, H, W), from overlapping windows of the network's size.

    Windows are weighted by a Gaussian; an image smaller than a window is padded with its minimum. A 2D
    network sees every slice with its neighbours.
    """
    view = network.view
    flat, window = view.spatial_dims == 2, view.size
    padded = pad_to(image, window, float(image.min()))
    images = neighbouring_slices(padded, view.channels) if flat else padded[None]
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
    arguments of ``to_case``; ``trained_on``: modality -> case -> its scan's range.
    """

    def __init__(
        self,
        run: str,
        structures: Sequence[str],
        networks: dict[str, Network],
        preprocessing: dict[str, dict],
        trained_on: dict[str, dict[str, dict[str, list[float]]]],
        overlap: float,
    ):
        self.run, self.structures = run, structures
        self.networks, self.preprocessing, self.overlap = networks, preprocessing, overlap
        self.trained_on = trained_on

    @classmethod
    def load(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folder of a run, or one that ``write_folded`` made. Raises RunError where it is neither."""
        return (
            cls.of_folded(folder, overlap, device) if list(folder.glob(FOLDED)) else cls.of_run(folder, overlap, device)
        )

    @classmethod
    def of_run(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folder of a trained run, wherever it lies. Raises RunError where it is incomplete."""
        settings, record, state = read_run(folder)
        network = Network(settings.network.at_inference, settings.classes, settings.modalities)
        network.load_state_dict(inference_state(state, settings.network.modulation is not None))
        network.to(device).eval()
        networks = dict.fromkeys(settings.modalities, network)
        preprocessing, ranges = record["preprocessing"], record["trained_on"]
        return cls(settings.key, settings.structures, networks, preprocessing, ranges, overlap)

    @classmethod
    def of_folded(cls, folder: Path, overlap: float, device: torch.device) -> Predictor:
        """From the folded networks of ``folder``. Raises RunError for a card of another version."""
        found = list(read_folded(folder))
        networks = {card.modality: network.to(device) for card, network in found}
        preprocessing = {card.modality: card.preprocessing for card, _ in found}
        ranges = {card.modality: card.trained_on for card, _ in found}
        card = found[0][0]
        return cls(card.run, list(card.labels), networks, preprocessing, ranges, overlap)

    def case_probabilities(self, case: sitk.Image, modality: str) -> np.ndarray:
        """Class probabilities (Z, D, H, W) on the grid of a preprocessed case."""
        network = self.networks[modality]
        image = torch.from_numpy(sitk.GetArrayFromImage(case))[None].to(next(network.parameters()).device)
        return probabilities(network, image, modality, self.overlap).cpu().numpy()

    def kind(self, modality: str) -> str:
        """'ct' or 'mr': what its scans' intensities mean."""
        return self.preprocessing[modality]["kind"]

    def segment(self, scan: Scan, modality: str) -> tuple[Scan, np.ndarray]:
        """The scan's case, and class probabilities (Z, D, H, W) on its grid."""
        case = to_case(scan, **self.preprocessing[modality])
        return case, self.case_probabilities(case.image, modality)


def read_run(folder: Path) -> tuple[RunSettings, dict[str, Any], dict[str, Tensor]]:
    """A trained run: its settings, record and weights. Raises RunError where one is missing or of another version."""
    settings, record = read_settings(folder), read_record(folder)
    return settings, record, load_file(folder / "weights.safetensors")


def read_folded(folder: Path) -> Iterator[tuple[Card, Network]]:
    """Card and network of every modality that ``write_folded`` left. Raises RunError for a card of another version."""
    for path in sorted(folder.glob(FOLDED)):
        card = _card(path)
        network = unfolded(card.network, len(card.labels) + 1, card.modality, card.modulated)
        network.load_state_dict(load_file(folder / card.weights))
        yield card, network.eval()


def _card(path: Path) -> Card:
    try:
        return Card.model_validate_json(path.read_text("utf-8"))
    except ValidationError:
        raise RunError(f"{path}: no card of this version of ssc; fold the run again with `ssc fold`") from None


def write_folded(folder: Path, out: Path) -> None:
    """Fold a trained run into one plain network a modality: ``MODALITY.safetensors``, ``MODALITY.folded.json``."""
    settings, record, state = read_run(folder)
    network = Network(settings.network, settings.classes, settings.modalities)
    network.load_state_dict(state)
    for modality in settings.modalities:
        folded = fold(network, modality)
        with whole(out / f"{modality}.safetensors") as path:
            save_file(folded.state_dict(), path)
        card = Card(
            run=settings.key,
            commit=record["commit"],
            modality=modality,
            weights=f"{modality}.safetensors",
            labels={name: value for value, name in enumerate(settings.structures, start=1)},
            network=folded.settings,
            modulated=settings.network.modulation is not None,
            preprocessing=record["preprocessing"][modality],
            trained_on=record["trained_on"][modality],
        )
        with whole(out / FOLDED.replace("*", modality)) as path:
            path.write_text(card.model_dump_json(indent=1) + "\n", "utf-8")


@dataclass(frozen=True)
class Prediction:
    """What became of a user's scan: its files' digest and geometry, the run, volumes, doubts about the result."""

    sha256: dict[str, str]  # by file
    size: tuple[int, ...]  # x, y, z
    spacing_mm: tuple[float, ...]
    run: str
    versions: dict[str, str]
    modality: str
    volumes_ml: dict[str, float]
    warnings: tuple[str, ...]


def predict_scan(
    predictor: Predictor,
    path: Path,
    out: Path,
    modality: str | None,
    series: str | None = None,
    with_probabilities: bool = False,
) -> Prediction:
    """Segment a user's own scan, a NIfTI file or a DICOM folder, into a NIfTI label map of its geometry.

    ``modality`` may be left out for DICOM of a kind that the run knows one modality of; ``series``: SeriesInstanceUID
    of one among several. ``with_probabilities``: beside it ``.npz``, ``probabilities`` (Z, D, H, W) on the scan's grid.
    Raises DataError, RunError.
    """
    modality = _modality(predictor, path, modality, dicom_kind(path, series) if path.is_dir() else None)
    volume = read_image(path, series)
    kind = predictor.kind(modality)
    notes = (*volume.notes, *unit_notes(volume.image, kind), *_doubts(predictor, volume.image, modality))
    scan = Scan(path.name, "scan", volume.image, None, notes)
    case, found = predictor.segment(scan, modality)
    labels, notes = to_scan_grid(found, case.image, scan.image), case.notes
    if with_probabilities:
        with whole(out.with_name(f"{stem(out.name)}.npz")) as partial:
            np.savez_compressed(partial, probabilities=np.stack(list(on_scan_grid(found, case.image, scan.image))))
    if path.is_dir():
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(scan.image)
        write_image(image, out)
    else:
        write_labels_like(labels, path, out)
    counts = np.bincount(labels.ravel(), minlength=len(predictor.structures) + 1)[1:]
    voxel_ml = np.prod(scan.image.GetSpacing()) / 1000
    volumes_ml = dict(zip(predictor.structures, (counts * voxel_ml).tolist(), strict=True))
    missing = [name for name, volume in volumes_ml.items() if not volume]
    if missing:
        notes = (*notes, f"no voxel of {', '.join(missing)} was found")
    return Prediction(
        sha256={file.name: file_sha256(file) for file in (dicom_files(path) if path.is_dir() else [path])},
        size=scan.image.GetSize(),
        spacing_mm=scan.image.GetSpacing(),
        run=predictor.run,
        versions={name: version(name) for name in ("torch", "monai", "SimpleITK", "nibabel", "pydicom")},
        modality=modality,
        volumes_ml=volumes_ml,
        warnings=notes,
    )


def _modality(predictor: Predictor, path: Path, given: str | None, kind: str | None) -> str:
    """The scan's modality: the one that was given, or the only one of its DICOM files' kind. Raises DataError."""
    known = list(predictor.networks)
    if given is None:
        fitting = [name for name in known if predictor.kind(name) == kind]
        if len(fitting) == 1:
            return fitting[0]
    if given not in known:
        raise DataError(f"{path}: modality {given or 'unknown'}; this run knows {', '.join(known)}. Give --modality.")
    if kind not in (None, predictor.kind(given)):
        raise DataError(
            f"{path}: its DICOM files say {kind}, expected {predictor.kind(given)}, as {given} that was given"
        )
    return given


def _unlike(predictor: Predictor, image: sitk.Image, modality: str) -> list[str]:
    """What of a scan lies outside all that the run was trained on, by more than a tenth of its range or size."""
    own = scan_range(image, predictor.preprocessing[modality]["orientation"])
    known = list(predictor.trained_on[modality].values())
    low, high = min(one["intensity"][0] for one in known), max(one["intensity"][1] for one in known)
    margin, (darkest, brightest) = (high - low) / 10, own["intensity"]
    found = []
    if darkest < low - margin or brightest > high + margin:
        found.append(
            f"intensities from {darkest:.0f} to {brightest:.0f} lie outside all that this run was trained on "
            f"({low:.0f} to {high:.0f}; percentiles 1 and 99)"
        )
    extents = np.array([one["extent_mm"] for one in known])
    least, most, extent = extents.min(axis=0) / 1.1, extents.max(axis=0) * 1.1, np.array(own["extent_mm"])
    if (extent < least).any() or (extent > most).any():
        found.append(
            f"a field of view of {numbers(extent.round())} mm lies outside all that this run was trained on "
            f"({numbers(extents.min(axis=0).round())} to {numbers(extents.max(axis=0).round())} mm)"
        )
    return found


def _doubts(predictor: Predictor, image: sitk.Image, modality: str) -> list[str]:
    """Why a label map of this scan may mean nothing."""
    found = []
    if predictor.run.startswith("phantom/"):
        found.append("this run was trained on phantoms alone: on a patient's scan its labels mean nothing")
    fault = unit_fault(image, predictor.kind(modality))
    if fault:
        found.append(fault)
    found += _unlike(predictor, image, modality)
    if predictor.preprocessing[modality]["box"] == "paper":
        found.append("this run's heart boxes came from label maps; this scan's comes from its centre")
    return found
