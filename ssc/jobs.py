"""What a workflow script works with: a log that holds its errors, and the files of its rule."""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssc.errors import UserError, refused_by_the_system

TOPS = (
    r"results/(cases|external|figures|learned|metrics|notebooks|predictions|runs|tables)"
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


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[tuple[Files, Files]]:
    """Inputs and outputs of a script's rule, which meanwhile works and logs as ``ssc``'s own commands do."""
    folder = home(snakemake.output[0])
    files = Files(snakemake.input, folder), Files(snakemake.output, folder)
    with logged(snakemake.log[0]), contextlib.chdir(folder):
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
