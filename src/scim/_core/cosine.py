"""Rows of unit length, and the cosine distances between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints

_CHUNK = 2048  # rows of one task, so that a single query is shared between threads too

# Distances below are 0. The dot of a unit row with itself, of a million random rows of 8 to 512 numbers each, was off
# by 1e-7 at most where rows of float16, float32 or float64 were scaled in double precision, and by 3e-7 in single.
EQUAL = 1e-6

_UNIT = 2e-3  # largest deviation of a squared length from 1


def is_directed(X: NDArray[Any]) -> Bools:
    """Return which rows (n, dim) are not all zeros, (n,): a cell without counts has no direction, and no neighbours."""
    directed: Bools = X[:, 0] != 0 if X.shape[1] else np.zeros(len(X), dtype=np.bool_)  # few rows need a second look
    if not directed.all():
        unsure = np.flatnonzero(~directed)
        directed[unsure] = X[unsure].any(axis=1)
    return directed


def are_unit(rows: Floats) -> bool:
    """Return whether all rows (n, dim) are finite, and of unit length to a thousandth, or zero."""
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        squares = np.einsum("ij,ij->i", chunk, chunk)
        if not ((abs(squares - 1) < _UNIT) | (squares == 0)).all():  # NaN is neither
            return False
    return True


def normalize(X: NDArray[Any]) -> NDArray[Any]:
    """Return rows (n, dim) divided by their length, in their own precision; rows of zeros stay."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    unit: NDArray[Any] = np.divide(X, length, out=np.zeros_like(X), where=length > 0)
    return unit


def unit_rows(X: NDArray[Any], *, what: str, first: int = 0, numbers: Ints | None = None) -> Floats:
    """Return any floats as finite rows of unit length, measured in double precision, C-contiguous; rows of zeros stay.

    Raise ValueError if one holds NaN or infinity; it calls them `what`, numbered from `first` on, or by `numbers`.
    """
    rows = np.ascontiguousarray(X, dtype=np.float64 if X.dtype == np.float64 else np.float32)
    out = np.empty(rows.shape, dtype=np.float32)
    bad = np.zeros(len(rows), dtype=np.bool_)
    if scale(rows, out, bad):
        at = int(np.argmax(bad))
        row = first + at if numbers is None else numbers[at]
        msg = f"{bad.sum()} of {len(rows)} {what} hold NaN or infinity, the first is row {row}; leave them out."
        raise ValueError(msg)
    return out


@njit
def scale(rows: NDArray[Any], out: Floats, bad: Bools) -> int:
    """Write the rows scaled to unit length, flag those that are not finite, and return how many those are."""
    n_bad = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        largest, nothing = 0.0, 0.0
        for d in range(row.shape[0]):
            largest = max(largest, abs(np.float64(row[d])))
            nothing += np.float64(row[d]) * 0.0  # NaN as soon as one entry is not finite
        if nothing != 0.0:
            bad[i] = True
            n_bad += 1
            continue
        # Scaled by the largest entry first: squares of very large or very small numbers would over- or underflow.
        total = 0.0
        factor = 1.0 / largest if largest > 0 else 0.0
        huge = factor * largest != 1.0  # the reciprocal itself over- or underflows
        for d in range(row.shape[0]):
            value = np.float64(row[d]) / largest if huge and largest > 0 else np.float64(row[d]) * factor
            total += value * value
        length = 1.0 / np.sqrt(total) if total > 0 else 0.0
        for d in range(row.shape[0]):
            value = np.float64(row[d]) / largest if huge and largest > 0 else np.float64(row[d]) * factor
            out[i, d] = value * length
    return n_bad


def measure(X: Floats, rows: Floats, which: Ints) -> Floats:
    """Return the cosine distances (n, m) of unit queries (n, dim) to the unit rows at the positions `which`.

    These are (n, m), or (1, m) for the same rows for every query; -1 gives `inf`. Floating sums depend on their order,
    which a compiler may choose again each time it inlines a function. So candidates may be found in any way, but their
    distances come from this one kernel: equal rows get equal distances, bit for bit.
    """
    out = np.empty((len(X), which.shape[1]), dtype=np.float32)
    distances(X, rows, which, out)
    return out


@njit
def distance_of(dot: float) -> float:
    """Return the cosine distance of a dot of unit rows: 1 - dot in [0, 2], and 0 below `EQUAL`."""
    distance = 1.0 - dot
    return 0.0 if distance < EQUAL else min(distance, 2.0)


def cosine_distances(dots: NDArray[np.floating[Any]]) -> Floats:
    """Return the cosine distances of dots of unit rows, of any shape: 1 - dot in [0, 2], and 0 below `EQUAL`."""
    distances: Floats = np.clip(1 - dots, 0, 2).astype(np.float32)
    distances[distances < EQUAL] = 0
    return distances


@njit_parallel
def distances(X: Floats, rows: Floats, which: Ints, out: Floats) -> None:
    """Write the distances of dots that are summed in double precision."""
    n_chunks = (which.shape[1] + _CHUNK - 1) // _CHUNK
    for task in prange(X.shape[0] * n_chunks):
        i = task // n_chunks
        start = (task % n_chunks) * _CHUNK
        query = X[i]
        for j in range(start, min(start + _CHUNK, which.shape[1])):
            position = which[i % which.shape[0], j]
            if position < 0:
                out[i, j] = np.inf
                continue
            row = rows[position]
            dot = 0.0
            for d in range(query.shape[0]):
                dot += np.float64(query[d]) * np.float64(row[d])
            out[i, j] = distance_of(dot)
