"""Build an inverted file from rows that need not fit in memory: trained on a sample, with two passes over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core import check_count, check_recall, logger, progress
from scim._core.dot import BLOCK
from scim.index._header import MOST_LISTS
from scim.index._truth import Truth
from scim.index.ivf._calibrate import calibrate, is_thin, thinned
from scim.index.ivf._codes import MOST_DIM, Checks, Coarse, Rows, encode, pack_nibbles, padded, sums_of
from scim.index.ivf._engine import IvfEngine
from scim.index.ivf._kmeans import Tree, assign, train
from scim.io import release_pages

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints32
    from scim.index._make import Allocate, Source

_ROWS_PER_LIST = 64  # rows of the sample that a centroid is trained on, on average
_MOST_SAMPLED = 1 << 21
_MOST_ROWS = 2**31 - 1  # offsets and ranks are int32


def build_ivf(
    source: Source, rng: np.random.Generator, allocate: Allocate, *, recall: float = 0.99, n_lists: int | None = None
) -> IvfEngine:
    """Return an inverted file of unit rows; a query finds the share `recall` of the true 50 nearest."""
    check_recall(recall)
    check_count("n_lists", 1 if n_lists is None else n_lists, most=MOST_LISTS)
    given = {} if n_lists is None else {"n_lists": int(n_lists)}
    n = source.n_rows
    if n > _MOST_ROWS:
        msg = f"An inverted file holds at most {_MOST_ROWS:,} rows, got {n:,}; build several."
        raise ValueError(msg)
    if source.dim > MOST_DIM:
        msg = f"An inverted file holds rows of at most {MOST_DIM:,} numbers, got {source.dim:,}; use kind='exact'."
        raise ValueError(msg)
    tree = _train(source, min(n, default_lists(n) if n_lists is None else n_lists), rng)
    logger.info("trained %d lists in %d groups", len(tree.centroids), len(tree.parents))
    tree, labels, radii = _label(source, tree)
    coarse = _coarse(tree, radii)
    truth = Truth.of(source, rng)
    thin = thinned(truth, n)
    rows, offsets = _encode(source, coarse, labels, allocate, truth, thin)
    engine = IvfEngine(coarse, rows, lambda: offsets, {})
    engine._checks.done[:] = True  # the checksums were computed from these rows
    engine.params = {**given, **calibrate(engine, truth, thin, recall)}
    return engine


def default_lists(n_rows: int) -> int:
    """Return two lists for each square root of rows, and more beyond a million: neighbours are closer there."""
    return max(1, int(2 * n_rows**0.5 * max(1.0, n_rows / 1e6) ** 0.4 + 0.5))


def _train(source: Source, n_lists: int, rng: np.random.Generator) -> Tree:
    n = source.n_rows
    n_sampled = min(n, _ROWS_PER_LIST * n_lists, max(n_lists, _MOST_SAMPLED))
    sample = source.take(np.sort(rng.choice(n, n_sampled, replace=False)))
    directed = sample.any(axis=1)  # a row of zeros has no direction
    sample = sample if directed.all() else sample[directed]  # large: no copy without need
    if len(sample) == 0:
        zeros = np.zeros((1, source.dim), dtype=np.float32)
        return Tree(zeros, zeros, np.array([0, 1]))
    return train(sample, min(n_lists, len(sample)), rng)


def _label(source: Source, tree: Tree) -> tuple[Tree, Ints32, Floats]:
    """Return the list of each rank and the radius of each list; rows of zeros get a separate list, the last."""
    labels = np.empty(source.n_rows, dtype=np.int32)
    n_lists = len(tree.centroids)
    cosines = np.empty(source.n_rows, dtype=np.float32)
    for ranks, rows in progress(source.chunks(), desc="assign", unit="chunk", total=source.n_chunks):
        chunk_labels, best = assign(rows, tree)
        chunk_labels[~rows.any(axis=1)] = n_lists
        labels[ranks], cosines[ranks] = chunk_labels, best
    counts = np.bincount(labels, minlength=n_lists + 1)
    if counts[-1] and tree.centroids.any():
        zeros = np.zeros((1, source.dim), dtype=np.float32)
        starts = np.append(tree.starts, n_lists + 1)
        tree = Tree(np.concatenate([tree.parents, zeros]), np.concatenate([tree.centroids, zeros]), starts)
    elif counts[-1]:
        labels[:] = 0
    # Summed by rank: in the order of the matrix, the same rows in another order would differ in the last digit.
    sums = np.bincount(labels, weights=cosines, minlength=n_lists + 1)
    mean = (sums / np.maximum(counts, 1))[: len(tree.centroids)]
    return tree, labels, np.arccos(np.clip(mean, -1, 1)).astype(np.float32)


def _coarse(tree: Tree, radii: Floats) -> Coarse:
    n_lists, dim = tree.centroids.shape
    values, scales = np.empty((n_lists, dim), dtype=np.uint16), np.empty(n_lists, dtype=np.float32)
    groups = np.repeat(np.arange(len(tree.parents), dtype=np.int32), np.diff(tree.starts))
    encode(tree.centroids, tree.parents, groups, np.arange(n_lists, dtype=np.int32), values, scales)
    codes = np.zeros((n_lists, -(-dim // BLOCK) * BLOCK), dtype=np.uint8)
    codes[:, :dim] = values >> 8
    return Coarse(tree.parents, tree.starts, tree.centroids, codes, scales, radii)


def _encode(
    source: Source, coarse: Coarse, labels: Ints32, allocate: Allocate, truth: Truth, thin: Truth
) -> tuple[Rows, Ints32]:
    """Return the coded rows and the offset of each rank, and update the true neighbours of the samples."""
    n, dim = source.n_rows, source.dim
    ranks = np.argsort(labels, kind="stable").astype(np.int32)
    offsets = np.empty_like(ranks)
    offsets[ranks] = np.arange(n, dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(coarse.centroids)))])
    codes = allocate("rows_codes", (n, padded(dim) // 2), np.uint8)
    values = allocate("rows_values", (n, dim), np.uint16)
    scales = np.empty(n, dtype=np.float32)
    for chunk, rows in progress(source.chunks(), desc="encode", unit="chunk", total=source.n_chunks):
        encode(rows, coarse.centroids, labels[chunk], offsets[chunk], values, scales)
        pack_nibbles(values, offsets[chunk], codes)
        truth.update(chunk, rows)
        chunk_ranks = np.arange(chunk.start, chunk.stop) if isinstance(chunk, slice) else chunk
        thin.update(chunk_ranks[is_thin(chunk_ranks)], rows[is_thin(chunk_ranks)])
        release_pages(values)
        release_pages(codes)
    coded = Rows(starts, codes, scales, ranks, values, np.empty(0, dtype=np.uint64))
    checks = Checks(codes.view(np.uint32), scales.view(np.uint32), np.empty(0, dtype=np.bool_))
    sums = []
    for numbers in np.array_split(np.arange(len(coarse.centroids)), source.n_chunks):
        sums.append(sums_of(numbers, coded, checks))
        release_pages(values)
        release_pages(codes)
    return coded._replace(sums=np.concatenate(sums)), offsets
