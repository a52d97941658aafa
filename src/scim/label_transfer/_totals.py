"""The whole vote of each query, label by label: for those who want more than the winner."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.numba import threads
from scim.label_transfer._kernels import sum_labels
from scim.label_transfer._weights import distance_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Totals(NamedTuple):
    """The labels among the neighbours of each query, in the order of their nearest member, and their votes."""

    codes: NDArray[np.int32]
    """(n, width) label codes; -1 = no more labels."""

    counts: NDArray[np.float64]
    """(n, width) number of neighbours that have the label."""

    sums: NDArray[np.float64]
    """(n, width) sum of 1 / max(d, 1e-6) over them."""


def totals(distances: NDArray[np.float32], labels: NDArray[np.int32]) -> Totals:
    """Count and weigh the labels of the neighbours, in double precision and in the order of the neighbours.

    The first of the greatest counts, or sums, is the winner of the vote: of equal ones that of the nearer neighbour.

    Parameters
    ----------
    distances
        Of the neighbours of each query, shape (n, k), ascending.
    labels
        Their label codes, shape (n, k); -1 = no neighbour, or it has no label.
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    codes = np.full(labels.shape, -1, dtype=np.int32)
    counts, sums = np.zeros(labels.shape), np.zeros(labels.shape)
    with threads():
        sum_labels(labels, distance_weights(distances, labels >= 0), codes, counts, sums)
    width = int((codes >= 0).sum(axis=1).max(initial=1))
    return Totals(codes[:, :width], counts[:, :width], sums[:, :width])
