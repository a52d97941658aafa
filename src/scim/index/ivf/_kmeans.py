"""Spherical k-means in two levels, unit centroids in groups around unit parents, and the nearest centroid of many rows.

A row is compared with the parents first and then with the children of the nearest few, so that its cost grows with the
square root of the number of centroids.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.cosine import normalize
from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Floats, Ints, Ints32
_N_ITERATIONS = 8
_N_REFINEMENTS = 2
_FLAT = 512  # centroids up to which a row is compared with all of them
_PER_PARENT = 256  # rows that a parent is trained on, on average
_BLOCK = 2048  # rows that are assigned together: the tile of a group stays in cache while its rows pass
_LANES = 16
_VISITED = 8  # groups with whose children a row is compared


class Tree(NamedTuple):
    """Centroids in groups, and the parents of the groups."""

    parents: Floats  # (n_groups, dim): unit rows
    centroids: Floats  # (n_lists, dim): unit rows, group by group
    starts: Ints  # (n_groups + 1,): number of the first centroid of each group


def train(sample: Floats, n_lists: int, rng: np.random.Generator) -> Tree:
    """Return `n_lists` centroids trained on a sample of unit rows; n_lists <= number of rows.

    Parents are trained first, each group gets children by its share of the sample, and at last all children are
    refined together, as if there were no groups.
    """
    if n_lists <= _FLAT:
        return _single(kmeans(sample, n_lists, rng))
    n_parents = round(n_lists**0.5)
    chosen = np.sort(rng.choice(len(sample), min(len(sample), _PER_PARENT * n_parents), replace=False))
    parents = kmeans(sample[chosen], n_parents, rng)
    labels, _ = assign(sample, _single(parents))
    sizes = np.bincount(labels, minlength=n_parents)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    shares = _shares(sizes, n_lists)
    children = [kmeans(sample[rows], share, rng) for rows, share in zip(members, shares, strict=True) if share]
    centroids = np.concatenate(children)
    for _ in range(_N_REFINEMENTS):
        tree = _grouped(parents, centroids)
        labels, best = assign(sample, tree)
        centroids = _means(sample, labels, best, len(tree.centroids))
    return _grouped(parents, centroids)


def kmeans(sample: Floats, n_lists: int, rng: np.random.Generator) -> Floats:
    """Return `n_lists` unit centroids of unit rows, by Lloyd's iterations; n_lists <= number of rows."""
    centroids = sample[np.sort(rng.choice(len(sample), n_lists, replace=False))]
    for _ in range(_N_ITERATIONS):
        labels, best = assign(sample, _single(centroids))
        centroids = _means(sample, labels, best, n_lists)
    return centroids


def _means(sample: Floats, labels: Ints32, best: Floats, n_lists: int) -> Floats:
    """Return the means of the lists, scaled to unit length; an empty list gets one of the rows that fit worst."""
    sums = np.zeros((n_lists, sample.shape[1]))
    add_rows(sample, labels, sums)
    empty = np.flatnonzero(np.bincount(labels, minlength=n_lists) == 0)
    worst = np.argsort(best, kind="stable")[: len(empty)]
    sums[empty] = sample[worst]
    return normalize(sums).astype(np.float32)


def _single(centroids: Floats) -> Tree:
    return Tree(centroids[:1], centroids, np.array([0, len(centroids)]))


def _grouped(parents: Floats, centroids: Floats) -> Tree:
    """Group centroids by their nearest parent; parents without any are dropped."""
    labels, _ = assign(centroids, _single(parents))
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=len(parents))
    starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return Tree(parents[sizes > 0], centroids[order], starts)


def _shares(sizes: Ints, n_lists: int) -> list[int]:
    """Divide `n_lists` by size, never more than there are rows."""
    exact = sizes * (n_lists / sizes.sum())
    shares = np.minimum(exact.astype(np.int64), sizes)
    for group in np.argsort(shares - exact, kind="stable"):
        if shares.sum() == n_lists:
            break
        shares[group] += shares[group] < sizes[group]
    spare = np.flatnonzero(shares < sizes)
    while shares.sum() < n_lists:  # groups that are smaller than their share left some over
        for group in spare[: n_lists - shares.sum()]:
            shares[group] += 1
        spare = np.flatnonzero(shares < sizes)
    return [int(share) for share in shares]


def assign(rows: Floats, tree: Tree) -> tuple[Ints32, Floats]:
    """Return the nearest centroid of each row, and the dot with it; of equal ones the first."""
    n, dim = rows.shape
    padded = np.pad(rows, ((0, 0), (0, -dim % 4))) if dim % 4 else rows
    labels, best = np.zeros(n, dtype=np.int32), np.full(n, -np.inf, dtype=np.float32)
    parents, _ = _tiles(tree.parents, np.array([0, len(tree.parents)]))
    tiles, offsets = _tiles(tree.centroids, tree.starts)
    assign_blocks(padded, parents, tiles, offsets, tree.starts, labels, best)
    return labels, best


