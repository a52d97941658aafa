"""Opening the TileDB arrays of a published folder: plain ones, which tiledbsoma does not read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from scim._core.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUDGET = 512 << 20
"""Bytes that TileDB may take to read."""


@contextlib.contextmanager
def opened_array(path: Path) -> Iterator[Any]:
    """Open an array for reading.

    Raises
    ------
    ImportError
        The package `tiledb` is not installed.
    FormatError
        It is no array, or cannot be read.
    """
    try:
        import tiledb  # noqa: PLC0415  (only published folders need it)
    except ImportError as error:
        msg = f'{str(path)!r} is a TileDB array, which the package tiledb reads: pip install "scim-atlas[scimilarity]".'
        raise ImportError(msg) from error
    config = {"sm.mem.total_budget": _BUDGET, "sm.memory_budget": _BUDGET, "sm.memory_budget_var": _BUDGET}
    try:
        with tiledb.open(str(path), "r", ctx=tiledb.Ctx(tiledb.Config(config))) as array:
            yield array
    except tiledb.TileDBError as error:
        msg = f"{str(path)!r} cannot be read as a TileDB array ({error})."
        raise FormatError(msg) from error


def n_rows(array: Any, path: Path) -> int:
    """Return how many rows were written into a dense array, from 0 on.

    Raises
    ------
    FormatError
        It is sparse, empty, or does not begin at 0.
    """
    written = None if array.schema.sparse else array.nonempty_domain()
    if written is None or int(written[0][0]) != 0:
        msg = f"{str(path)!r} must be a dense array of rows from 0 on; it has {written}."
        raise FormatError(msg)
    return int(written[0][1]) + 1
