"""The search of an inverted file: lists in turn, rows into a shortlist, and the distances of the shortlist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.dot import fetch_row
from scim._core.numba import njit, njit_parallel, prange
from scim.index.exact._topk import make_heap, sort_heap
from scim.index.ivf._codes import MIDDLE, quantize, terms
from scim.index.ivf._probe import FAR, FRONT, angle, dot, near_lists, next_front
from scim.index.ivf._scan import scan_all, scan_some
from scim.index.ivf._shortlist import bar_for, cut
from scim.index.ivf._sums import list_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAMAGED = -2
"""In place of a candidate: the next one is the number of a list whose rows have changed."""
SHIFT = 32
PLACE = (1 << SHIFT) - 1
"""A candidate goes by `list << SHIFT | place`."""
_PART = 64  # distances of one task
_AHEAD = 8  # candidates whose values are fetched before they are needed


@njit
def search_one(
    query: NDArray[np.float32],
    m: int,
    reach: np.float32,
    n_near: int,
    parents: NDArray[np.float32],
    groups: NDArray[np.int64],
    centroids: NDArray[np.float32],
    centroid_codes: NDArray[np.uint8],
    centroid_scales: NDArray[np.float32],
    radii: NDArray[np.float32],
    starts: NDArray[np.int64],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    ranks: NDArray[np.int32],
    values: NDArray[np.uint16],
    sums: NDArray[np.uint64],
    code_words: NDArray[np.uint32],
    scale_words: NDArray[np.uint32],
    checked: NDArray[np.bool_],
    passing: NDArray[np.int64],
    places: NDArray[np.int32],
    mask: NDArray[np.bool_],
    code: NDArray[np.int8],
    left: NDArray[np.float32],
    near: NDArray[np.float32],
    lists: NDArray[np.int64],
    front: NDArray[np.float32],
    front_lists: NDArray[np.int64],
    dots: NDArray[np.int32],
    scores: NDArray[np.float32],
    scored: NDArray[np.float32],
    names: NDArray[np.int64],
) -> tuple[int, int]:
    """Fill the shortlist of one query; return how many are in it, and how many rows were scanned."""
    step, total = quantize(query, code)
    near_terms, row_terms = terms(8, step, total), terms(4, step, total)
    for group in range(parents.shape[0]):
        left[group] = dot(query, parents[group])
    n_kept, n_scanned, nearest, n_wanted = 0, 0, np.float32(-1), n_near
    bar = np.float32(np.inf)
    while True:
        n_found = near_lists(
            n_wanted, code, near_terms, groups, centroid_codes, centroid_scales, passing, left, dots, near, lists
        )
        if n_found == 0:
            return n_kept, n_scanned
        above, n_front = np.float32(-np.inf), FRONT
        while above < np.inf:
            n_lists, above = next_front(near[:n_found], lists[:n_found], above, n_front, front, front_lists)
            n_front *= 4
            for i in range(n_lists):
                number, centre = front_lists[i], angle(front[i])
                if nearest < 0:
                    nearest = centre
                if bar < np.inf:
                    last = angle(bar)
                    bound = max(last, nearest)
                    if centre > bound + reach * last:
                        return n_kept, n_scanned
                    if centre > bound + reach * min(last, np.float32(FAR) * radii[number]):
                        continue
                start, stop = starts[number], starts[number + 1]
                if not checked[number]:
                    if list_sum(start, stop, code_words, scale_words, ranks, values) != sums[number]:
                        return -1, number
                    checked[number] = True
                base = dot(query, centroids[number])
                name = number << SHIFT
                if places.shape[0] > 0:
                    some = places[passing[number] : passing[number + 1]]
                    n_scanned += some.shape[0]
                    n_kept, bar = scan_some(
                        some, codes, scales, code, base, row_terms, name, m, dots, scored, names, n_kept, bar
                    )
                else:
                    n_scanned += stop - start
                    n_kept, bar = scan_all(
                        start,
                        stop,
                        codes,
                        scales,
                        mask,
                        code,
                        base,
                        row_terms,
                        name,
                        m,
                        dots,
                        scores,
                        scored,
                        names,
                        n_kept,
                        bar,
                    )
                if n_kept > m + (m >> 2):
                    n_kept, bar = cut(scored[:n_kept], names[:n_kept], m)
                elif bar == np.inf and n_kept >= m:
                    bar = scored[:n_kept].max()
        n_wanted = near.shape[0]


@njit_parallel
def search_many(
    X: NDArray[np.float32],
    order: NDArray[np.int64],
    m: int,
    reach: float,
    n_near: int,
    parents: NDArray[np.float32],
    groups: NDArray[np.int64],
    centroids: NDArray[np.float32],
    centroid_codes: NDArray[np.uint8],
    centroid_scales: NDArray[np.float32],
    radii: NDArray[np.float32],
    starts: NDArray[np.int64],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    ranks: NDArray[np.int32],
    values: NDArray[np.uint16],
    sums: NDArray[np.uint64],
    code_words: NDArray[np.uint32],
    scale_words: NDArray[np.uint32],
    checked: NDArray[np.bool_],
    passing: NDArray[np.int64],
    places: NDArray[np.int32],
    mask: NDArray[np.bool_],
    code: NDArray[np.int8],
    near: NDArray[np.float32],
    lists: NDArray[np.int64],
    dots: NDArray[np.int32],
    scores: NDArray[np.float32],
    scored: NDArray[np.float32],
    names: NDArray[np.int64],
    found: NDArray[np.int64],
    scanned: NDArray[np.int64],
) -> None:
    """Write the candidates of each query, (n, m + m // 4), in no order; from `code` on there is room for each task.

    Queries are taken in the given order, in which neighbours should follow each other: what one of them has read the
    next finds in cache.
    """
    n_tasks = code.shape[0]
    for task in prange(n_tasks):
        for at in range(task * X.shape[0] // n_tasks, (task + 1) * X.shape[0] // n_tasks):
            i = order[at]
            n_kept, scanned[i] = search_one(
                X[i],
                m,
                np.float32(reach),
                n_near,
                parents,
                groups,
                centroids,
                centroid_codes,
                centroid_scales,
                radii,
                starts,
                codes,
                scales,
                ranks,
                values,
                sums,
                code_words,
                scale_words,
                checked,
                passing,
                places,
                mask,
                code[task],
                near[task, 2, : parents.shape[0]],
                near[task, 0],
                lists[task, 0],
                near[task, 1],
                lists[task, 1],
                dots[task],
                scores[task],
                scored[task],
                names[task],
            )
            if n_kept < 0:  # then in place of rows scanned there is the number of the list
                found[i, 0], found[i, 1] = DAMAGED, scanned[i]
                continue
            if n_kept > found.shape[1]:
                n_kept, _ = cut(scored[task, :n_kept], names[task, :n_kept], m)
            found[i, :n_kept] = names[task, :n_kept]


@njit_parallel
def measure_values(
    X: NDArray[np.float32],
    found: NDArray[np.int64],
    centroids: NDArray[np.float32],
    values: NDArray[np.uint16],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write 1 - dot of each query with each of its candidates, clipped to [0, 2]; `inf` where there is none.

    The one place that answered distances come from, so that equal rows are equally far, bit for bit.
    """
    n_parts = (found.shape[1] + _PART - 1) // _PART
    for task in prange(X.shape[0] * n_parts):
        i, first = task // n_parts, (task % n_parts) * _PART
        query, number, base = X[i], -1, 0.0
        for j in range(first, min(first + _PART, found.shape[1])):
            name = found[i, j]
            if j + _AHEAD < found.shape[1] and found[i, j + _AHEAD] >= 0:
                fetch_row(values, found[i, j + _AHEAD] & PLACE)
            if name < 0:
                out[i, j] = np.inf
                continue
            if name >> SHIFT != number:  # candidates come list by list
                number, base = name >> SHIFT, 0.0
                centroid = centroids[number]
                for d in range(query.shape[0]):
                    base += np.float64(query[d]) * np.float64(centroid[d])
            place = name & PLACE
            row, coded = values[place], np.float32(0)
            for d in range(query.shape[0]):
                coded += query[d] * np.float32(np.int32(row[d]) - MIDDLE)
            out[i, j] = min(max(1.0 - (base + np.float64(scales[place]) * np.float64(coded)), 0.0), 2.0)


@njit_parallel
def sort_nearest(distances: NDArray[np.float32], ranks: NDArray[np.int64], k: int) -> None:
    """Put the `k` nearest of each row in front, by distance and then by rank; what comes behind is in no order."""
    for i in prange(distances.shape[0]):
        near, names = distances[i], ranks[i]
        _, bar = bar_for(near, np.float32(-1), k)
        n_near = 0
        for j in range(near.shape[0]):
            if near[j] <= bar:
                near[n_near], near[j] = near[j], near[n_near]
                names[n_near], names[j] = names[j], names[n_near]
                n_near += 1
        make_heap(near[:n_near], names[:n_near])
        sort_heap(near[:n_near], names[:n_near])
