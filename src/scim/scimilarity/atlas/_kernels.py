"""Finding vectors again among others, by three numbers of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from scim._core.numba import njit

_MOST_TRIES = 10_000
"""Vectors of almost the same numbers that are looked at; more than that are copies of one cell."""


@njit
def claim(
    there: Any, their_groups: Any, next_free: Any, asked: Any, groups: Any, may: Any, tolerance: float, out: Any
) -> None:
    """Give each vector that was asked for one that is there, which is then taken.

    Parameters
    ----------
    there
        (m, 3) float32, ascending by the first of the three.
    their_groups, groups
        (m,), (n,) int32: of two that are as near, the one of the same group is given.
    next_free
        (m + 1,) int64: the first at or behind each place that is not taken, as far as is known; changed.
    asked
        (n, 3) float32.
    may
        (n,) bool: which of them are looked for.
    tolerance
        How much each of the three may differ.
    out
        (n,) int64, written: the place of what was given; -1 = nothing.
    """
    m = there.shape[0]
    for i in range(asked.shape[0]):
        out[i] = -1
        if not may[i]:
            continue
        low, high = asked[i, 0] - tolerance, asked[i, 0] + tolerance
        best = -1
        at = _free(next_free, np.searchsorted(there[:, 0], low))
        for _ in range(_MOST_TRIES):
            if at >= m or there[at, 0] > high:
                break
            if abs(there[at, 1] - asked[i, 1]) <= tolerance and abs(there[at, 2] - asked[i, 2]) <= tolerance:
                if their_groups[at] == groups[i]:
                    best = at
                    break
                if best < 0:
                    best = at
            at = _free(next_free, at + 1)
        if best >= 0:
            next_free[best] = best + 1
            out[i] = best


@njit
def _free(next_free: Any, place: int) -> int:
    """Follow the taken places to a free one, and let the way be shorter next time."""
    end = place
    while next_free[end] != end:
        end = next_free[end]
    while next_free[place] != end:
        after = next_free[place]
        next_free[place] = end
        place = after
    return end
