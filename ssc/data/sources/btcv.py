"""BTCV: abdominal CT, one NIfTI file each for image (HU) and label map (values 0–13) of a case."""

from __future__ import annotations

import re
from pathlib import Path

import SimpleITK as sitk

from ssc.data.scan import Scan, check_image, check_same_geometry, map_labels, read_nifti
from ssc.errors import DataError, MissingDataError

MODALITY = "ct"
FOLDER = "RawData/Training"
LAYOUT = f"{FOLDER}/img/imgNNNN.nii.gz and {FOLDER}/label/labelNNNN.nii.gz"
WHERE = "RawData.zip at https://www.synapse.org/#!Synapse:syn3193805/wiki/217789 (needs a Synapse account)"
LABEL_VALUES = [(0, 13)]


def cases(folder: Path) -> list[str]:
    """Case ids ('0001', …) in numerical order. Raises MissingDataError, DataError for half a case."""
    found = candidates(folder)
    for case in found:
        files(folder, case)
    return found


def candidates(folder: Path) -> list[str]:
    """Ids of all cases with an image or a label map. Raises MissingDataError where there are none."""
    matches = (
        re.fullmatch(rf"{kind}(\d+)\.nii\.gz", file.name)
        for kind in ("img", "label")
        for file in (Path(folder) / FOLDER / kind).glob("*")
    )
    found = {match[1] for match in matches if match}
    if not found:
        raise MissingDataError(
            f"btcv: no cases in {folder}. Expected {LAYOUT} there. "
            f"Get {WHERE} and unpack it there, or use data=phantom, which needs no download."
        )
    return sorted(found, key=int)


def files(folder: Path, case: str) -> list[Path]:
    """Image and label map of a case. Raises DataError when one is missing."""
    image, label = (Path(folder) / FOLDER / kind / f"{kind}{case}.nii.gz" for kind in ("img", "label"))
    for missing, present in ((image, label), (label, image)):
        if not missing.is_file():
            raise DataError(f"btcv {case}: {present} is there, expected also {missing}. Unpack RawData.zip again.")
    return [image, label]


def read(folder: Path, case: str, values: list[tuple[int, int]]) -> Scan:
    """The scan of a case in HU; ``values``: first and last source value of our labels 1, 2, ….

    Raises DataError for a file that can't be read or holds something else.
    """
    image_file, label_file = files(folder, case)
    image, source_label = read_nifti(image_file), read_nifti(label_file)
    check_image(image, f"btcv img{case}")
    check_same_geometry(image, source_label, f"btcv img{case}")
    labels = map_labels(sitk.GetArrayViewFromImage(source_label), values, f"btcv label{case}", LABEL_VALUES)
    label = sitk.GetImageFromArray(labels)
    label.CopyInformation(image)
    return Scan(case, MODALITY, image, label)
