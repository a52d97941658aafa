"""What kernels should compute, in a few lines of numpy each."""

from __future__ import annotations

import operator

import numpy as np


def unit(X):
    """Rows scaled to unit length, rows of zeros left as they are."""
    X = np.asarray(X, dtype=np.float64)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return (X / np.where(length > 0, length, 1)).astype(np.float32)


def cosine_distances(X, Y):
    """1 - dot of float32 unit rows, in double precision, clipped to [0, 2]."""
    return np.clip(1 - unit(X).astype(np.float64) @ unit(Y).astype(np.float64).T, 0, 2).astype(np.float32)


def neighbors(X, Y, k, *, ids=None, allowed=None):
    """Distances and ids (n, k) by brute force, ties by id, padded with inf and -1."""
    ids = np.arange(len(Y)) if ids is None else np.asarray(ids)
    some = np.argsort(ids) if allowed is None else np.array([i for i in np.argsort(ids) if ids[i] in set(allowed)], int)
    all_distances = cosine_distances(X, np.asarray(Y)[some])
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :k]
    gap = ((0, 0), (0, k - order.shape[1]))
    distances = np.pad(np.take_along_axis(all_distances, order, axis=1), gap, constant_values=np.inf)
    return distances, np.pad(ids[some][order], gap, constant_values=-1)


def smallest(distances, ranks, k):
    """The `k` first pairs by distance and then by rank."""
    order = np.lexsort((ranks, distances))[:k]
    return distances[order], ranks[order]


def label_sums(rows, labels, n_labels):
    """The sum of the rows of each label."""
    return np.stack([rows[labels == label].sum(axis=0, dtype=np.float64) for label in range(n_labels)])


def scan_lists(query, centroids, starts, rows, ranks, passes, n_probes, n_wanted):
    """Ranks that an inverted file looks at for one query."""
    seen = []
    for n_probed, number in enumerate(np.argsort(cosine_distances(query[None], centroids)[0], kind="stable")):
        if n_probed >= n_probes and len(seen) >= n_wanted:
            break
        seen += [rank for rank in ranks[starts[number] : starts[number + 1]] if not len(passes) or passes[rank]]
    return np.array(seen, dtype=np.int64)


def rows_that_pass(tree, table):
    """Which rows pass nested tuples of a test, row by row: ("==", column, value), ("and", left, right), ("not", part)."""
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

    def has(held, value):
        return set(value.split(" || ")) <= set(held.split(" || ")) if isinstance(held, str) else held == value

    def passes(node, row):
        word, *rest = node
        if word in ("and", "or", "not"):
            return {"and": all, "or": any, "not": lambda parts: not parts[0]}[word](
                [passes(part, row) for part in rest]
            )
        held, value = row[rest[0]], rest[1]
        if word in compare:
            return held is not None and compare[word](held, value)
        values = value if isinstance(value, list) else [value]
        some = any(held is None if v is None else held is not None and has(held, v) for v in values)
        return some == (word in ("==", "in"))

    return np.array(
        [passes(tree, dict(zip(table, row, strict=True))) for row in zip(*table.values(), strict=True)], bool
    )
