"""The archives that raw scans come from. Each module reads one archive; all have the same functions.

``cases`` lists the complete cases, ``files`` the files of one, ``read`` gives its scan. ``candidates``
lists also cases of which a part is missing.
"""

from __future__ import annotations

from types import ModuleType

from ssc.data.sources import btcv, chaos
from ssc.errors import DataError

SOURCES: dict[str, ModuleType] = {"btcv": btcv, "chaos": chaos}


def source(name: str) -> ModuleType:
    """The archive's module. Raises DataError for an unknown name."""
    if name not in SOURCES:
        raise DataError(f"source {name!r} is unknown, expected one of {', '.join(SOURCES)}.")
    return SOURCES[name]
