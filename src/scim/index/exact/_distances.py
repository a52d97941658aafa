"""The one kernel that every answered distance comes from.

Floating sums depend on their order, and a compiler may choose another order each time it inlines a function.
So scans may shortlist rows however they like, but distances are measured here: one compiled loop for all kinds
of index, single queries and batches, any number of threads. Equal rows therefore get equal distances, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PART = 2048
"""Rows of one task, so that a single query is shared between threads too."""


def measure(X: NDArray[np.float32], rows: NDArray[np.float32], which: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the cosine distances of each query to its own rows.

    Parameters
    ----------
    X
        Unit queries (n, dim).
    rows
        Unit rows (n_rows, dim).
    which
        Rows to measure, (n, m), or (1, m) for the same ones for each query; -1 gives `inf`.
    """
    out = np.empty((len(X), which.shape[1]), dtype=np.float32)
    distances(X, rows, which, out)
    return out


@njit_parallel
def distances(
    X: NDArray[np.float32], rows: NDArray[np.float32], which: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write 1 - dot, summed in double precision, clipped to [0, 2]."""
    n_parts = (which.shape[1] + _PART - 1) // _PART
    for task in prange(X.shape[0] * n_parts):
        i = task // n_parts
        start = (task % n_parts) * _PART
        query = X[i]
        for j in range(start, min(start + _PART, which.shape[1])):
            row = which[i % which.shape[0], j]
            if row < 0:
                out[i, j] = np.inf
                continue
            other = rows[row]
            dot = 0.0
            for d in range(query.shape[0]):
                dot += np.float64(query[d]) * np.float64(other[d])
            out[i, j] = min(max(1.0 - dot, 0.0), 2.0)
