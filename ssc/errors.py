"""The user's mistakes. Each becomes one line on the screen and a non-zero exit."""


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
