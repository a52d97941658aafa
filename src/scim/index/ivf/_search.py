"""The search of an inverted file: lists in turn, their rows into a shortlist, and the distances of the shortlist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import fetch_row
from scim._core.numba import njit, njit_parallel, prange
from scim.index.ivf._codes import MIDDLE, quantize, terms
from scim.index.ivf._probe import FRONT, angle, dot, helps, meet_parents, near_lists, next_front, shorter
from scim.index.ivf._scan import scan_all, scan_some
from scim.index.ivf._shortlist import cut, sort_nearest
from scim.index.ivf._sums import list_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index.ivf._lists import Checks, Coarse, Rows, Some
    from scim.index.ivf._room import Room

_SHIFT = 32  # a candidate goes by `list << _SHIFT | place`
_PLACE = (1 << _SHIFT) - 1
_AHEAD = 8  # candidates whose values are fetched before they are needed


@njit
def gather(
    query: NDArray[np.float32],
    m: int,
    reach: np.float32,
    shrink: np.float32,
    n_near: int,
    coarse: Coarse,
    rows: Rows,
    checks: Checks,
    some: Some,
    room: Room,
    task: int,
) -> tuple[int, int]:
    """Fill the shortlist of one query with at least `m` candidates, if so many rows pass.

    Return how many they are, and how many rows were scanned, none for a row of zeros; or -1, and the number of a list
    whose checksum is wrong.
    """
    step, total = quantize(query, room.code[task])
    if step == 0:
        return 0, 0
    row_terms = terms(4, step, total)
    meet_parents(query, coarse, room, task)
    values, names = room.values[task], room.names[task]
    n_kept, n_scanned, n_met, nearest, bar, n_wanted = 0, 0, 0, np.float32(-1), np.float32(np.inf), n_near
    while True:
        n_found = near_lists(n_wanted, terms(8, step, total), coarse, some.starts, room, task)
        if n_found == 0:
            return n_kept, n_scanned
        above, n_front = np.float32(-np.inf), FRONT
        while above < np.inf:
            n_lists, above = next_front(n_found, above, n_front, room, task)
            n_front *= 8
            for i in range(n_lists):
                number, centre = room.front_lists[task, i], angle(room.front[task, i])
                if nearest < 0:
                    nearest = centre
                if bar < np.inf:
                    last, far = angle(bar), reach
                    if n_scanned < n_met:
                        far = shorter(reach, n_met / n_scanned, shrink)
                    if not helps(centre, np.float32(np.inf), last, nearest, far):
                        return n_kept, n_scanned
                    if not helps(centre, coarse.radii[number], last, nearest, far):
                        continue
                start, stop = rows.starts[number], rows.starts[number + 1]
                if not checks.done[number]:
                    if list_sum(start, stop, checks.codes, checks.scales, rows.ranks, rows.values) != rows.sums[number]:
                        return -1, number
                    checks.done[number] = True
                n_met += stop - start
                base, name = dot(query, coarse.centroids[number]), number << _SHIFT
                if some.places.shape[0] > 0:
                    few = some.places[some.starts[number] : some.starts[number + 1]]
                    n_scanned += few.shape[0]
                    n_kept, bar = scan_some(few, rows, base, row_terms, name, m, room, task, n_kept, bar)
                else:
                    n_scanned += (
                        stop - start if some.starts.shape[0] == 0 else some.starts[number + 1] - some.starts[number]
                    )
                    n_kept, bar = scan_all(
                        start, stop, rows, some.mask, base, row_terms, name, m, room, task, n_kept, bar
                    )
                if n_kept > m + (m >> 2):
                    n_kept, bar = cut(values[:n_kept], names[:n_kept], m)
                elif bar == np.inf and n_kept >= m:
                    bar = values[:n_kept].max()
        n_wanted = room.near.shape[1]


@njit
def measure(
    query: NDArray[np.float32],
    n: int,
    coarse: Coarse,
    rows: Rows,
    values: NDArray[np.float32],
    names: NDArray[np.int64],
) -> None:
    """Put distances, 1 - dot clipped to [0, 2], and ranks in place of the scores and names of `n` candidates.

    The one place that answered distances come from, so that equal rows are equally far, bit for bit.
    """
    number, base = -1, 0.0
    for j in range(min(n, _AHEAD)):
        fetch_row(rows.values, names[j] & _PLACE)
    for j in range(n):
        if j + _AHEAD < n:
            fetch_row(rows.values, names[j + _AHEAD] & _PLACE)
        if names[j] >> _SHIFT != number:  # candidates come list by list
            number, base = names[j] >> _SHIFT, 0.0
            centroid = coarse.centroids[number]
            for d in range(query.shape[0]):
                base += np.float64(query[d]) * np.float64(centroid[d])
        place = names[j] & _PLACE
        row, coded = rows.values[place], np.float32(0)
        for d in range(query.shape[0]):
            coded += query[d] * np.float32(np.int32(row[d]) - MIDDLE)
        values[j] = min(max(1.0 - (base + np.float64(rows.scales[place]) * np.float64(coded)), 0.0), 2.0)
        names[j] = rows.ranks[place]


@njit_parallel
def search_many(
    X: NDArray[np.float32],
    order: NDArray[np.int64],
    m: int,
    reach: float,
    shrink: float,
    n_near: int,
    coarse: Coarse,
    rows: Rows,
    checks: Checks,
    some: Some,
    room: Room,
    distances: NDArray[np.float32],
    ranks: NDArray[np.int64],
    scanned: NDArray[np.int64],
) -> None:
    """Write distances and ranks of the nearest rows of each query, (n, k), and the number of rows scanned, (n,).

    Queries are taken in the given order, in which neighbours should follow each other: what one of them has read the
    next finds in cache. Where a list is damaged, -1 minus its number stands for the rows scanned.
    """
    k, n_tasks = distances.shape[1], room.code.shape[0]
    for task in prange(n_tasks):
        values, names = room.values[task], room.names[task]
        for at in range(task * X.shape[0] // n_tasks, (task + 1) * X.shape[0] // n_tasks):
            i = order[at]
            n_kept, scanned[i] = gather(
                X[i], m, np.float32(reach), np.float32(shrink), n_near, coarse, rows, checks, some, room, task
            )
            if n_kept < 0:
                scanned[i] = -1 - scanned[i]
            if n_kept <= 0:
                continue
            if n_kept > m + (m >> 2):
                n_kept, _ = cut(values[:n_kept], names[:n_kept], m)
            measure(X[i], n_kept, coarse, rows, values, names)
            sort_nearest(values[:n_kept], names[:n_kept], k)
            distances[i], ranks[i] = values[:k], names[:k]
