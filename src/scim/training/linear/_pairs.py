"""Which pairs of cells constrain a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim.training.linear._itml import Pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PAIRS = 10_000
NEAR, FAR = 5, 95
"""Percentiles of the squared distances of random cells: similar pairs must come within the first, others beyond the
second; those of the paper."""


def draw_pairs(Z: NDArray[np.float64], labels: NDArray[np.int64], random: np.random.Generator) -> Pairs:
    """Draw as many similar as dissimilar pairs, :math:`20 c^2` for c labels, at most 10,000 in all."""
    n_labels = len(np.unique(labels))
    n = min(20 * n_labels**2, MOST_PAIRS)
    anchor = random.integers(len(Z), size=n)
    order = np.argsort(labels, kind="stable")
    values, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    own = np.searchsorted(values, labels[anchor])
    similar = np.arange(n) % 2 == 0
    # Among the cells of a label, or, counted on from their end, among all others.
    draw = random.random(n)
    inside = starts[own] + (draw * sizes[own]).astype(np.int64)
    outside = (starts[own] + sizes[own] + (draw * (len(Z) - sizes[own])).astype(np.int64)) % len(Z)
    difference = Z[anchor] - Z[order[np.where(similar, inside, outside)]]
    two = random.integers(len(Z), size=(2, n))
    near, far = np.percentile(((Z[two[0]] - Z[two[1]]) ** 2).sum(axis=1), [NEAR, FAR])
    kept = (difference**2).sum(axis=1) > 0
    return Pairs(difference[kept], similar[kept], np.where(similar, near, far)[kept])
