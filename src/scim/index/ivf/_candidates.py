"""The candidates of a query: approximate scores of the rows of a list, kept in a buffer that is cut to the best `m`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.dot import nibble_dot, nibble_dots
from scim._core.numba import njit
from scim._core.topk import make_heap, sort_heap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints, Ints32
    from scim.index.ivf._codes import Rows

    Terms = tuple[np.float32, np.float32]

STEP = 32  # rows that are offered at a time
_BISECTIONS = 26
_LEAST, _MOST = np.float32(-1.09), np.float32(2.09)  # scores, between the limits that `bound_for` starts from
_FEW = 1 / 16  # filter selectivity up to which offsets take no more memory than a mask and are faster


class RowFilter(NamedTuple):
    """The rows that pass a filter: all if `starts` is empty; else by `mask` or `offsets`, of which one is empty.

    If both are empty, the lists with passing rows pass whole.
    """

    starts: Ints  # (n_lists + 1,): number of passing rows before each list
    offsets: Ints32  # (n_passing,): ascending; empty if most rows pass
    mask: Bools  # (n_rows,): whether the row at each offset passes; empty if few do, or lists pass whole


ALL = RowFilter(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.bool_))


def compile_filter(passing: Bools | NDArray[np.integer], starts: Ints) -> RowFilter:
    """Return the rows that pass by list, given as a mask over offsets or as ascending offsets."""
    masked = passing.dtype == np.bool_
    if masked and np.count_nonzero(passing) > _FEW * starts[-1]:
        filled = starts[:-1] < starts[1:]  # reduceat cannot sum empty lists
        counts = np.zeros(len(filled), dtype=np.int64)
        counts[filled] = np.add.reduceat(passing, starts[:-1][filled], dtype=np.int64)
        whole = ((counts == 0) | (counts == np.diff(starts))).all()  # as where only rows of zeros, a list, are left out
        mask = ALL.mask if whole else passing.astype(np.bool_, copy=False)
        return RowFilter(np.concatenate([[0], np.cumsum(counts)]), ALL.offsets, mask)
    offsets = (np.flatnonzero(passing) if masked else passing).astype(np.int32)
    return RowFilter(np.searchsorted(offsets, starts), offsets, ALL.mask)


class Workspace(NamedTuple):
    """Arrays that a search works in, so that it allocates nothing; the first axis is the task."""

    code: NDArray[np.int8]  # (n_tasks, padded dim): the coded query
    left: Floats  # (n_tasks, n_groups): dots with the parents of groups not visited yet
    near: Floats  # (n_tasks, n_lists + 1): negated cosines of the centroids that were scored
    lists: Ints  # (n_tasks, n_lists + 1): their lists
    front: Floats  # (n_tasks, n_lists + 1): negated cosines of the centroids to probe next, nearest first
    front_lists: Ints  # (n_tasks, n_lists + 1): their lists
    dots: Ints32  # (n_tasks, lists of the largest group): dots of codes
    scores: Floats  # (n_tasks, STEP): scores of the rows that are offered
    values: Floats  # (n_tasks, capacity): scores, and in the end distances, of candidates
    keys: Ints  # (n_tasks, capacity): `list << 32 | offset`, and in the end ranks, of candidates


def make_workspace(n_tasks: int, width: int, n_groups: int, n_lists: int, widest: int, m: int) -> Workspace:
    """Return a workspace for `n_tasks` searches for the best `m`."""
    lists = (n_tasks, n_lists + 1)  # one more, since a list is written before it is known to count
    return Workspace(
        np.empty((n_tasks, width), dtype=np.int8),
        np.empty((n_tasks, n_groups), dtype=np.float32),
        np.empty(lists, dtype=np.float32),
        np.empty(lists, dtype=np.int64),
        np.empty(lists, dtype=np.float32),
        np.empty(lists, dtype=np.int64),
        np.empty((n_tasks, max(STEP, widest)), dtype=np.int32),
        np.empty((n_tasks, STEP), dtype=np.float32),
        np.empty((n_tasks, 3 * m + 2 * STEP), dtype=np.float32),
        np.empty((n_tasks, 3 * m + 2 * STEP), dtype=np.int64),
    )


@njit
def score_row(dot: np.int32, scale: np.float32, base: np.float32, terms: Terms) -> np.float32:
    """Return the negated cosine: dot with the centroid, and with the mean of what the code stands for.

    Codes of no unit row give no cosine; the limits keep the score where candidates are counted.
    """
    score = -(base + scale * (terms[0] * np.float32(dot) - terms[1]))
    return min(max(score, _LEAST), _MOST)


@njit
def scan_list(
    start: int,
    stop: int,
    rows: Rows,
    mask: Bools,
    base: np.float32,
    terms: Terms,
    key: int,
    m: int,
    work: Workspace,
    task: int,
    n_kept: int,
    bound: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `start` ... `stop`, or those of them that pass where `mask` is not empty."""
    code, dots, scores = work.code[task], work.dots[task], work.scores[task]
    values, keys = work.values[task], work.keys[task]
    for first in range(start, stop, STEP):
        n_rows = min(STEP, stop - first)
        if mask.shape[0] > 0 and not mask[first : first + n_rows].any():
            continue
        n_fours = n_rows & ~3
        for j in range(0, n_fours, 4):
            nibble_dots(rows.codes, first + j, code, dots, j)
        for j in range(n_fours, n_rows):
            nibble_dot(rows.codes, first + j, code, dots, j)
        scales = rows.scales[first : first + n_rows]
        for j in range(n_rows):
            scores[j] = score_row(dots[j], scales[j], base, terms)
        if mask.shape[0] > 0:
            for j in range(n_rows):
                if not mask[first + j]:
                    scores[j] = np.inf
        scores[n_rows:] = np.inf
        n_kept, bound = offer(scores, key + first, m, values, keys, n_kept, bound)
    return n_kept, bound


