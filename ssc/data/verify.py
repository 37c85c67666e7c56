"""Is the raw data complete and what it should be? Checksums of all files, and all faults at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from ssc.data.preprocess import to_case
from ssc.data.scan import grid_notes
from ssc.data.sources import ARCHIVES, source
from ssc.errors import DataError, MissingDataError, UserError, refused_by_the_system
from ssc.tasks import Structure
from ssc.whole import file_sha256

Values = list[tuple[int, int]]
BARE = 0.1  # of its area on slices at both sides


def listing(folder: Path, source_name: str) -> str:
    """SHA-256 over the relative names and sizes of all cases' files; their contents aren't read."""
    archive = source(source_name)
    files = (file for case in archive.cases(folder) for file in archive.files(folder, case))
    lines = sorted(f"{_relative(file, folder)} {file.stat().st_size}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest(
    source_name: str, folder: Path, values: Values, progress: Callable[[Iterable[str]], Iterable[str]] = iter
) -> dict:
    """Reads every case and describes it: checksum of each file, size in voxels, spacing in mm, what is doubtful.

    ``values`` as in a source's ``read``; ``progress`` wraps the iteration over cases (e.g. tqdm).
    Raises DataError at the first fault, also for two cases with the same image.
    """
    archive = source(source_name)
    seen: dict[str, str] = {}
    rows = {}
    for case in progress(archive.cases(folder)):
        scan = archive.read(folder, case, values)
        _check_new(scan.image, case, seen, source_name)
        files = {_relative(file, folder): file_sha256(file) for file in archive.files(folder, case)}
        grid = {"size": list(scan.image.GetSize()), "spacing_mm": list(scan.image.GetSpacing())}
        rows[case] = {"files": files, **grid, "warnings": list(scan.notes)}
    return {
        "source": source_name,
        "listing": listing(folder, source_name),
        "cases": rows,
    }


@dataclass(frozen=True)
class Finding:
    """What the doctor says of one case."""

    source: str
    case: str
    fault: str | None
    warnings: tuple[str, ...] = ()
    volumes_ml: dict[str, float] = field(default_factory=dict)  # by structure


class Use(NamedTuple):
    """What some scans are for: the structures of their task with the values of their label maps, and the arguments of
    ``to_case``."""

    structures: Sequence[Structure]
    values: Values
    to_case: dict[str, Any]


def doctor(folder: Path, source_name: str | None, use_of: Callable[[str], Use]) -> Iterator[Finding]:
    """A finding for every case, whatever one of them does; of all archives in the folder where no source is named.

    ``use_of`` gives what a source's scans are for. Raises MissingDataError for a folder without cases.
    """
    for name in [source_name] if source_name else _archives_in(folder):
        archive, seen = source(name), {}
        for case in archive.candidates(folder):
            yield _examine(folder, name, case, use_of(name), seen)


def _examine(folder: Path, source_name: str, case: str, use: Use, seen: dict[str, str]) -> Finding:
    try:
        scan = source(source_name).read(folder, case, use.values)
        _check_new(scan.image, case, seen, source_name)
        notes = to_case(scan, **use.to_case).notes
    except UserError as error:
        return Finding(source_name, case, str(error))
    except OSError as error:
        return Finding(source_name, case, refused_by_the_system(error))
    except Exception as error:  # a case that nobody thought of must not hide the others
        return Finding(source_name, case, f"{source_name} {case}: cannot be read ({type(error).__name__}: {error})")
    label = sitk.GetArrayViewFromImage(scan.label)
    voxel_ml = float(np.prod(scan.image.GetSpacing())) / 1000
    volumes_ml, warnings = {}, [*notes, *grid_notes(scan.image)]
    for value, structure in enumerate(use.structures, start=1):
        areas = np.count_nonzero(label == value, axis=(1, 2))
        volumes_ml[structure.name] = round(float(areas.sum()) * voxel_ml, 1)
        warnings += _doubts(structure, volumes_ml[structure.name], areas)
    return Finding(source_name, case, None, tuple(warnings), volumes_ml)


def _doubts(structure: Structure, volume_ml: float, areas: np.ndarray) -> list[str]:
    """Why a structure's labels (its voxels in each slice) are no plausible organ."""
    if not volume_ml:
        return [f"no {structure.name} is labelled"]
    found = []
    low, high = structure.volume_ml or (0, np.inf)
    if not low <= volume_ml <= high:
        found.append(f"{structure.name} has {volume_ml:.0f} ml, usual are {low:g} to {high:g}")
    before, after = np.maximum.accumulate(areas), np.maximum.accumulate(areas[::-1])[::-1]
    bare = np.flatnonzero(areas < BARE * np.minimum(before, after))
    if bare.size:
        found.append(
            f"{structure.name} all but lacks on slices {', '.join(map(str, bare + 1))} between such that hold it"
        )
    return found


def _relative(file: Path, folder: Path) -> str:
    """A name that doesn't change when the folder moves; a list of nnU-Net's may lead out of it."""
    return Path(os.path.relpath(file, folder)).as_posix()


def _check_new(image: sitk.Image, case: str, seen: dict[str, str], source_name: str) -> None:
    """Notes the image's content in ``seen`` (digest to case). Raises DataError if it's there already."""
    digest = hashlib.sha256(sitk.GetArrayViewFromImage(image).tobytes()).hexdigest()
    other = seen.setdefault(digest, case)
    if other != case:
        raise DataError(
            f"{source_name} {case}: has the same image as {source_name} {other}, expected another patient. "
            f"Unpack the archive again."
        )


def _archives_in(folder: Path) -> list[str]:
    found = [name for name, archive in ARCHIVES.items() if (Path(folder) / archive.FOLDER).is_dir()]
    if not found:
        layouts = "; or ".join(f"{archive.LAYOUT} ({name})" for name, archive in ARCHIVES.items())
        raise MissingDataError(
            f"{folder}: no archive found, expected {layouts}. See docs/data.md, "
            f"or use data=phantom, which needs no download."
        )
    return found
