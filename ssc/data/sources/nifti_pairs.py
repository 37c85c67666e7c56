"""Archives that hold two NIfTI files a case: the image and its label map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ssc.data.nifti import read_nifti
from ssc.data.scan import (
    Scan,
    check_image,
    check_labelled,
    check_oriented,
    check_same_geometry,
    check_units,
    map_labels,
    unit_notes,
    without_padding,
)
from ssc.errors import DataError, MissingDataError


def _as_they_are(labels: np.ndarray, case: str) -> np.ndarray:
    return labels


@dataclass(frozen=True)
class NiftiPairs:
    """One archive; what every source offers has the names that ``ssc.data.sources`` gives it.

    ``image`` and ``label``: file names below ``FOLDER``, with ``{case}`` for the number. ``label_values``: ranges
    of all values that a label map may hold. ``mend``: the label map (z, y, x) of a case without its known faults.
    ``hounsfield``: its intensities are in these units.
    """

    name: str
    MODALITY: str
    FOLDER: str
    WHERE: str
    image: str
    label: str
    label_values: tuple[tuple[int, int], ...]
    mend: Callable[[np.ndarray, str], np.ndarray] = _as_they_are
    hounsfield: bool = False

    @property
    def LAYOUT(self) -> str:  # noqa: N802 - a constant, as in a module
        """Where the files of a case are expected."""
        return " and ".join(f"{self.FOLDER}/{pattern.format(case='NNNN')}" for pattern in (self.image, self.label))

    def cases(self, folder: Path) -> list[str]:
        """Case ids ('0001', …) in numerical order. Raises MissingDataError, DataError for half a case."""
        found = self.candidates(folder)
        for case in found:
            self.files(folder, case)
        return found

    def candidates(self, folder: Path) -> list[str]:
        """Ids of all cases with an image or a label map. Raises MissingDataError where there are none."""
        root = Path(folder) / self.FOLDER
        found = set()
        for pattern in (self.image, self.label):
            before, after = pattern.split("{case}")
            names = (file.relative_to(root).as_posix() for file in root.glob(pattern.format(case="*")))
            found.update(name.removeprefix(before).removesuffix(after) for name in names)
        found = {case for case in found if case.isdigit()}
        if not found:
            raise MissingDataError(
                f"{self.name}: no cases in {folder}. Expected {self.LAYOUT} there. "
                f"Get {self.WHERE} and unpack it there, or use data=phantom, which needs no download."
            )
        return sorted(found, key=int)

    def files(self, folder: Path, case: str) -> list[Path]:
        """Image and label map of a case. Raises DataError when one is missing."""
        image, label = (Path(folder) / self.FOLDER / part.format(case=case) for part in (self.image, self.label))
        missing = [file.name for file in (image, label) if not file.is_file()]
        if missing:
            raise DataError(
                f"{self.name} {case}: expected {image} and {label}, found no {', no '.join(missing)}. "
                f"Unpack the archive again."
            )
        return [image, label]

    def read(self, folder: Path, case: str, values: list[tuple[int, int]]) -> Scan:
        """The scan of a case; ``values``: first and last source value of our labels 1, 2, ….

        Raises DataError for a file that can't be read or holds something else.
        """
        image_file, label_file = self.files(folder, case)
        image_name, label_name = (f"{self.name} {file.name.split('.')[0]}" for file in (image_file, label_file))
        volume, source = read_nifti(image_file), read_nifti(label_file)
        check_oriented(volume, image_file)
        check_image(volume.image, image_name)
        check_same_geometry(volume.image, source.image, image_name)
        notes = unit_notes(volume.image, self.MODALITY)
        if self.hounsfield:
            notes = check_units(volume.image, self.MODALITY, image_name)
        labels = self.mend(sitk.GetArrayFromImage(source.image), case)
        labels = map_labels(labels, values, label_name, self.label_values)
        check_labelled(labels, label_name)
        label = sitk.GetImageFromArray(labels)
        label.CopyInformation(volume.image)
        image = without_padding(volume.image, self.MODALITY)
        return Scan(case, self.MODALITY, image, label, (*volume.notes, *notes))
