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

_MOST_ROWS = 1 << 31
_MOST_COMPRESSED = 100
"""Embeddings hardly get smaller when they are compressed."""


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
    with reading(path):
        # Absolute: TileDB takes the folder of the process to be what it was when it first asked.
        found = tiledb.open(str(path.resolve()), "r", ctx=tiledb.Ctx(tiledb.Config(config)))
    with found as array:
        yield array


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the array of which something is read, if that fails.

    Raises
    ------
    FormatError
        TileDB cannot read it.
    """
    import tiledb  # noqa: PLC0415

    try:
        yield
    except tiledb.TileDBError as error:
        msg = f"{str(path)!r} cannot be read as a TileDB array ({error})."
        raise FormatError(msg) from error


def n_rows(array: Any, path: Path) -> int:
    """Return how many rows were written into a dense array, from 0 on.

    Raises
    ------
    FormatError
        It is sparse, empty, too long, or does not begin at 0.
    """
    written = None if array.schema.sparse else array.nonempty_domain()
    if written is None or int(written[0][0]) != 0 or int(written[0][1]) >= _MOST_ROWS:
        msg = f"{str(path)!r} must be a dense array of rows from 0 on, at most {_MOST_ROWS:,}; it has {written}."
        raise FormatError(msg)
    return int(written[0][1]) + 1


def check_bytes(path: Path, n_bytes: int) -> None:
    """Refuse an array of embeddings that claims to be far larger than its files are: its rows were never written.

    Raises
    ------
    FormatError
        Naming both.
    """
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if n_bytes > _MOST_COMPRESSED * on_disk:
        msg = f"{str(path)!r} claims {n_bytes:,} bytes of embeddings, in files of {on_disk:,}; it is damaged."
        raise FormatError(msg)
