"""From a set of codes to the rows that have one of them; a code beyond the table is a missing value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.numba import njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Truth is handled as bytes: the compiler makes vectors of them, which it does not of bools.


@njit_parallel
def compare(codes: NDArray[Any], low: Any, high: Any, flip: np.uint8, passes: NDArray[np.uint8]) -> None:
    """Say for each row whether its code is in [low, high], or with `flip` whether it is not."""
    for i in prange(codes.shape[0]):
        passes[i] = np.uint8((codes[i] >= low) & (codes[i] <= high)) ^ flip


@njit_parallel
def look_up(codes: NDArray[Any], table: NDArray[np.uint8], last: Any, passes: NDArray[np.uint8]) -> None:
    """Say for each row what the table says of its code, of codes beyond `last` what it says of `last`."""
    for i in prange(codes.shape[0]):
        passes[i] = table[min(codes[i], last)]


class Tested(NamedTuple):
    """A column, and which of its codes pass a test."""

    codes: NDArray[Any]
    """(n_rows,) uint8, uint16 or uint32."""

    table: NDArray[np.bool_]
    """(n_values + 1,) whether each code passes; the last entry is for missing values."""

    edges: NDArray[np.intp]
    """(n_edges,) codes that differ in this from the code before."""


def tested(codes: NDArray[Any], table: NDArray[np.bool_]) -> Tested:
    """Return the codes of a column with a table of those that pass."""
    return Tested(codes, table, np.flatnonzero(table[1:] != table[:-1]) + 1)


def mark_rows(column: Tested, rows: slice, passes: NDArray[np.bool_]) -> None:
    """Write into `passes` which of the rows have a code that passes."""
    codes, table, edges = column.codes[rows], column.table, column.edges
    as_code = codes.dtype.type
    if edges.size == 0:
        passes.fill(table[0])
    elif edges.size > 2:
        look_up(codes, table.view(np.uint8), as_code(table.size - 1), passes.view(np.uint8))
    else:
        high = edges[1] - 1 if edges.size > 1 else np.iinfo(codes.dtype).max
        compare(codes, as_code(edges[0]), as_code(high), np.uint8(table[0]), passes.view(np.uint8))
