"""Search an inverted file: probe lists in turn, gather candidates, and re-rank them with full-precision codes.

Lists are probed from the nearest centroid on. With `a` the angle to the last of the candidates so far and `p` the
angle to the nearest centroid, a list with centroid at angle `c` and rows `r` around it is probed if

    c <= max(a, p) + probe_factor * min(a, 2.5 * r)

The bound moves with the query: fewer lists are probed in dense regions, and more where rows are sparse, whether because
of the region, of `k` or of a filter. `p` serves rows closer than the centroid itself (small `k`, duplicates of the
query), `r` rows all far away (a filter that leaves only distant lists, most of them equally far).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.cosine import distance_of
from scim._core.dot import byte_dot, byte_dots, fetch_row
from scim._core.numba import njit, njit_parallel, prange
from scim._core.topk import make_heap, sort_heap
from scim.index.ivf._candidates import bound_for, cut, scan_list, scan_offsets, score_row, sort_nearest
from scim.index.ivf._codes import MIDDLE, is_sound, quantize, terms

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints
    from scim.index.ivf._candidates import RowFilter, Terms, Workspace
    from scim.index.ivf._codes import Checks, Coarse, Rows, Values

FAR = 2.5  # radii of a list beyond which its own size, not the distance of the candidates, bounds the search
FRONT = 32  # lists that are sorted at first; then eight times as many, and so on
_SHIFT = 32  # the key of a candidate is `list << _SHIFT | offset`
_OFFSET = (1 << _SHIFT) - 1
_NEAR = 1e-3  # distance below which errors of the codes, up to 7e-4 in 512 dimensions, are too large
_AHEAD = 8  # candidates whose values are fetched before they are needed


@njit
def dot(x: Floats, y: Floats) -> np.float32:
    """Return the dot of two rows."""
    total = np.float32(0)
    for d in range(x.shape[0]):
        total += x[d] * y[d]
    return total


@njit
def angle(value: np.float32) -> np.float32:
    """Return the angle in radians of a negated cosine."""
    return np.float32(np.arccos(min(max(-value, np.float32(-1)), np.float32(1))))


@njit
def score_parents(query: Floats, coarse: Coarse, work: Workspace, task: int) -> None:
    """Write the dots with all parents: no group is visited yet."""
    left = work.left[task]
    for group in range(left.shape[0]):
        left[group] = dot(query, coarse.parents[group])


@njit
def near_lists(wanted: int, terms: Terms, coarse: Coarse, passing: Ints, work: Workspace, task: int) -> int:
    """Write negated cosines and numbers of the lists of the nearest groups not visited yet, until there are `wanted`.

    Return how many. Lists without passing rows are left out, if `passing`, the rows before each list, is not empty.
    """
    code, left, dots = work.code[task], work.left[task], work.dots[task]
    near, lists = work.near[task], work.lists[task]
    n_near = 0
    while n_near < wanted:
        group = np.argmax(left)
        base = left[group]
        if base == -np.inf:
            break
        left[group] = -np.inf
        first, stop = coarse.groups[group], coarse.groups[group + 1]
        n_lists = stop - first
        for j in range(0, n_lists & ~3, 4):
            byte_dots(coarse.codes, first + j, code, dots, j)
        for j in range(n_lists & ~3, n_lists):
            byte_dot(coarse.codes, first + j, code, dots, j)
        for j in range(n_lists):
            near[n_near] = score_row(dots[j], coarse.scales[first + j], base, terms)
            lists[n_near] = first + j
            n_near += passing.shape[0] == 0 or passing[first + j + 1] > passing[first + j]
    return n_near


@njit
def next_lists(n_near: int, above: np.float32, n_wanted: int, work: Workspace, task: int) -> tuple[int, np.float32]:
    """Write about `n_wanted` of the nearest lists beyond `above`, nearest first; return how many, and the last."""
    near, lists = work.near[task, :n_near], work.lists[task]
    front, front_lists = work.front[task], work.front_lists[task]
    n_left = 0
    for i in range(n_near):
        n_left += near[i] > above
    bound = np.float32(np.inf)
    if n_left > n_wanted:
        _, bound = bound_for(near, above, n_wanted)
    n_front = 0
    for i in range(n_near):
        if above < near[i] and near[i] <= bound:
            front[n_front], front_lists[n_front] = near[i], lists[i]
            n_front += 1
    make_heap(front[:n_front], front_lists[:n_front])
    sort_heap(front[:n_front], front_lists[:n_front])
    return n_front, bound


@njit
def is_probed(
    centre: np.float32, radius: np.float32, last: np.float32, nearest: np.float32, probe_factor: np.float32
) -> bool:
    """Return whether a list is probed, by the rule above."""
    return bool(centre <= max(last, nearest) + probe_factor * min(last, np.float32(FAR) * radius))


@njit
def decayed(probe_factor: np.float32 | float, times: float, filter_decay: np.float32 | float) -> np.float32:
    """Return the probe factor that finds as large a share of `times` as many rows.

    Of many candidates, or rows of which only every `times`-th passes a filter, the surroundings of the last candidate
    are a smaller part. The power is measured, since it depends on how rows are distributed.
    """
    return np.float32(probe_factor * max(times, 1.0) ** -filter_decay)


@njit
def gather(
    query: Floats,
    m: int,
    probe_factor: np.float32,
    filter_decay: np.float32,
    n_near: int,
    coarse: Coarse,
    rows: Rows,
    checks: Checks,
    row_filter: RowFilter,
    work: Workspace,
    task: int,
) -> tuple[int, int]:
    """Gather at least `m` candidates of one query, if so many rows pass.

    Return how many they are, and how many rows were scanned, none for a row of zeros; or -1, and the number of a list
    that is not sound.
    """
    step, total = quantize(query, work.code[task])
    if step == 0:
        return 0, 0
    row_terms = terms(4, step, total)
    score_parents(query, coarse, work, task)
    values, keys = work.values[task], work.keys[task]
    n_kept, n_scanned, n_probed, nearest, bound, n_wanted = 0, 0, 0, np.float32(-1), np.float32(np.inf), n_near
    while True:
        n_lists_scored = near_lists(n_wanted, terms(8, step, total), coarse, row_filter.starts, work, task)
        if n_lists_scored == 0:
            return n_kept, n_scanned
        above, n_front = np.float32(-np.inf), FRONT
        while above < np.inf:
            n_lists, above = next_lists(n_lists_scored, above, n_front, work, task)
            n_front *= 8
            for i in range(n_lists):
                number, centre = work.front_lists[task, i], angle(work.front[task, i])
                if nearest < 0:
                    nearest = centre
                if bound < np.inf:
                    last, factor = angle(bound), probe_factor
                    if n_scanned < n_probed:
                        factor = decayed(probe_factor, n_probed / n_scanned, filter_decay)
                    if not is_probed(centre, np.float32(np.inf), last, nearest, factor):
                        return n_kept, n_scanned
                    if not is_probed(centre, coarse.radii[number], last, nearest, factor):
                        continue
                if not checks.done[number]:
                    if not is_sound(number, rows, checks):
                        return -1, number
                    checks.done[number] = True
                start, stop = rows.starts[number], rows.starts[number + 1]
                n_probed += stop - start
                base, key = dot(query, coarse.centroids[number]), number << _SHIFT
                if row_filter.offsets.shape[0] > 0:
                    few = row_filter.offsets[row_filter.starts[number] : row_filter.starts[number + 1]]
                    n_scanned += few.shape[0]
                    n_kept, bound = scan_offsets(few, rows, base, row_terms, key, m, work, task, n_kept, bound)
                else:
                    passing = row_filter.starts
                    n_scanned += stop - start if passing.shape[0] == 0 else passing[number + 1] - passing[number]
                    mask = row_filter.mask
                    n_kept, bound = scan_list(
                        start, stop, rows, mask, base, row_terms, key, m, work, task, n_kept, bound
                    )
                if n_kept > m + (m >> 2):
                    n_kept, bound = cut(values[:n_kept], keys[:n_kept], m)
                elif bound == np.inf and n_kept >= m:
                    bound = values[:n_kept].max()
        n_wanted = work.near.shape[1]


@njit
def near_distance(query: Floats, centroid: Floats, row: Values, scale: np.float32) -> np.float64:
    """Return half of the squared difference of a query and a row that is near: equal ones differ by the codes alone."""
    total = np.float32(0)
    for d in range(query.shape[0]):
        difference = query[d] - (centroid[d] + scale * np.float32(np.int32(row[d]) - MIDDLE))
        total += difference * difference
    return np.float64(0.5) * total


@njit
def rerank(query: Floats, n: int, coarse: Coarse, rows: Rows, values: Floats, keys: Ints) -> None:
    """Replace the scores and keys of `n` candidates by distances and ranks.

    All distances of results come from here, so that equal rows are equally far, bit for bit.
    """
    number, base = -1, 0.0
    for j in range(min(n, _AHEAD)):
        fetch_row(rows.values, keys[j] & _OFFSET)
    for j in range(n):
        if j + _AHEAD < n:
            fetch_row(rows.values, keys[j + _AHEAD] & _OFFSET)
        if keys[j] >> _SHIFT != number:  # candidates come list by list
            number, base = keys[j] >> _SHIFT, 0.0
            centroid = coarse.centroids[number]
            for d in range(query.shape[0]):
                base += np.float64(query[d]) * np.float64(centroid[d])
        offset = keys[j] & _OFFSET
        row, coded = rows.values[offset], np.float32(0)
        for d in range(query.shape[0]):
            coded += query[d] * np.float32(np.int32(row[d]) - MIDDLE)
        product = base + np.float64(rows.scales[offset]) * np.float64(coded)
        if product > 1.0 - _NEAR:
            product = 1.0 - near_distance(query, coarse.centroids[number], row, rows.scales[offset])
        values[j] = distance_of(product)
        keys[j] = rows.ranks[offset]


@njit_parallel
def search_many(
    X: Floats,
    order: Ints,
    m: int,
    probe_factor: float,
    filter_decay: float,
    n_near: int,
    coarse: Coarse,
    rows: Rows,
    checks: Checks,
    row_filter: RowFilter,
    work: Workspace,
    distances: Floats,
    ranks: Ints,
    scanned: Ints,
) -> None:
    """Write distances and ranks of the nearest rows of each query, (n, k), and the number of rows scanned, (n,).

    Queries are taken in the given order, in which neighbouring queries follow each other and share the cache. Where a
    list is damaged, -1 minus its number replaces the number of rows scanned.
    """
    k, n_tasks = distances.shape[1], work.code.shape[0]
    for task in prange(n_tasks):
        values, keys = work.values[task], work.keys[task]
        for at in range(task * X.shape[0] // n_tasks, (task + 1) * X.shape[0] // n_tasks):
            i = order[at]
            factor, decay = np.float32(probe_factor), np.float32(filter_decay)
            n_kept, scanned[i] = gather(X[i], m, factor, decay, n_near, coarse, rows, checks, row_filter, work, task)
            if n_kept < 0:
                scanned[i] = -1 - scanned[i]
            if n_kept <= 0:
                continue
            if n_kept > m + (m >> 2):
                n_kept, _ = cut(values[:n_kept], keys[:n_kept], m)
            rerank(X[i], n_kept, coarse, rows, values, keys)
            sort_nearest(values[:n_kept], keys[:n_kept], k)
            distances[i], ranks[i] = values[:k], keys[:k]
