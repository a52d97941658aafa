"""Count the labels of the neighbours of each query, and measure features of the winner and of the terms above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import njit, njit_parallel, prange, threads

if TYPE_CHECKING:
    from scim._core import Weights
    from scim._core.types import Bools, Doubles, Floats, Ints, Ints32
    from scim.label_transfer._reference import LabelReference

CLOSEST = 1e-6  # distance to a neighbour, at least, so that the weight of an identical cell is bounded
NEAREST_CENTROID = 1e-3  # distance to a centroid, at least

NO_CENTROID = 2.0  # distance to the centroid of a label without one

STUDY_POWER = 0.65  # of the votes of a study, so that several studies outweigh one (benchmarks/NOTES.md)
SPECIFIC = 0.25  # of the votes of a label: with as many, labels below it get its votes: some studies name no subtypes
_LEAST_SHARE = 0.01  # of the votes of a label without neighbours, so that the expression of the genes can choose it


class Votes(NamedTuple):
    """Best labels of each query, and features of the first of them and of each term above it, in the order of its path.

    Of labels with equal votes, that of the nearer neighbour comes first.
    """

    codes: Ints32  # (n, top) label codes, best first; -1 = fewer labels among the neighbours
    shares: Floats  # (n, top) shares of the vote, 0 to 1, descending
    term_share: Floats  # (n, width) share of the vote, 0 to 1; neighbours labelled above the term are not counted
    centroid_distance: Floats  # (n, width) cosine distance to the nearest centroid of a label of the term
    rival_distance: Floats  # (n, width) cosine distance to the nearest centroid of another label
    n_studies: Ints32  # (n, width) number of studies of the neighbours of the term
    neighbour_distance: Floats  # (n,) mean cosine distance of the neighbours; 2 without any


def count_votes(
    distances: Floats,
    ids: Ints,
    reference: LabelReference,
    centroid_distances: Floats,
    *,
    weights: Weights = "balanced",
    top: int = 1,
    factors: Floats | None = None,
) -> Votes:
    r"""Count the labels of the neighbours of n queries: distances, ascending, and ids, -1 = none, (n, k) each.

    The weight of a neighbour at distance :math:`d` is 1 (`"uniform"`) or :math:`1 / \max(d, 10^{-6})` (`"distance"`).
    The `"balanced"` votes of label :math:`l` of :math:`n_l` cells, with the nearest centroid at :math:`c_l`, are

    .. math:: V_l = c_l^{-1/2} \sum_s \Big( \sum_{j \in l, s} \frac{1}{\sqrt{n_l} \max(d_j, 10^{-6})} \Big)^{0.65}

    over the studies :math:`s`, so that neither the number of cells of a type or of a study decides, nor a few stray
    cells of a type that lies elsewhere. `centroid_distances` are those of the reference, (n, n_labels).

    With `factors` :math:`e_l` (n, n_labels), of the expression of the genes or of a prior, the votes are
    :math:`(V_l / \sum_m V_m + 0.01) \, e_l`, of labels that have a neighbour or a centroid. Balanced votes of a label
    above others, as T cell above CD4 T cell, are divided among those below it in proportion to their votes, if these
    have a quarter of its votes or more.
    """
    found, tree = ids >= 0, reference.tree
    at = np.where(found, ids, 0)
    labels = np.where(found, reference.codes[at], -1).astype(np.int32)
    studies = np.where(found, reference.studies[at], -1).astype(np.int32)
    cell_weights = np.where(found, 1.0, 0.0) if weights == "uniform" else distance_weights(distances, found)
    if weights == "balanced":
        cell_weights *= reference.label_weights[labels]
    n, width = len(labels), tree.paths.shape[1]
    mean = np.divide(np.where(found, distances, 0).sum(axis=1), found.sum(axis=1).clip(1))
    votes = Votes(
        codes=np.full((n, top), -1, dtype=np.int32),
        shares=np.zeros((n, top), dtype=np.float32),
        term_share=np.zeros((n, width), dtype=np.float32),
        centroid_distance=np.full((n, width), 2.0, dtype=np.float32),
        rival_distance=np.full((n, width), 2.0, dtype=np.float32),
        n_studies=np.zeros((n, width), dtype=np.int32),
        neighbour_distance=np.where(found.any(axis=1), mean, 2.0).astype(np.float32),
    )
    with threads():
        rank_labels(
            labels, studies, cell_weights, centroid_distances, weights == "balanced",
            np.empty((0, 0), dtype=np.float32) if factors is None else factors, tree.paths, tree.inside, tree.above,
            votes.codes, votes.shares, votes.term_share, votes.centroid_distance, votes.rival_distance, votes.n_studies,
        )  # fmt: skip
    return votes


def distance_weights(distances: Floats, found: Bools) -> Doubles:
    """Return 1 / max(d, 1e-6) of the neighbours found, else 0, (n, k); in double precision, so that ties are exact."""
    near = np.maximum(np.where(found, distances, 1).astype(np.float64), CLOSEST)
    return np.where(found, 1 / near, 0.0)


@njit
def sum_votes(
    labels: Ints32,
    studies: Ints32,
    weights: Doubles,
    centroid_distances: Floats,
    balanced: bool,  # noqa: FBT001  (kernels take positional arguments)
    seen: Ints32,
    total: Doubles,
) -> int:
    """Write the labels of a query in the order of their nearest neighbour, and their votes; return their number.

    They are few: a list searched from the front beats a table of all labels, and its order settles ties.
    """
    k = labels.size
    n_seen, n_pairs = 0, 0
    pair_label, pair_study, pair_sum = np.empty(k, np.int64), np.empty(k, np.int32), np.zeros(k, np.float64)
    for j in range(k):
        if labels[j] < 0:
            continue
        at = 0
        while at < n_seen and seen[at] != labels[j]:
            at += 1
        if at == n_seen:
            seen[at] = labels[j]
            total[at] = 0.0
            n_seen += 1
        if not balanced:
            total[at] += weights[j]
            continue
        pair = 0
        while pair < n_pairs and (pair_label[pair] != at or pair_study[pair] != studies[j]):
            pair += 1
        if pair == n_pairs:
            pair_label[pair], pair_study[pair] = at, studies[j]
            n_pairs += 1
        pair_sum[pair] += weights[j]
    for pair in range(n_pairs):
        total[pair_label[pair]] += pair_sum[pair] ** STUDY_POWER
    if balanced:
        for at in range(n_seen):
            total[at] /= np.sqrt(max(centroid_distances[seen[at]], NEAREST_CENTROID))
    return n_seen


@njit_parallel
def rank_labels(
    labels: Ints32,
    studies: Ints32,
    weights: Doubles,
    centroid_distances: Floats,
    balanced: bool,  # noqa: FBT001
    factors: Floats,
    paths: Ints32,
    inside: Bools,
    above: Bools,
    top_codes: Ints32,
    top_shares: Floats,
    term_share: Floats,
    centroid_distance: Floats,
    rival_distance: Floats,
    n_studies: Ints32,
) -> None:
    """Rank the labels of each query by votes, and measure features of the first and of the terms above it."""
    n, k = labels.shape
    for i in prange(n):
        width = k if factors.size == 0 else k + factors.shape[1]
        seen, total = np.empty(width, np.int32), np.empty(width, np.float64)
        n_seen = sum_votes(labels[i], studies[i], weights[i], centroid_distances[i], balanced, seen, total)
        if n_seen == 0:
            continue
        if factors.size > 0:
            n_seen = weigh_votes(factors[i], centroid_distances[i], n_seen, seen, total)
        if balanced:
            divide_votes(seen[:n_seen], total[:n_seen], inside)
        rank(seen[:n_seen], total[:n_seen], top_codes[i], top_shares[i])
        path = paths[top_codes[i, 0]]
        for at in range(path.size):
            if path[at] < 0:
                break
            is_inside, is_above = inside[path[at]], above[path[at]]
            term_share[i, at] = share_of(seen[:n_seen], total[:n_seen], is_inside, is_above)
            for label in range(centroid_distances.shape[1]):
                distance = centroid_distances[i, label]
                if is_inside[label]:
                    centroid_distance[i, at] = min(centroid_distance[i, at], distance)
                elif not is_above[label]:
                    rival_distance[i, at] = min(rival_distance[i, at], distance)
            n_studies[i, at] = count_studies(labels[i], studies[i], is_inside)


@njit
def weigh_votes(factors: Floats, centroid_distances: Floats, n_seen: int, seen: Ints32, total: Doubles) -> int:
    """Multiply the shares of all labels by their factors; add labels without neighbours; return their number.

    Labels without a centroid, at distance 2, have no eligible cells: none of these is added.
    """
    everything = total[:n_seen].sum()
    for at in range(n_seen):
        total[at] = (total[at] / everything + _LEAST_SHARE) * factors[seen[at]]
    n_all = n_seen
    for label in range(factors.size):
        is_new = factors[label] > 0 and centroid_distances[label] < NO_CENTROID
        for at in range(n_seen):
            is_new = is_new and seen[at] != label
        if is_new:
            seen[n_all], total[n_all] = label, _LEAST_SHARE * factors[label]
            n_all += 1
    return n_all


@njit
def divide_votes(seen: Ints32, total: Doubles, inside: Bools) -> None:
    """Divide the votes of each label among those below it, the most general first, if these have enough votes."""
    n_below = np.zeros(seen.size, np.int64)
    for at in range(seen.size):
        for other in range(seen.size):
            n_below[at] += at != other and inside[seen[at], seen[other]]
    for at in np.argsort(-n_below):
        if n_below[at] == 0:
            break
        below = 0.0
        for other in range(seen.size):
            if at != other and inside[seen[at], seen[other]]:
                below += total[other]
        if below <= 0.0 or below < SPECIFIC * total[at]:
            continue
        for other in range(seen.size):
            if at != other and inside[seen[at], seen[other]]:
                total[other] *= 1 + total[at] / below
        total[at] = 0.0


@njit
def rank(seen: Ints32, total: Doubles, top_codes: Ints32, top_shares: Floats) -> None:
    """Write the labels with most votes, the first of equal ones first, and their shares."""
    left = total.copy()
    everything = total.sum()
    for place in range(min(top_codes.size, seen.size)):
        best = 0
        for at in range(1, seen.size):
            if left[at] > left[best]:
                best = at
        top_codes[place] = seen[best]
        top_shares[place] = total[best] / everything
        left[best] = -1.0


@njit
def share_of(seen: Ints32, total: Doubles, inside: Bools, above: Bools) -> float:
    """Return the share of the votes for labels inside a term among those for labels that are not above it."""
    votes, counted = 0.0, 0.0
    for at in range(seen.size):
        if above[seen[at]]:
            continue
        counted += total[at]
        if inside[seen[at]]:
            votes += total[at]
    return votes / counted if counted > 0 else 0.0


@njit
def count_studies(labels: Ints32, studies: Ints32, inside: Bools) -> int:
    """Return the number of studies of the neighbours of which the label is inside a term."""
    seen = np.empty(labels.size, np.int32)
    n_seen = 0
    for j in range(labels.size):
        if labels[j] < 0 or not inside[labels[j]]:
            continue
        at = 0
        while at < n_seen and seen[at] != studies[j]:
            at += 1
        if at == n_seen:
            seen[at] = studies[j]
            n_seen += 1
    return n_seen
