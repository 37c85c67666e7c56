"""Downloading an archive so that a broken transfer goes on where it stopped, and unpacking a part of it."""

from __future__ import annotations

import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from ssc.data.verify import file_sha256
from ssc.errors import DataError

ATTEMPTS = 8  # in a row without progress
LONGEST_PAUSE_S = 60
TIMEOUT_S = 60
BLOCK = 1 << 20
GONE = ("HTTP 404", "HTTP 410")


def download(address: str, path: Path, size: int, sha256: str) -> None:
    """Fetches ``address`` to ``path`` (``size`` bytes), going on with what ``path``.part already holds.

    A whole file at ``path`` is checked and kept. Raises DataError when the transfer stops for good (the
    part stays for a later call), or when the file isn't the expected one (the part is removed).
    """
    if path.is_file():
        return _check_whole(path, address, size, sha256)
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    best, failures = part.stat().st_size, 0
    while part.stat().st_size < size:
        reason = _transfer(address, part, size)
        have = part.stat().st_size
        failures = 0 if have > best else failures + 1
        best = max(best, have)
        if failures == ATTEMPTS or reason in GONE:
            raise DataError(
                f"{address}: stopped at {have:,} of {size:,} bytes ({reason}). "
                f"Run it again to go on, or put the file at {path} yourself."
            )
        if failures:
            time.sleep(min(2 ** (failures - 1), LONGEST_PAUSE_S))
    try:
        _check_whole(part, address, size, sha256)
    except DataError:
        part.unlink()
        raise
    part.replace(path)


def _transfer(address: str, part: Path, size: int) -> str:
    """Adds one connection's bytes to ``part``. Gives why it ended."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={part.stat().st_size}-"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            start = _start(response)
            with (
                part.open("r+b") as file,
                tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
            ):
                file.seek(start)
                file.truncate()
                while block := response.read1(BLOCK):
                    bar.update(file.write(block))
        return "the server closed the connection"
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__


def _start(response) -> int:
    """Where in the file the answer begins: a server may ignore the range and send all of it."""
    content_range = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(content_range[1]) if response.status == 206 and content_range else 0


def _check_whole(file: Path, address: str, size: int, sha256: str) -> None:
    for what, found, expected in (
        ("size", file.stat().st_size, size),
        ("SHA-256", file_sha256(file), sha256),
    ):
        if found != expected:
            raise DataError(
                f"{file}: {what} is {found}, expected {expected} as {address}. Run again without this file."
            )


def extract(zip_path: Path, folder: Path, members: str) -> None:
    """Unpacks the members of a zip file that match the pattern ``members`` to the new folder ``folder``.

    Raises DataError for a damaged file, one without such members, and names that lead out of the folder.
    """
    part = folder.with_name(f"{folder.name}.part")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: holds files already, expected it empty or absent. Remove it first.")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(zip_path) as archive:
            names = [name for name in archive.namelist() if fnmatchcase(name, members)]
            _check_names(names, zip_path, members)
            for name in tqdm(names, desc=folder.name, disable=None):
                archive.extract(name, part)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{zip_path}: can't be read as zip ({error}), expected a whole one. Remove it and fetch it again."
        ) from error
    part.replace(folder)


def _check_names(names: list[str], zip_path: Path, members: str) -> None:
    if not names:
        raise DataError(f"{zip_path}: no {members} inside, expected some. Is this the right archive?")
    for name in names:
        if ".." in PurePosixPath(name).parts or "\\" in name:
            raise DataError(f"{zip_path}: {name} leads out of the folder, expected plain names. Don't use it.")
