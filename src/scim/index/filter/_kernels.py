"""From a set of codes to the rows that have one of them; a code beyond the table is a missing value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def rows_that_pass(codes: NDArray[Any], table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each row what `table` says of its code; the last entry is for missing values."""
    edges = np.flatnonzero(table[1:] != table[:-1]) + 1
    if edges.size == 0:
        return np.full(codes.size, table[0])
    passes = np.empty(codes.size, dtype=np.uint8)
    as_code = codes.dtype.type
    if edges.size > 2:
        look_up(codes, table.view(np.uint8), as_code(table.size - 1), passes)
    else:
        high = edges[1] - 1 if edges.size > 1 else np.iinfo(codes.dtype).max
        compare(codes, as_code(edges[0]), as_code(high), np.uint8(table[0]), passes)
    return passes.view(np.bool_)
