"""Made-up patients in the layouts of the archives, so that everything runs without a download."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock

from ssc.data.phantoms import abdomen, heart
from ssc.errors import DataError
from ssc.tasks import source_cases

# What writes some cases of an archive into a folder.
WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "btcv": abdomen.write_btcv,
    "chaos": abdomen.write_chaos,
    "mmwhs_ct": heart.write_ct,
    "mmwhs_mri": heart.write_mri,
}


def ensure(source: str, folder: Path) -> None:
    """Every case of an archive that the splits name, in ``folder``; made only where that is not there yet.

    A clone after `dvc pull` has all results and no phantoms: what looks at scans again makes them by the way. Raises
    DataError for an archive that has no writer.
    """
    if source not in WRITERS:
        raise DataError(f"archive {source}: no phantoms are written in its layout, expected {', '.join(WRITERS)}")
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    with filelock.FileLock(lock):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            WRITERS[source](partial, source_cases(source))
            partial.replace(folder)
    lock.unlink(missing_ok=True)  # whoever waited for it finds the folder
