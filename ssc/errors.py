"""The user's mistakes. Each becomes one line on the screen and a non-zero exit."""

import errno


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


def check_name(path: object) -> None:
    """Raises DataError for a name that is no UTF-8: ITK ends the whole program at it."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{path}: its name is not in UTF-8; rename the file or folder") from None


# What the system refuses, and the way out.
WAYS_OUT = {
    errno.ENOSPC: "the disk is full; make room, then give the same command again",
    errno.EDQUOT: "your quota is used up; make room, then give the same command again",
    errno.EACCES: "no permission; change its rights or name another place",
    errno.EPERM: "no permission; change its rights or name another place",
    errno.EROFS: "the place is read-only; name another one",
    errno.ENAMETOOLONG: "the name is too long; give a shorter one",
    errno.ENOENT: "it is not there; is the name right?",
    errno.EISDIR: "it is a folder, expected a file",
    errno.ENOTDIR: "a part of its path is no folder",
}


def refused_by_the_system(error: OSError) -> str:
    """One line: the file, what is wrong, the way out."""
    what = WAYS_OUT.get(error.errno, error.strerror or str(error))
    return f"{error.filename}: {what}" if error.filename else what
