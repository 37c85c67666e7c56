"""The user's mistakes. Each becomes one line on the screen and a non-zero exit."""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend: the message names what, found, expected and the mend."""


class SettingsError(UserError):
    """The configuration holds an unknown key or a value that is not allowed."""


class DataError(UserError):
    """A scan, label map or folder is not what it should be."""


class MissingDataError(DataError):
    """Raw data is not where the configuration says it is."""


class RunError(UserError):
    """A training run's folder is incomplete, in use, or does not fit the request."""


@contextlib.contextmanager
def logged(path: str) -> Iterator[None]:
    """What a workflow script writes to stderr goes to its log, a user's mistake as one line, like ``ssc``'s own."""
    with Path(path).open("w", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        try:
            yield
        except UserError as error:
            print(f"ssc: {error}", file=log)
            raise SystemExit(1) from None
        except Exception:
            traceback.print_exc(file=log)
            raise SystemExit(1) from None