@njit
def scan_offsets(
    offsets: Ints32,
    rows: Rows,
    base: np.float32,
    terms: Terms,
    key: int,
    m: int,
    work: Workspace,
    task: int,
    n_kept: int,
    bound: np.float32,
) -> tuple[int, np.float32]:
    """Offer the rows at `offsets`."""
    code, dots, values, keys = work.code[task], work.dots[task], work.values[task], work.keys[task]
    for i in range(offsets.shape[0]):
        offset = offsets[i]
        nibble_dot(rows.codes, offset, code, dots, 0)
        score = score_row(dots[0], rows.scales[offset], base, terms)
        if score < bound:
            values[n_kept], keys[n_kept] = score, key + offset
            n_kept += 1
            if n_kept == values.shape[0]:
                n_kept, bound = cut(values, keys, m)
    return n_kept, bound


@njit
def offer(
    scores: Floats, first: int, m: int, values: Floats, keys: Ints, n_kept: int, bound: np.float32
) -> tuple[int, np.float32]:
    """Keep those of `STEP` scores that are below the bound; the key of the j-th is `first + j`."""
    n_better = np.int32(0)
    for j in range(STEP):
        n_better += np.int32(scores[j] < bound)
    if n_better == 0:
        return n_kept, bound
    for j in range(STEP):  # without a branch: which scores pass cannot be predicted
        values[n_kept], keys[n_kept] = scores[j], first + j
        n_kept += scores[j] < bound
    if n_kept > values.shape[0] - STEP:
        n_kept, bound = cut(values[:n_kept], keys[:n_kept], m)
    return n_kept, bound


@njit
def bound_for(values: Floats, above: np.float32, m: int) -> tuple[np.float32, np.float32]:
    """Return (low, bound): at least `m` of the values above `above` are at most `bound`, fewer than `m` at most `low`.

    By bisection, since counting is what vector units are good at. It ends when the count is within a quarter of `m`, or
    when values cannot be told apart. The values are negated cosines, or distances; there must be `m` of them.
    """
    low, bound = max(above, np.float32(-1.1)), np.float32(2.1)
    for _ in range(_BISECTIONS):
        middle = np.float32(0.5) * (low + bound)
        count = np.int32(0)
        for i in range(values.shape[0]):
            count += np.int32(above < values[i]) & np.int32(values[i] <= middle)
        if count < m:
            low = middle
            continue
        bound = middle
        if count <= m + (m >> 2):
            break
    return low, bound


@njit
def cut(values: Floats, keys: Ints, m: int) -> tuple[int, np.float32]:
    """Move about `m` of the smallest values, in their order, to the front; return how many, and the largest.

    Of values that cannot be told apart the first stay: equal rows come by their rank.
    """
    low, bound = bound_for(values, np.float32(-np.inf), m)
    n_below, n_tied = np.int32(0), np.int32(0)
    for i in range(values.shape[0]):
        n_below += np.int32(values[i] <= low)
        n_tied += np.int32(values[i] <= bound) - np.int32(values[i] <= low)
    n_kept, n_free = 0, m + (m >> 2) - n_below
    for i in range(values.shape[0]):  # without a branch: which values stay cannot be predicted
        value, stays = values[i], values[i] <= bound
        if n_tied > n_free and stays and value > low:
            stays = n_free > 0
            n_free -= 1
        values[n_kept], keys[n_kept] = value, keys[i]
        n_kept += stays
    return n_kept, values[:n_kept].max()


@njit
def sort_nearest(values: Floats, keys: Ints, k: int) -> None:
    """Move the `k` smallest to the front, by value and then by key; the rest is in no order."""
    _, bound = bound_for(values, np.float32(-np.inf), k)
    n_near = 0
    for j in range(values.shape[0]):
        if values[j] <= bound:
            values[n_near], values[j] = values[j], values[n_near]
            keys[n_near], keys[j] = keys[j], keys[n_near]
            n_near += 1
    make_heap(values[:n_near], keys[:n_near])
    sort_heap(values[:n_near], keys[:n_near])
