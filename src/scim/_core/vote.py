"""Neighbours to labels: the weighted vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.numba import njit_parallel, prange, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Weights

CLOSEST = 1e-6
"""Distances below this count as this, so that an identical cell outweighs others without silencing them."""


BEYOND = 1.5
"""How many times the reach of an atlas a cell may be away from it: of cells of new studies seen through 200 to 1,000
genes up to one in three lay between 1 and 1.5 reaches, and those of another tissue beyond 2 (benchmarks/NOTES.md)."""


class Votes(NamedTuple):
    """The labels that the neighbours of each query vote for, best first."""

    codes: NDArray[np.int32]
    """(n, top_n) label codes; -1 = fewer labels than `top_n` among the neighbours."""

    shares: NDArray[np.float32]
    """(n, top_n) share of the vote, 0 to 1, descending."""


def farthest_voter(reach: float | None) -> float:
    """Return the distance of the nearest voter beyond which a cell is unknown; 2, and none is, without a reach."""
    return 2.0 if reach is None else min(2.0, BEYOND * reach)


def label_weights(codes: NDArray[np.integer[Any]], n_labels: int, *, balance: bool = True) -> NDArray[np.float32]:
    """Return what a voter of each label weighs: 1 / sqrt(n) of a label that n voters have, or 1; shape (n_labels,)."""
    counts = np.bincount(codes, minlength=n_labels) if balance else np.ones(n_labels)
    return np.reciprocal(np.sqrt(np.maximum(counts, 1))).astype(np.float32)


def vote(
    distances: NDArray[np.float32],
    ids: NDArray[np.int64],
    codes: NDArray[np.int32],
    label_weights: NDArray[np.float32],
    *,
    weights: Weights,
    top_n: int,
) -> Votes:
    r"""Count the labels of the neighbours, each weighing :math:`1 / \max(d, 10^{-6})` or 1, times that of its label.

    Parameters
    ----------
    distances
        Of the neighbours of each query, shape (n, k), ascending.
    ids
        Which they are, shape (n, k); -1 = none.
    codes
        Label code of every id, shape (n_ids,), none of them negative among the neighbours.
    label_weights
        Weight of each label, shape (n_labels,).
    weights
        `"distance"` or `"uniform"`.
    top_n
        Number of labels to return for each query.

    Returns
    -------
    The labels with most votes. Of equal ones, that of the nearer neighbour comes first.
    """
    found = ids >= 0
    labels = np.where(found, codes[np.where(found, ids, 0)], -1).astype(np.int32)
    weight = np.where(found, label_weights[labels], np.float32(0))
    if weights == "distance":
        weight /= np.maximum(np.where(found, distances, 1), np.float32(CLOSEST))
    top_codes = np.full((len(labels), top_n), -1, dtype=np.int32)
    top_shares = np.zeros((len(labels), top_n), dtype=np.float32)
    with threads():
        _count(labels, weight, top_codes, top_shares)
    return Votes(top_codes, top_shares)


@njit_parallel
def _count(
    labels: NDArray[np.int32],
    weights: NDArray[np.float32],
    top_codes: NDArray[np.int32],
    top_shares: NDArray[np.float32],
) -> None:
    n, k = labels.shape
    for i in prange(n):
        # Labels of one query are few: a list searched from the front beats a table as wide as the atlas has labels,
        # and keeps labels in the order of their nearest member, which settles ties.
        seen = np.empty(k, np.int32)
        total = np.zeros(k, np.float64)
        n_seen = 0
        everything = 0.0
        for j in range(k):
            if labels[i, j] < 0:
                continue
            at = 0
            while at < n_seen and seen[at] != labels[i, j]:
                at += 1
            if at == n_seen:
                seen[at] = labels[i, j]
                n_seen += 1
            total[at] += weights[i, j]
            everything += weights[i, j]
        for rank in range(min(top_codes.shape[1], n_seen)):
            best = 0
            for at in range(1, n_seen):
                if total[at] > total[best]:
                    best = at
            top_codes[i, rank] = seen[best]
            top_shares[i, rank] = total[best] / everything
            total[best] = -1.0
