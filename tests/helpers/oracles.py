"""Expected results of kernels, in a few lines of numpy each."""

from __future__ import annotations

import math
import operator

import numpy as np


def unit(X):
    """Rows scaled to unit length, rows of zeros left as they are."""
    X = np.asarray(X, dtype=np.float64)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return (X / np.where(length > 0, length, 1)).astype(np.float32)


def cosine_distances(X, Y):
    """1 - dot of float32 unit rows, in double precision, clipped to [0, 2]; 0 below 1e-6."""
    distances = np.clip(1 - unit(X).astype(np.float64) @ unit(Y).astype(np.float64).T, 0, 2)
    return np.where(distances < 1e-6, 0, distances).astype(np.float32)


def neighbors(X, Y, k, *, ids=None, allowed=None):
    """Distances and ids (n, k) by brute force, ties by id, padded with inf and -1; rows of zeros have none."""
    X, Y = np.asarray(X), np.asarray(Y)
    ids = np.arange(len(Y)) if ids is None else np.asarray(ids)
    some = np.argsort(ids)[Y.any(axis=1)[np.argsort(ids)]]
    some = some if allowed is None else some[np.isin(ids[some], list(allowed))]
    all_distances = cosine_distances(X, Y[some])
    order = np.argsort(all_distances, axis=1, kind="stable")[:, :k]
    gap = ((0, 0), (0, k - order.shape[1]))
    distances = np.pad(np.take_along_axis(all_distances, order, axis=1), gap, constant_values=np.inf)
    found, nothing = np.pad(ids[some][order], gap, constant_values=-1), ~X.any(axis=1)
    distances[nothing], found[nothing] = np.inf, -1
    return distances, found


def smallest(distances, ranks, k):
    """Return the first `k` pairs by distance and then by rank."""
    order = np.lexsort((ranks, distances))[:k]
    return distances[order], ranks[order]


def label_sums(rows, labels, n_labels):
    """The sum of the rows of each label."""
    return np.stack([rows[labels == label].sum(axis=0, dtype=np.float64) for label in range(n_labels)])


def duplicates(distances, which, rows):
    """Return which hits (row numbers `which`) equal an earlier hit at the same distance."""
    real = which >= 0
    gap = np.flatnonzero(~real)  # a hit that was not looked up separates the earlier from the later ones
    return np.array(
        [
            real[j]
            and any(
                real[i] and distances[i] == distances[j] and (rows[which[i]] == rows[which[j]]).all()
                for i in range(gap[gap < j].max(initial=-1) + 1, j)
            )
            for j in range(len(which))
        ],
        dtype=bool,
    )


def residuals(rows, centroids, labels):
    """Return the residual of a row to its centroid as whole numbers of 1 ... 65,535 and a scale."""
    rest = rows.astype(np.float64) - centroids[labels]
    scales = np.abs(rest).max(axis=1) / 32_767
    values = np.rint(rest / np.where(scales > 0, scales, 1)[:, None]) + 32_768
    return values.astype(np.int64), scales


def half_bytes(values, width):
    """The upper four bits of values: of each 64 the first 32 in the lower half of a byte, the others in the upper."""
    upper = np.zeros((len(values), 2 * width), dtype=np.uint8)
    upper[:, : values.shape[1]] = values >> 12
    low, high = upper.reshape(len(values), -1, 2, 32).transpose(2, 0, 1, 3)
    return (low | high << 4).reshape(len(values), width)


def unpacked(codes):
    """The half bytes in order, for rows packed as above."""
    blocks = codes.reshape(len(codes), -1, 1, 32)
    return np.concatenate([blocks & 15, blocks >> 4], axis=2).reshape(len(codes), -1)


def triplets(distances, labels, studies, related, within_study, margin, mining):
    """For each anchor and positive, the negatives that the rule of the paper admits; in plain loops over lists."""
    distances, labels, studies, related, within_study = (
        np.asarray(x).tolist() for x in (distances, labels, studies, related, within_study)
    )
    cells, found = range(len(labels)), {}
    for a in cells:
        negatives = [i for i in cells if not related[labels[a]][labels[i]]]
        for p in cells:
            if a == p or labels[a] != labels[p] or (studies[a] == studies[p] and not within_study[labels[a]]):
                continue
            violations = [distances[a][p] - distances[a][i] + margin for i in negatives]
            highest = margin if mining == "semihard" else math.inf
            admitted = [i for i, v in zip(negatives, violations, strict=True) if 0 < v < highest]
            if mining == "hardest":
                admitted = [i for i in admitted if distances[a][i] == min(distances[a][j] for j in admitted)]
            if admitted:
                found[a, p] = admitted
    return found


def rows_that_pass(tree, table):
    """Return which rows pass a filter of nested tuples, row by row: ("==", column, value), ("and", left, right), ("not", part)."""
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


def match_once(reference, reference_groups, queries, groups, eligible, tolerance):
    """Match each eligible query with the first free row that is as near, of its group if there is one."""
    free, out = np.ones(len(reference), bool), np.full(len(queries), -1)
    for i in np.flatnonzero(eligible):
        near = np.flatnonzero(free & (abs(reference - queries[i]) <= tolerance).all(axis=1))
        same_group = near[reference_groups[near] == groups[i]]
        out[i] = next(iter([*same_group, *near]), -1)
        free[out[i]] &= out[i] < 0
    return out


def label_statistics(labels, distances):
    """Return the hits of each label, counted and weighted by 1 / max(d, 1e-6), and the statistics of one cell."""
    names = sorted(set(labels))
    counts = {name: labels.count(name) for name in names}
    sums = {
        name: sum(1 / max(float(d), 1e-6) for x, d in zip(labels, distances, strict=True) if x == name)
        for name in names
    }
    out = {"hits": counts, "hits_weighted": sums, "farthest": max(distances), "mean_distance": np.mean(distances)}
    for suffix, votes in (("", counts), ("_weighted", sums)):
        ranked = sorted(votes.values())[::-1]
        out |= {f"vs2nd{suffix}": ranked[0] / sum(ranked[:2]), f"vsAll{suffix}": ranked[0] / sum(ranked)}
    return out
