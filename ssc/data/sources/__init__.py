"""The archives that raw scans come from. Each is a module or an object that offers what ``Source`` lists."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ssc.data.scan import Scan
from ssc.data.sources import btcv, chaos, mmwhs
from ssc.errors import DataError


class Source(Protocol):
    """One archive of labelled scans of one modality."""

    MODALITY: str
    FOLDER: str  # below the user's folder
    LAYOUT: str  # the files of a case, as told to the user
    WHERE: str  # where the archive can be had, likewise

    def cases(self, folder: Path) -> list[str]:
        """Ids of the complete cases in numerical order. Raises MissingDataError, DataError for half a case."""

    def candidates(self, folder: Path) -> list[str]:
        """As ``cases``, with those of which a part is missing."""

    def files(self, folder: Path, case: str) -> list[Path]:
        """All files of a case. Raises DataError when one is missing."""

    def read(self, folder: Path, case: str, values: list[tuple[int, int]]) -> Scan:
        """The scan of a case; ``values``: first and last source value of our labels 1, 2, …. Raises DataError."""


SOURCES: dict[str, Source] = {"btcv": btcv.BTCV, "chaos": chaos, "mmwhs_ct": mmwhs.CT, "mmwhs_mri": mmwhs.MRI}


def source(name: str) -> Source:
    """The archive of a name. Raises DataError for an unknown one."""
    if name not in SOURCES:
        raise DataError(f"source {name!r} is unknown, expected one of {', '.join(SOURCES)}.")
    return SOURCES[name]
