"""All rows within a distance: ever more neighbours, until the last of them is farther."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim.index._answers import Within

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scim.index._answers import Neighbors

_FIRST = 64
"""Neighbours that are looked for at first; four times as many where that was not enough."""


def within(
    ask: Callable[[NDArray[Any], int], Neighbors], queries: NDArray[Any], max_distance: float, most: int
) -> Within:
    """Return the rows within a distance of each query, at most `most`; `ask` finds the k nearest."""
    distances = [np.empty(0, dtype=np.float32)] * len(queries)
    ids = [np.empty(0, dtype=np.int64)] * len(queries)
    left, k = np.arange(len(queries)), min(_FIRST, most)
    while len(left) and k:
        near = ask(queries[left], k)
        inside = (near.distances <= max_distance).sum(axis=1)
        for row, (query, n) in enumerate(zip(left, inside, strict=True)):
            distances[query], ids[query] = near.distances[row, :n], near.ids[row, :n]
        left = left[inside == k] if k < most else left[:0]
        k = min(4 * k, most)
    starts = np.zeros(len(queries) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(part) for part in ids])
    nothing, none = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    return Within(np.concatenate([nothing, *distances]), np.concatenate([none, *ids]), starts)
