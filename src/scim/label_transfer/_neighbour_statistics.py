"""Statistics of the neighbours of each query, as the published package counts them: before the weights of scim."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scim._core.numba import njit_parallel, prange, threads
from scim.label_transfer._votes import distance_weights, sum_votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim._core.types import Doubles, Floats, Ints32

MOST_LABELS = 50
"""Labels that are kept of each query, those of most neighbours: of up to 50 neighbours all."""


class NeighbourStatistics(NamedTuple):
    """Statistics of the k neighbours of n queries, all with the same weight or weighted by 1 / max(d, 1e-6).

    The sizes of labels, studies, centroids and the expression of the genes play no part. A query without neighbours has
    no hits, and NaN elsewhere. Shares are taken over all labels, also those beyond `MOST_LABELS`.
    """

    hits: sparse.csr_matrix  # (n, n_labels) int32, number of neighbours of each label
    hits_weighted: sparse.csr_matrix  # (n, n_labels) float64, sum of the weights of the neighbours of each label
    farthest: Floats  # (n,) largest cosine distance of the neighbours, 0 to 2
    mean_distance: Floats  # (n,) mean cosine distance of the neighbours, 0 to 2
    vs2nd: Floats  # (n,) most hits of a label over these and the hits of the second label, .5 to 1
    vs_all: Floats  # (n,) most hits of a label over all, 0 to 1
    vs2nd_weighted: Floats  # (n,) the same of weighted hits
    vs_all_weighted: Floats  # (n,)


def neighbour_statistics(distances: Floats, labels: Ints32, n_labels: int) -> NeighbourStatistics:
    """Return the statistics of n queries from ascending distances and label codes, -1 = none, of neighbours, (n, k)."""
    codes, counts, sums = count_labels(distances, labels)
    near = np.where(labels >= 0, distances.astype(np.float64), np.nan)
    n_found = (labels >= 0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(near, axis=1) / n_found
    shares = [values.astype(np.float32) for kind in (counts, sums) for values in shares_of_best(kind)]
    if codes.shape[1] > MOST_LABELS:
        order = np.argsort(-counts, axis=1, kind="stable")[:, :MOST_LABELS]  # of equal ones the nearer label first
        codes = np.take_along_axis(codes, order, axis=1)
        counts, sums = (np.take_along_axis(values, order, axis=1) for values in (counts, sums))
    row, place = np.nonzero(codes >= 0)
    at = row, codes[row, place]
    shape = len(codes), n_labels
    return NeighbourStatistics(
        sparse.csr_matrix((counts[row, place].astype(np.int32), at), shape=shape),
        sparse.csr_matrix((sums[row, place], at), shape=shape),
        np.fmax.reduce(near, axis=1).astype(np.float32),
        mean.astype(np.float32),
        *shares,
    )


def joined(parts: Sequence[NeighbourStatistics]) -> NeighbourStatistics:
    """Return the statistics of chunks of queries as one."""
    hits, weighted, *columns = zip(*parts, strict=True)
    counted, weighed = (sparse.csr_matrix(sparse.vstack(matrix)) for matrix in (hits, weighted))
    return NeighbourStatistics(counted, weighed, *map(np.concatenate, columns))


def count_labels(distances: Floats, labels: Ints32) -> tuple[Ints32, Doubles, Doubles]:
    """Count and weigh all labels of the neighbours of each query, in the order of the nearest neighbour of each.

    Distances are ascending cosine distances, labels are codes, -1 = none, (n, k) each. Return codes, -1 = no more,
    number of neighbours, and their sum of 1 / max(d, 1e-6), (n, width) each. The first of the greatest counts, or sums,
    is the winner of the vote: of equal ones that of the nearer neighbour.
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    codes = np.full(labels.shape, -1, dtype=np.int32)
    counts, sums = np.zeros(labels.shape), np.zeros(labels.shape)
    with threads():
        sum_labels(labels, distance_weights(distances, labels >= 0), codes, counts, sums)
    width = int((codes >= 0).sum(axis=1).max(initial=1))
    return codes[:, :width], counts[:, :width], sums[:, :width]


def shares_of_best(votes: Doubles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return best / (best + second) and best / all of the votes of each query, (n,) each; NaN without votes."""
    two = np.partition(votes, -2, axis=1)[:, -2:] if votes.shape[1] > 1 else np.pad(votes, ((0, 0), (1, 0)))
    second, best = two.T
    with np.errstate(invalid="ignore"):
        return best / (best + second), best / votes.sum(axis=1)


@njit_parallel
def sum_labels(labels: Ints32, weights: Doubles, codes: Ints32, counts: Doubles, sums: Doubles) -> None:
    """Write the labels of each query in the order of their nearest neighbour, and their counts and summed weights."""
    k = labels.shape[1]
    for i in prange(labels.shape[0]):
        seen, none = np.empty(k, np.int32), np.empty(0, np.float32)
        n_seen = sum_votes(labels[i], labels[i], np.ones(k), none, False, seen, counts[i])  # noqa: FBT003
        sum_votes(labels[i], labels[i], weights[i], none, False, seen, sums[i])  # noqa: FBT003
        codes[i, :n_seen] = seen[:n_seen]
