"""Hits that are the same cell twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit_parallel, prange

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SAME = np.float32(3e-5)
"""Difference of entries of unit rows up to which they are the same: what is kept of a row is exact to half of it."""
_EVEN = np.float32(4e-5)
"""Difference of the distances of equal rows at most: one may be kept coded, with an error each entry, the other not."""

_HEAD = 16
"""Numbers of a row that are compared first: a row of 128 is eight times as much to read."""


def twins(
    distances: NDArray[np.float32],
    ids: NDArray[np.int64],
    vectors: Callable[[NDArray[np.int64], int | None], NDArray[np.float32]],
) -> NDArray[np.bool_]:
    """Return which hits equal an earlier hit of their query, (n, k).

    Only hits that are equally far can be equal, so only their rows are looked up, with `vectors`: first some of their
    numbers, for most queries have no twins.
    """
    some = _equal(distances, ids, vectors, _HEAD)
    rows = np.flatnonzero(some.any(axis=1))
    if rows.size:
        some[rows] = _equal(distances[rows], ids[rows], vectors, None)
    return some


def _equal(
    distances: NDArray[np.float32],
    ids: NDArray[np.int64],
    vectors: Callable[[NDArray[np.int64], int | None], NDArray[np.float32]],
    n: int | None,
) -> NDArray[np.bool_]:
    """Return which hits equal an earlier hit of their query in their first `n` numbers."""
    real = ids >= 0
    even = (distances[:, 1:] - distances[:, :-1] <= _EVEN) & real[:, 1:]
    tied = np.zeros(ids.shape, dtype=np.bool_)
    tied[:, 1:] |= even
    tied[:, :-1] |= even
    found = np.zeros(ids.shape, dtype=np.bool_)
    if tied.any():
        unique, inverse = np.unique(ids[tied], return_inverse=True)
        which = np.full(ids.shape, -1, dtype=np.int64)
        which[tied] = inverse
        mark(distances, which, vectors(unique, n), found)
    return found


@njit_parallel
def mark(
    distances: NDArray[np.float32], which: NDArray[np.int64], rows: NDArray[np.float32], found: NDArray[np.bool_]
) -> None:
    """Mark hits whose row, numbered by `which`, equals that of an earlier unmarked hit at the same distance."""
    for i in prange(which.shape[0]):
        for j in range(1, which.shape[1]):
            if which[i, j] < 0:
                continue
            mine = rows[which[i, j]]
            for other in range(j - 1, -1, -1):
                if which[i, other] < 0 or distances[i, j] - distances[i, other] > _EVEN:
                    break
                if found[i, other]:
                    continue
                row, same = rows[which[i, other]], True
                for d in range(mine.shape[0]):
                    if abs(mine[d] - row[d]) > _SAME:
                        same = False
                        break
                if same:
                    found[i, j] = True
                    break
