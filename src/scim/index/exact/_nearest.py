"""Exact search among all rows or some: what `exact` is, and what the other kinds fall back on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim.index.exact._distances import measure
from scim.index.exact._panel import room_for, shortlist
from scim.index.exact._topk import empty_heaps, keep_nearest, sort_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 16  # queries for which turning the rows into panels does not pay
_MANY = 4096  # queries that pass over the rows together at most
_ROOM_BYTES = 1 << 26  # for the shortlists of queries that pass together
_MARGIN = 16  # rows shortlisted beyond k
_PART_BYTES = 1 << 25  # distances that a direct scan holds at a time
_ROUNDING = 2.0**-20  # of distances to float32, and of unit lengths, generously


def nearest(
    X: NDArray[np.float32], rows: NDArray[np.float32], k: int, *, which: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return distances and ranks (n, k) of the nearest rows, by distance and then by rank.

    Parameters
    ----------
    X
        Unit queries (n, dim).
    rows
        Unit rows (n_rows, dim).
    k
        At most the number of rows to look at.
    which
        Ranks of the rows to look at, ascending and distinct; `None` for all.
    """
    step = min(_MANY, max(_FEW, _ROOM_BYTES // (12 * room_for(k + _MARGIN))))
    found = [_nearest(X[start : start + step], rows, k, which) for start in range(0, len(X), step)]
    if len(found) == 1:
        return found[0]
    return np.concatenate([d for d, _ in found]), np.concatenate([r for _, r in found])


def _nearest(
    X: NDArray[np.float32], rows: NDArray[np.float32], k: int, which: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    n_candidates = len(rows) if which is None else len(which)
    if len(X) < _FEW or 2 * (k + _MARGIN) > n_candidates:
        return _scan(X, rows, k, which)
    values, ranks = shortlist(X, rows, k + _MARGIN, which)
    distances = measure(X, rows, ranks)
    sort_rows(distances, ranks)
    distances, ranks = distances[:, :k].copy(), ranks[:, :k].copy()
    # Each value is off by at most dim * 2**-24. Where the last of the shortlist is farther behind the k-th than
    # both errors, no row outside can belong to the answer; elsewhere (many near-equal rows) every row is measured.
    slack = 2 * X.shape[1] * 2.0**-24 + _ROUNDING
    unsure = np.flatnonzero(values[:, -1] <= values[:, k - 1] + slack)
    if len(unsure):
        distances[unsure], ranks[unsure] = _scan(X[unsure], rows, k, which)
    return distances, ranks


def _scan(
    X: NDArray[np.float32], rows: NDArray[np.float32], k: int, which: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    n_candidates = len(rows) if which is None else len(which)
    distances, ranks = empty_heaps(len(X), k)
    step = max(256, _PART_BYTES // (4 * len(X)))
    for start in range(0, n_candidates, step):
        stop = min(start + step, n_candidates)
        part = np.arange(start, stop) if which is None else which[start:stop]
        keep_nearest(measure(X, rows, part[None]), part, distances, ranks)
    sort_rows(distances, ranks)
    return distances, ranks
