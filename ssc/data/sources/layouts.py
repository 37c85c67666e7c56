"""Folders of a user's own scans, in the layouts that others use: nnU-Net v2 raw, MSD, AMOS22, plain pairs."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

from ssc.data.nifti import ENDINGS, stem
from ssc.data.sources.nifti_pairs import NiftiPairs, Pairs, of_patterns
from ssc.errors import DataError, MissingDataError
from ssc.tasks import Modality

CHANNEL = "_0000"  # ends an image's name in nnU-Net's layout
AMOS_LAST_CT = {"Tr": 410, "Va": 409}  # its dataset.json does not say which scans are MR; their numbers do
WHERE = "Is it the folder that you meant?"


@dataclass(frozen=True)
class Description:
    """What a folder's dataset.json says. ``label_values``: by name, the background's included."""

    label_values: dict[str, int]
    channel: str  # of the images: CT, MRI, …
    pairs: Pairs


Read = Callable[..., Description]


def _one_line(read: Read) -> Read:
    """Contents of another form than the layout's are the user's to mend."""

    @wraps(read)
    def reading(folder: Path, *arguments: Any, **options: Any) -> Description:
        try:
            return read(folder, *arguments, **options)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            what = f"{type(error).__name__}: {error}"
            raise DataError(f"{folder}/dataset.json: not of the form that its layout has ({what}).") from None

    return reading


@_one_line
def read_nnunet(folder: Path) -> Description:
    """nnU-Net v2 raw: ``imagesTr/ID_0000.nii.gz``, ``labelsTr/ID.nii.gz``, or the paths that ``dataset`` names.

    Raises MissingDataError, DataError.
    """
    content = dataset_json(folder)
    if "channel_names" not in content:
        other = " It looks like MSD's: give layout msd." if "modality" in content else ""
        raise DataError(f"{folder}/dataset.json: no channel_names, expected nnU-Net v2's keys.{other}")
    if len(content["channel_names"]) != 1:
        raise DataError(f"{folder}/dataset.json: {len(content['channel_names'])} channels, expected one a scan.")
    ending = content.get("file_ending", ENDINGS[0])
    if ending not in ENDINGS:
        raise DataError(f"{folder}/dataset.json: file_ending {ending}, expected {' or '.join(ENDINGS)}.")
    labels = content.get("labels", {})
    if not all(isinstance(value, int) for value in labels.values()):
        raise DataError(f"{folder}/dataset.json: labels are {labels}, expected a whole number a name; no regions.")
    if "dataset" in content:
        pairs = {case: (folder / row["images"][0], folder / row["label"]) for case, row in content["dataset"].items()}
        for case in pairs:
            if case != Path(case).name or case.startswith("."):
                raise DataError(f"{folder}/dataset.json: '{case}' is no name of a case: files are called after it.")
    else:
        pairs = of_patterns(folder, f"imagesTr/{{case}}{CHANNEL}{ending}", f"labelsTr/{{case}}{ending}")
    return Description(labels, next(iter(content["channel_names"].values())), pairs)


@_one_line
def read_msd(folder: Path, subsets: tuple[str, ...] = ("training",)) -> Description:
    """MSD: ``dataset.json`` lists image and label map of each case. Raises MissingDataError, DataError."""
    content = dataset_json(folder)
    if "modality" not in content or "training" not in content:
        other = " It looks like nnU-Net's: give layout nnunet." if "channel_names" in content else ""
        raise DataError(f"{folder}/dataset.json: no modality or training, expected MSD's keys.{other}")
    rows = [row for subset in subsets for row in content.get(subset, []) if "label" in row]
    pairs = {stem(row["image"]): (folder / row["image"], folder / row["label"]) for row in rows}
    if len(pairs) < len(rows):
        raise DataError(f"{folder}/dataset.json: two images have one name, expected an id a case.")
    pairs = {case: pair for case, pair in pairs.items() if not case.startswith((".", "_"))}
    labels = {name: int(value) for value, name in content.get("labels", {}).items()}
    return Description(labels, next(iter(content["modality"].values())), pairs)


@_one_line
def read_amos(folder: Path, kind: str) -> Description:
    """AMOS22's labelled scans of one kind, 'ct' or 'mr': as MSD, with ``validation``; the number says which kind."""
    found = read_msd(folder, ("training", "validation"))
    pairs = {}
    for case, (image, label) in found.pairs.items():
        number = case.removeprefix("amos_")
        if not number.isdecimal():
            raise DataError(f"{image}: expected amos_NNNN, whose number says CT or MR.")
        last_ct = AMOS_LAST_CT[image.parent.name.removeprefix("images")]
        if (int(number) <= last_ct) == (kind == "ct"):
            pairs[case] = (image, label)
    return Description(found.label_values, kind, pairs)


def dataset_json(folder: Path) -> dict:
    """What a folder says of itself. Raises MissingDataError, DataError."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise MissingDataError(f"{folder}: no dataset.json, expected one there. {WHERE}")
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error}).") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys and values.")
    return content


EXPECTED = {
    "nnunet": "dataset.json, imagesTr/ID_0000.nii.gz and labelsTr/ID.nii.gz (nnU-Net v2)",
    "msd": "dataset.json, and the files that it lists (MSD)",
    "amos": "dataset.json, and the files amos_NNNN.nii.gz that it lists (AMOS22)",
}


def of_modality(name: str, modality: Modality) -> NiftiPairs:
    """The raw scans of a user's modality, under ``name``."""
    read: dict[str, Callable[[Path], Description]] = {
        "nnunet": read_nnunet,
        "msd": read_msd,
        "amos": partial(read_amos, kind=modality.kind),
    }

    def find(folder: Path) -> Pairs:
        if modality.layout == "pairs":
            pairs = of_patterns(folder, modality.images, modality.labels)
        else:
            pairs = read[modality.layout](folder).pairs
        return only(pairs, modality.cases)

    layout = EXPECTED.get(modality.layout) or " and ".join(
        pattern.format(case="ID") for pattern in (modality.images, modality.labels)
    )
    return NiftiPairs(
        name, modality.kind, "", layout, WHERE, find, modality.label_values, hounsfield=modality.kind == "ct"
    )


def only(pairs: Pairs, wanted: tuple[str, ...]) -> Pairs:
    """The cases whose ids are wanted, by name or glob."""
    return {
        case: pair
        for case, pair in pairs.items()
        if case in wanted or any(fnmatch.fnmatchcase(case, pattern) for pattern in wanted)
    }
