"""What a job of the workflow works with: where its files lie, folders as archives, and a log that holds its errors."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tarfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from ssc.errors import DataError, UserError, refused_by_the_system
from ssc.whole import file_sha256, whole

TOPS = (
    r"results/(browser|cases|external|figures|learned|metrics|notebooks|predictions|runs|tables)"
    r"|data/(manifests|phantom|real|weights)"
)


def home(output: str) -> str:
    """The folder that results/ and data/ of a job lie in: the project's, or a storage's local copy of them.

    ``output``: a file that the job makes, as Snakemake names it.
    """
    return re.match(rf"(.*/)?(?=({TOPS})\b)", output)[0] or "."


class Files(list[str]):
    """Inputs or outputs of a rule, as seen from a folder; also by the names that they have in the rule."""

    def __init__(self, given: Any, folder: str):
        super().__init__(os.path.relpath(path, folder) for path in given)
        for name, value in given.items():
            paths = [os.path.relpath(path, folder) for path in ([value] if isinstance(value, str) else value)]
            setattr(self, name, paths[0] if isinstance(value, str) else paths)


MARK = ".archive"  # in a folder: the digest of the archive that it is the content of


def pack(archive: Path) -> None:
    """The folder of that name without its ending, as an archive: the same files give the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode = 0, 0, 0, "", "", 0o755
        return entry

    folder = archive.with_suffix("")
    with whole(archive) as partial, tarfile.open(partial, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK):
            file.add(path, path.relative_to(folder).as_posix(), filter=plain)
    (folder / MARK).write_text(file_sha256(archive), "utf-8")


def unpack(archive: Path) -> None:
    """An archive's folder beside it; done once where several jobs ask for it."""
    folder, digest = archive.with_suffix(""), file_sha256(archive)
    with filelock.FileLock(archive.with_name(f".{archive.name}.lock")):
        if (folder / MARK).is_file() and (folder / MARK).read_text("utf-8") == digest:
            return
        partial = folder.with_name(f".part-{folder.name}")
        for old in (partial, folder):
            shutil.rmtree(old, ignore_errors=True)
        with tarfile.open(archive) as file:
            for entry in file:
                _extract(file, entry, partial)
        (partial / MARK).write_text(digest, "utf-8")
        partial.replace(folder)


def _extract(file: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    path = folder / entry.name
    if not entry.isfile() or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{file.name}: holds {entry.name}, expected files inside its folder alone")
    path.parent.mkdir(parents=True, exist_ok=True)
    with file.extractfile(entry) as content, path.open("wb") as written:
        shutil.copyfileobj(content, written)


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[tuple[Files, Files]]:
    """Inputs and outputs of a script's rule, which meanwhile works and logs as ``ssc``'s own commands do."""
    folder = home(snakemake.output[0])
    files = Files(snakemake.input, folder), Files(snakemake.output, folder)
    with logged(snakemake.log[0]), contextlib.chdir(folder):
        for path in files[0]:
            if path.endswith(".tar"):
                unpack(Path(path))
        yield files


@contextlib.contextmanager
def logged(path: str) -> Iterator[None]:
    """What a workflow script writes to stderr goes to its log, a user's mistake as one line, like ``ssc``'s own."""
    with Path(path).open("w", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            yield
        except UserError as error:
            print(f"ssc: {error}", file=log)
            raise SystemExit(1) from None
        except OSError as error:
            print(f"ssc: {refused_by_the_system(error)}", file=log)
            raise SystemExit(1) from None
        except Exception:
            traceback.print_exc(file=log)
            raise SystemExit(1) from None


if __name__ == "__main__":  # python -m ssc.jobs pack|unpack ARCHIVE …
    for given in sys.argv[2:]:
        {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(given))
