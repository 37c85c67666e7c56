"""Files that appear whole or not at all, and what they are told apart by."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL = 2**16  # bytes; a disk with less room is why a writer failed, whatever it says itself


def check_place(path: Path) -> None:
    """That a file could be written there, before the work that makes it. Raises OSError with the file's name."""
    probe = path.with_name(f".part-{path.name}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe.write_bytes(bytes(FULL))
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` at the end, removed on an error.

    It keeps the ending, which tells some writers the format. Raises OSError with the file's name where the system
    refuses, also for writers that call a full disk by another name (torch, safetensors).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".part-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except Exception as error:
        if shutil.disk_usage(path.parent).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
