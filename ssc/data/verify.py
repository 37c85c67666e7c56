"""Is the raw data complete and what it should be? Checksums of all files, and all faults at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import SimpleITK as sitk

from ssc.data.sources import SOURCES, source
from ssc.errors import DataError, MissingDataError

Values = list[tuple[int, int]]


def listing(folder: Path, source_name: str) -> str:
    """SHA-256 over the relative names and sizes of all cases' files; their contents aren't read."""
    archive = source(source_name)
    files = (file for case in archive.cases(folder) for file in archive.files(folder, case))
    lines = sorted(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest(
    source_name: str, folder: Path, values: Values, progress: Callable[[Iterable[str]], Iterable[str]] = iter
) -> dict:
    """Reads every case and describes it: checksum of each file, size in voxels, spacing in mm.

    ``values`` as in a source's ``read``; ``progress`` wraps the iteration over cases (e.g. tqdm).
    Raises DataError at the first fault, also for two cases with the same image.
    """
    archive = source(source_name)
    seen: dict[str, str] = {}
    rows = {}
    for case in progress(archive.cases(folder)):
        image = archive.read(folder, case, values).image
        _check_new(image, case, seen, source_name)
        files = {file.relative_to(folder).as_posix(): file_sha256(file) for file in archive.files(folder, case)}
        rows[case] = {"files": files, "size": list(image.GetSize()), "spacing_mm": list(image.GetSpacing())}
    return {
        "source": source_name,
        "modality": archive.MODALITY,
        "listing": listing(folder, source_name),
        "cases": rows,
    }


def doctor(folder: Path, source_name: str | None, values_of: Callable[[str], Values]) -> list[tuple[str, str, str]]:
    """Source, case and 'ok' or its fault, for every case; of all archives in the folder where no source is named.

    ``values_of`` gives the label values of a source. Raises MissingDataError for a folder without cases.
    """
    names = [source_name] if source_name else _archives_in(folder)
    return [(name, *row) for name in names for row in _check_cases(folder, name, values_of(name))]


def _check_cases(folder: Path, source_name: str, values: Values) -> Iterator[tuple[str, str]]:
    archive = source(source_name)
    seen: dict[str, str] = {}
    for case in archive.candidates(folder):
        try:
            _check_new(archive.read(folder, case, values).image, case, seen, source_name)
            yield case, "ok"
        except DataError as error:
            yield case, str(error)


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    found = [name for name, archive in SOURCES.items() if (Path(folder) / archive.FOLDER).is_dir()]
    if not found:
        layouts = "; or ".join(f"{archive.LAYOUT} ({name})" for name, archive in SOURCES.items())
        raise MissingDataError(
            f"{folder}: no archive found, expected {layouts}. See docs/data.md, "
            f"or use data=phantom, which needs no download."
        )
    return found
