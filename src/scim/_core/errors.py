"""Define the errors and warnings of scim; each refines a built-in one."""

from __future__ import annotations

from scim._core.display import shown


class CountsError(ValueError):
    """A matrix that should hold counts does not."""


class GeneOverlapError(ValueError):
    """Too few genes of the data are in the model."""


class FilterError(ValueError):
    """A `where` expression that cannot be read, or that names an unknown column or value."""


class FormatError(ValueError):
    """A file or folder that is not what it should be: truncated, foreign, or of another version."""


class StorageError(OSError):
    """The store of an atlas is unreachable, denies access, or is full."""


class LockedError(TimeoutError):
    """Another writer has the lease of the atlas, or has taken it over."""


class ScimWarning(UserWarning):
    """A result that is likely to be wrong, or less sure than it looks."""


def error_text(error: BaseException) -> str:
    """Return the message of an error in one line, without a full stop, and as it may be shown (`display.shown`)."""
    # str(KeyError) is the repr of its message
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return shown(" ".join(text.split())).rstrip(".") or type(error).__name__
