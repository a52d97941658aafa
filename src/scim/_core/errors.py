"""Errors and warnings with a name of their own, each also the built-in one that it refines."""

from __future__ import annotations


class CountsError(ValueError):
    """A matrix that should hold counts does not."""


class GeneOverlapError(ValueError):
    """Too few genes of the data are known to the model."""


class FilterError(ValueError):
    """A `where` expression that cannot be read, or that names an unknown column or value."""


class FormatError(ValueError):
    """A file or folder that is not what it should be: truncated, foreign, or of another version."""


class StorageError(OSError):
    """The store of an atlas does not answer, refuses, or has no room."""


class LockedError(TimeoutError):
    """Somebody else writes into the atlas, or has taken over its lock."""


class ScimWarning(UserWarning):
    """A result that is likely to be wrong, or less sure than it looks."""
