"""Where raw scans come from: archives, each a module or an object, and a user's own folders."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ssc.data.scan import Scan
from ssc.data.sources import btcv, chaos, layouts, mmwhs
from ssc.errors import DataError
from ssc.tasks import sources, tasks


class Source(Protocol):
    """Labelled scans of one modality."""

    KIND: str  # ct or mr
    FOLDER: str  # below the user's folder
    LAYOUT: str  # the files of a case, as told to the user
    WHERE: str  # where the archive can be had, likewise

    def cases(self, folder: Path) -> list[str]:
        """Ids of the complete cases in natural order. Raises MissingDataError, DataError for half a case."""

    def candidates(self, folder: Path) -> list[str]:
        """As ``cases``, with those of which a part is missing."""

    def files(self, folder: Path, case: str) -> list[Path]:
        """All files of a case. Raises DataError when one is missing."""

    def read(self, folder: Path, case: str, values: list[tuple[int, int]]) -> Scan:
        """The scan of a case; ``values``: first and last source value of our labels 1, 2, …. Raises DataError."""


ARCHIVES: dict[str, Source] = {"btcv": btcv.BTCV, "chaos": chaos, "mmwhs_ct": mmwhs.CT, "mmwhs_mri": mmwhs.MRI}


def source(name: str) -> Source:
    """The archive, or a user's task's modality, of a name. Raises DataError for an unknown one."""
    if name in ARCHIVES:
        return ARCHIVES[name]
    if name not in sources():
        raise DataError(f"source {name!r} is unknown, expected one of {', '.join({**ARCHIVES, **sources()})}.")
    task, modality = sources()[name]
    return layouts.of_modality(name, tasks()[task].modalities[modality])