def _tiles(centroids: Floats, starts: Ints) -> tuple[Floats, Ints]:
    """Return centroids group by group, each group transposed and padded to whole vectors, and where each tile starts.

    Centroids of group i are `starts[i] : starts[i + 1]`; the tiles follow each other in one flat array.
    """
    sizes = np.diff(starts)
    widths = -(-sizes // _LANES) * _LANES
    depth = -(-centroids.shape[1] // 4) * 4
    offsets = np.concatenate([[0], np.cumsum(widths * depth)])
    values = np.zeros(offsets[-1], dtype=np.float32)
    for group, (first, last) in enumerate(pairwise(starts)):
        tile = values[offsets[group] : offsets[group + 1]].reshape(depth, widths[group])
        tile[: centroids.shape[1], : last - first] = centroids[first:last].T
    return values, offsets


@njit
def score_tile(rows: Floats, tile: Floats, scores: Floats) -> None:
    """Write the dots of four rows with the columns of a tile, (4, width); dimensions come in whole fours."""
    width = tile.shape[1]
    s0, s1, s2, s3 = scores[0, :width], scores[1, :width], scores[2, :width], scores[3, :width]
    s0[:] = 0
    s1[:] = 0
    s2[:] = 0
    s3[:] = 0
    for d in range(0, tile.shape[0], 4):
        a0, a1, a2, a3 = rows[0, d], rows[0, d + 1], rows[0, d + 2], rows[0, d + 3]
        b0, b1, b2, b3 = rows[1, d], rows[1, d + 1], rows[1, d + 2], rows[1, d + 3]
        c0, c1, c2, c3 = rows[2, d], rows[2, d + 1], rows[2, d + 2], rows[2, d + 3]
        e0, e1, e2, e3 = rows[3, d], rows[3, d + 1], rows[3, d + 2], rows[3, d + 3]
        p0, p1, p2, p3 = tile[d], tile[d + 1], tile[d + 2], tile[d + 3]
        for j in range(width):
            s0[j] += a0 * p0[j] + a1 * p1[j] + a2 * p2[j] + a3 * p3[j]
            s1[j] += b0 * p0[j] + b1 * p1[j] + b2 * p2[j] + b3 * p3[j]
            s2[j] += c0 * p0[j] + c1 * p1[j] + c2 * p2[j] + c3 * p3[j]
            s3[j] += e0 * p0[j] + e1 * p1[j] + e2 * p2[j] + e3 * p3[j]


@njit
def compare_group(
    rows: Floats,
    members: Ints,
    tile: Floats,
    first: int,
    n_centroids: int,
    four: Floats,
    scores: Floats,
    labels: Ints32,
    best: Floats,
) -> None:
    """Compare the rows `members` with the centroids of one tile; write those that are nearer than before."""
    for start in range(0, members.shape[0], 4):
        n_rows = min(4, members.shape[0] - start)
        for i in range(n_rows):
            four[i] = rows[members[start + i]]
        score_tile(four, tile, scores)
        for i in range(n_rows):
            row, dots = members[start + i], scores[i, :n_centroids]
            top = np.float32(-np.inf)
            for j in range(n_centroids):
                top = max(top, dots[j])
            if top < best[row]:
                continue
            at = 0
            while dots[at] != top:
                at += 1
            if top > best[row] or first + at < labels[row]:
                best[row], labels[row] = top, first + at


@njit
def nearest_groups(rows: Floats, tile: Floats, n_groups: int, four: Floats, scores: Floats, groups: Ints) -> None:
    """Write the numbers of the nearest parents of each row, (n, n_visited)."""
    for start in range(0, rows.shape[0], 4):
        n_rows = min(4, rows.shape[0] - start)
        for i in range(n_rows):
            four[i] = rows[start + i]
        score_tile(four, tile, scores)
        for i in range(n_rows):
            dots = scores[i, :n_groups]
            for visit in range(groups.shape[1]):
                at = np.argmax(dots)
                groups[start + i, visit] = at
                dots[at] = -np.inf


@njit_parallel
def assign_blocks(
    rows: Floats, parents: Floats, tiles: Floats, offsets: Ints, starts: Ints, labels: Ints32, best: Floats
) -> None:
    """Write the nearest centroid of each row and the dot; rows are padded to whole fours of dimensions."""
    n, depth = rows.shape
    n_groups = starts.shape[0] - 1
    n_visited = min(_VISITED, n_groups)
    widest = parents.shape[0]
    for group in range(n_groups):
        widest = max(widest, offsets[group + 1] - offsets[group])
    widest //= depth
    parent_tile = parents.reshape((depth, parents.shape[0] // depth))
    for block in prange((n + _BLOCK - 1) // _BLOCK):
        a, b = block * _BLOCK, min((block + 1) * _BLOCK, n)
        block_rows = rows[a:b]
        four, scores = np.zeros((4, depth), dtype=np.float32), np.empty((4, widest), dtype=np.float32)
        groups = np.zeros((b - a, n_visited), dtype=np.int64)
        if n_groups > 1:
            nearest_groups(block_rows, parent_tile, n_groups, four, scores, groups)
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
            of_group = members[ends[group] : ends[group + 1]]
            first, n_centroids = starts[group], starts[group + 1] - starts[group]
            if of_group.shape[0] > 0 and n_centroids > 0:
                tile = tiles[offsets[group] : offsets[group + 1]]
                tile = tile.reshape((depth, tile.shape[0] // depth))
                compare_group(block_rows, of_group, tile, first, n_centroids, four, scores, labels[a:b], best[a:b])


@njit
def add_rows(rows: Floats, labels: Ints32, sums: NDArray[np.float64]) -> None:
    """Add each row to the sum of its label, in the order of the rows."""
    for i in range(rows.shape[0]):
        total, row = sums[labels[i]], rows[i]
        for d in range(row.shape[0]):
            total[d] += row[d]
