"""Raw scans that are two NIfTI files a case: the image and its label map."""

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
)
from ssc.errors import DataError, MissingDataError
from ssc.tasks import natural

Ranges = tuple[tuple[int, int], ...]
Pairs = dict[str, tuple[Path, Path]]  # case -> image and label map, of which one may be missing


def _as_they_are(labels: np.ndarray, case: str) -> np.ndarray:
    return labels


def of_patterns(root: Path, image: str, label: str) -> Pairs:
    """Every case with an image or a label map below ``root``; patterns hold ``{case}`` once. Hidden files are none.

    Raises DataError for another pattern.
    """
    found = set()
    for pattern in (image, label):
        if pattern.count("{case}") != 1 or pattern.startswith("/"):
            raise DataError(f"'{pattern}': expected the name of a file below {root} that holds {{case}} once")
        before, after = pattern.split("{case}")
        names = (file.relative_to(root).as_posix() for file in root.glob(pattern.format(case="*")))
        found.update(name.removeprefix(before).removesuffix(after) for name in names)
    return {
        case: (root / image.format(case=case), root / label.format(case=case))
        for case in found
        if not case.startswith(".")
    }


@dataclass(frozen=True)
class NiftiPairs:
    """Some raw scans; what every source offers has the names that ``ssc.data.sources`` gives it.

    ``find``: a folder's cases. ``label_values``: ranges of all values that a label map may hold; None: those asked
    for. ``mend``: the label map (z, y, x) of a case without its known faults. ``hounsfield``: intensities are in
    these units.
    """

    name: str
    KIND: str
    FOLDER: str
    LAYOUT: str
    WHERE: str
    find: Callable[[Path], Pairs]
    label_values: Ranges | None
    mend: Callable[[np.ndarray, str], np.ndarray] = _as_they_are
    hounsfield: bool = False

    def cases(self, folder: Path) -> list[str]:
        """Case ids in natural order. Raises MissingDataError, DataError for half a case."""
        pairs = self.find(Path(folder))
        for case in (found := self._sorted(pairs, folder)):
            self._complete(case, pairs[case])
        return found

    def candidates(self, folder: Path) -> list[str]:
        """Ids of all cases with an image or a label map. Raises MissingDataError where there are none."""
        return self._sorted(self.find(Path(folder)), folder)

    def _sorted(self, found: Pairs, folder: Path) -> list[str]:
        if not found:
            raise MissingDataError(
                f"{self.name}: no cases in {folder}. Expected {self.LAYOUT} there. {self.WHERE} See docs/data.md."
            )
        return sorted(found, key=natural)

    def files(self, folder: Path, case: str) -> list[Path]:
        """Image and label map of a case. Raises DataError when one is missing."""
        pair = self.find(Path(folder)).get(case)
        if pair is None:
            raise DataError(f"{self.name} {case}: not in {folder}, expected {self.LAYOUT}.")
        return self._complete(case, pair)

    def _complete(self, case: str, pair: tuple[Path, Path]) -> list[Path]:
        missing = [file.name for file in pair if not file.is_file()]
        if missing:
            raise DataError(
                f"{self.name} {case}: expected {pair[0]} and {pair[1]}, found no {', no '.join(missing)}. "
                f"Unpack the archive again."
            )
        return list(pair)

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
        notes = unit_notes(volume.image, self.KIND)
        if self.hounsfield:
            notes = check_units(volume.image, self.KIND, image_name)
        accepted = self.label_values if self.label_values is not None else ((0, 0), *values)
        labels = self.mend(sitk.GetArrayFromImage(source.image), case)
        labels = map_labels(labels, values, label_name, list(accepted))
        check_labelled(labels, label_name)
        label = sitk.GetImageFromArray(labels)
        label.CopyInformation(volume.image)
        return Scan(case, self.name, volume.image, label, (*volume.notes, *notes))


def numbered_pairs(name: str, kind: str, folder: str, image: str, label: str, where: str, **options) -> NiftiPairs:
    """An archive whose cases are numbers; ``image``, ``label``: file names below ``folder``, with ``{case}``."""

    def find(top: Path) -> Pairs:
        return {case: pair for case, pair in of_patterns(top / folder, image, label).items() if case.isdecimal()}

    layout = " and ".join(f"{folder}/{pattern.format(case='NNNN')}" for pattern in (image, label))
    place = f"Get {where} and unpack it there, or use data=phantom, which needs no download."
    return NiftiPairs(name, kind, folder, layout, place, find, **options)
