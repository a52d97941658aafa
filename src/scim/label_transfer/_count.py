"""The vote of the neighbours, and what it says for the winner and for the terms above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core.numba import threads
from scim.label_transfer._kernels import rank_labels
from scim.label_transfer._weights import distance_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Weights
    from scim.label_transfer._voters import Voters


class Votes(NamedTuple):
    """The labels that the neighbours of each query vote for, best first."""

    codes: NDArray[np.int32]
    """(n, top_n) label codes; -1 = fewer labels than `top_n` among the neighbours."""

    shares: NDArray[np.float32]
    """(n, top_n) share of the vote, 0 to 1, descending."""


class Evidence(NamedTuple):
    """What speaks for the winning label of each query, and for each term above it, in the order of its path."""

    share: NDArray[np.float32]
    """(n, width) share of the vote for the term, 0 to 1; neighbours whose label is above the term are not counted."""

    near: NDArray[np.float32]
    """(n, width) cosine distance to the nearest centroid of a label of the term."""

    rival: NDArray[np.float32]
    """(n, width) cosine distance to the nearest centroid of another label."""

    n_studies: NDArray[np.int32]
    """(n, width) number of studies among the neighbours of the term."""

    distance: NDArray[np.float32]
    """(n,) mean cosine distance of the neighbours; 2 without any."""


def label_weights(sizes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return what a voter of each label weighs, 1 / sqrt(n) of a label that n voters have; shape (n_labels,)."""
    weights: NDArray[np.float64] = 1 / np.sqrt(np.maximum(sizes, 1))
    return weights.astype(np.float32)


def count(
    distances: NDArray[np.float32],
    ids: NDArray[np.int64],
    voters: Voters,
    each: NDArray[np.float32],
    near: NDArray[np.float32],
    *,
    weights: Weights,
    top_n: int = 1,
) -> tuple[Votes, Evidence]:
    r"""Count the labels of the neighbours.

    A neighbour at distance :math:`d` weighs 1 (`"uniform"`) or :math:`1 / \max(d, 10^{-6})` (`"distance"`). In the
    `"balanced"` vote, label :math:`l`, which :math:`n_l` voters have and whose nearest centroid is :math:`c_l` away,
    gets

    .. math:: V_l = c_l^{-1/2} \sum_s \Big( \sum_{j \in l, s} \frac{1}{\sqrt{n_l} \max(d_j, 10^{-6})} \Big)^{0.65}

    over the studies :math:`s`, so that neither the number of cells that an atlas has of a type or in a study decides,
    nor a few stray cells of a type whose middle is elsewhere.

    Parameters
    ----------
    distances
        Of the neighbours of each query, shape (n, k), ascending.
    ids
        Which they are, shape (n, k); -1 = none.
    voters
        Labels and studies of the ids.
    each
        Weight of each label, shape (n_labels,), from :func:`label_weights`.
    near
        From :func:`near_labels`, shape (n, n_labels).
    weights
        The kind of vote.
    top_n
        Number of labels to return for each query.

    Returns
    -------
    The labels with most votes, and what speaks for the first of them. Of labels with equal votes, that of the nearer
    neighbour comes first.
    """
    found = ids >= 0
    safe = np.where(found, ids, 0)
    labels = np.where(found, voters.codes[safe], -1).astype(np.int32)
    studies = np.where(found, voters.studies[safe], -1).astype(np.int32)
    # In double precision, so that a tie is one, and sums of thousands are those of any other count.
    weight = np.where(found, 1.0, 0.0) if weights == "uniform" else distance_weights(distances, found)
    tree, balanced = voters.tree, weights == "balanced"
    if balanced:
        weight *= each[labels]
    votes = Votes(np.full((len(labels), top_n), -1, dtype=np.int32), np.zeros((len(labels), top_n), dtype=np.float32))
    evidence = _none_yet(distances, found, tree.paths.shape[1])
    with threads():
        rank_labels(
            labels,
            studies,
            weight,
            near,
            balanced,
            votes.codes,
            votes.shares,
            tree.paths,
            tree.inside,
            tree.above,
            evidence.share,
            evidence.near,
            evidence.rival,
            evidence.n_studies,
        )
    return votes, evidence


def _none_yet(distances: NDArray[np.float32], found: NDArray[np.bool_], width: int) -> Evidence:
    """Return the evidence of neighbours none of which was counted."""
    n = len(distances)
    mean = np.divide(np.where(found, distances, 0).sum(axis=1), found.sum(axis=1).clip(1))
    return Evidence(
        share=np.zeros((n, width), dtype=np.float32),
        near=np.full((n, width), 2.0, dtype=np.float32),
        rival=np.full((n, width), 2.0, dtype=np.float32),
        n_studies=np.zeros((n, width), dtype=np.int32),
        distance=np.where(found.any(axis=1), mean, 2.0).astype(np.float32),
    )
