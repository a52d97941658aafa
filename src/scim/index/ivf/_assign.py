"""The nearest centroid of many rows: a blocked product of which only the best of each row is kept.

Centroids come in groups around a parent. A row meets the parents first and then the children of the nearest few, so
that its cost grows with the square root of the number of centroids.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 2048
"""Rows that meet the groups together: a group's panel stays in cache while its rows pass."""
_LANES = 16
_VISITED = 8
"""Groups whose children a row meets."""


class Panels(NamedTuple):
    """Centroids, group by group, each group transposed and padded to whole vectors."""

    values: NDArray[np.float32]
    """All panels behind each other."""
    offsets: NDArray[np.int64]
    """(n_groups + 1,): where each panel starts."""
    starts: NDArray[np.int64]
    """(n_groups + 1,): number of the first centroid of each group."""


def panels_of(centroids: NDArray[np.float32], starts: NDArray[np.int64]) -> Panels:
    """Lay out centroids whose groups start at `starts`."""
    sizes = np.diff(starts)
    widths = -(-sizes // _LANES) * _LANES
    depth = -(-centroids.shape[1] // 4) * 4
    offsets = np.concatenate([[0], np.cumsum(widths * depth)])
    values = np.zeros(offsets[-1], dtype=np.float32)
    for group, (first, last) in enumerate(pairwise(starts)):
        panel = values[offsets[group] : offsets[group + 1]].reshape(depth, widths[group])
        panel[: centroids.shape[1], : last - first] = centroids[first:last].T
    return Panels(values, offsets, starts)


class Tree(NamedTuple):
    """Centroids in groups, and the parents of the groups."""

    parents: NDArray[np.float32]
    """(n_groups, dim): unit rows."""
    centroids: NDArray[np.float32]
    """(n_lists, dim): unit rows, group by group."""
    starts: NDArray[np.int64]
    """(n_groups + 1,): number of the first centroid of each group."""


def assign(rows: NDArray[np.float32], tree: Tree) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest centroid of each row, and the dot with it; of equal ones the first."""
    n, dim = rows.shape
    padded = rows
    if dim % 4:
        padded = np.zeros((n, -(-dim // 4) * 4), dtype=np.float32)
        padded[:, :dim] = rows
    labels, best = np.zeros(n, dtype=np.int32), np.full(n, -np.inf, dtype=np.float32)
    parents = panels_of(tree.parents, np.array([0, len(tree.parents)]))
    assign_blocks(padded, *parents, *panels_of(tree.centroids, tree.starts), labels, best)
    return labels, best


@njit
def score(rows: NDArray[np.float32], panel: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    """Write the dots of four rows with the columns of a panel, (4, width)."""
    width = panel.shape[1]
    s0, s1, s2, s3 = scores[0, :width], scores[1, :width], scores[2, :width], scores[3, :width]
    s0[:] = 0
    s1[:] = 0
    s2[:] = 0
    s3[:] = 0
    for d in range(0, panel.shape[0], 4):
        a0, a1, a2, a3 = rows[0, d], rows[0, d + 1], rows[0, d + 2], rows[0, d + 3]
        b0, b1, b2, b3 = rows[1, d], rows[1, d + 1], rows[1, d + 2], rows[1, d + 3]
        c0, c1, c2, c3 = rows[2, d], rows[2, d + 1], rows[2, d + 2], rows[2, d + 3]
        e0, e1, e2, e3 = rows[3, d], rows[3, d + 1], rows[3, d + 2], rows[3, d + 3]
        p0, p1, p2, p3 = panel[d], panel[d + 1], panel[d + 2], panel[d + 3]
        for j in range(width):
            s0[j] += a0 * p0[j] + a1 * p1[j] + a2 * p2[j] + a3 * p3[j]
            s1[j] += b0 * p0[j] + b1 * p1[j] + b2 * p2[j] + b3 * p3[j]
            s2[j] += c0 * p0[j] + c1 * p1[j] + c2 * p2[j] + c3 * p3[j]
            s3[j] += e0 * p0[j] + e1 * p1[j] + e2 * p2[j] + e3 * p3[j]


@njit
def offer_group(
    rows: NDArray[np.float32],
    some: NDArray[np.int64],
    panel: NDArray[np.float32],
    first: int,
    n_centroids: int,
    four: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    best: NDArray[np.float32],
) -> None:
    """Let the rows named by `some` meet the centroids of one panel."""
    for start in range(0, some.shape[0], 4):
        n_rows = min(4, some.shape[0] - start)
        for i in range(n_rows):
            four[i] = rows[some[start + i]]
        score(four, panel, scores)
        for i in range(n_rows):
            row, mine = some[start + i], scores[i, :n_centroids]
            top = np.float32(-np.inf)
            for j in range(n_centroids):
                top = max(top, mine[j])
            if top < best[row]:
                continue
            at = 0
            while mine[at] != top:
                at += 1
            if top > best[row] or first + at < labels[row]:
                best[row], labels[row] = top, first + at


@njit
def nearest_groups(
    rows: NDArray[np.float32],
    panel: NDArray[np.float32],
    n_groups: int,
    four: NDArray[np.float32],
    scores: NDArray[np.float32],
    groups: NDArray[np.int64],
) -> None:
    """Write the numbers of the nearest parents of each row, (n, n_visited)."""
    for start in range(0, rows.shape[0], 4):
        n_rows = min(4, rows.shape[0] - start)
        for i in range(n_rows):
            four[i] = rows[start + i]
        score(four, panel, scores)
        for i in range(n_rows):
            mine = scores[i, :n_groups]
            for visit in range(groups.shape[1]):
                at = np.argmax(mine)
                groups[start + i, visit] = at
                mine[at] = -np.inf


@njit_parallel
def assign_blocks(
    rows: NDArray[np.float32],
    parents: NDArray[np.float32],
    parent_offsets: NDArray[np.int64],  # noqa: ARG001  (Panels come as three arrays)
    parent_starts: NDArray[np.int64],  # noqa: ARG001
    values: NDArray[np.float32],
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    labels: NDArray[np.int32],
    best: NDArray[np.float32],
) -> None:
    """Write the nearest centroid of each row and the dot; rows are padded to whole fours of dimensions."""
    n, depth = rows.shape
    n_groups = starts.shape[0] - 1
    n_visited = min(_VISITED, n_groups)
    widest = parents.shape[0]
    for group in range(n_groups):
        widest = max(widest, offsets[group + 1] - offsets[group])
    widest //= depth
    parent_panel = parents.reshape((depth, parents.shape[0] // depth))
    for block in prange((n + _BLOCK - 1) // _BLOCK):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, n)
        mine = rows[a:b]
        four, scores = np.zeros((4, depth), dtype=np.float32), np.empty((4, widest), dtype=np.float32)
        groups = np.zeros((b - a, n_visited), dtype=np.int64)
        if n_groups > 1:
            nearest_groups(mine, parent_panel, n_groups, four, scores, groups)
        ends = np.zeros(n_groups + 1, dtype=np.int64)
        for i in range(b - a):
            for visit in range(n_visited):
                ends[groups[i, visit] + 1] += 1
        for group in range(n_groups):
            ends[group + 1] += ends[group]
        members, filled = np.empty((b - a) * n_visited, dtype=np.int64), ends[:-1].copy()
        for i in range(b - a):
            for visit in range(n_visited):
                members[filled[groups[i, visit]]] = i
                filled[groups[i, visit]] += 1
        for group in range(n_groups):
            some = members[ends[group] : ends[group + 1]]
            n_centroids = starts[group + 1] - starts[group]
            if some.shape[0] > 0 and n_centroids > 0:
                panel = values[offsets[group] : offsets[group + 1]]
                panel = panel.reshape((depth, panel.shape[0] // depth))
                offer_group(mine, some, panel, starts[group], n_centroids, four, scores, labels[a:b], best[a:b])
