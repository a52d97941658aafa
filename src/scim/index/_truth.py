"""The true neighbours of a sample of rows, against which search parameters are calibrated for a recall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.cosine import is_directed
from scim._core.nearest import nearest
from scim._core.topk import empty_heaps, sort_rows

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints
    from scim.index._make import Source

K = 50  # neighbours of a query, over which recall is measured
_SAFETY_MARGIN = 0.1  # share of what is missing from the recall that is added to it, for the sampling error
_N_SAMPLE = 500


def with_margin(recall: float) -> float:
    """Return the recall that the sample must show."""
    return recall + _SAFETY_MARGIN * (1 - recall)


class Truth:
    """The nearest rows of a sample of rows, updated with each chunk of rows that is read."""

    def __init__(self, sample_ranks: Ints, rows: Floats, k: int) -> None:
        self.sample_ranks, self.rows = sample_ranks, rows
        self._distances, self.ranks = empty_heaps(len(rows), k)

    @classmethod
    def of(cls, source: Source, rng: np.random.Generator) -> Truth:
        """Draw the sample, of which rows of zeros are left out."""
        n = source.n_rows
        ranks = np.sort(rng.choice(n, min(n, _N_SAMPLE), replace=False))
        rows = source.take(ranks)
        directed = is_directed(rows)
        return cls(ranks[directed], rows[directed], min(n, K + 1))

    def compared_with(self, n_rows: int) -> Truth:
        """Return the same sample, to be compared with `n_rows` rows only."""
        return Truth(self.sample_ranks, self.rows, min(n_rows, K + 1))

    def update(self, ranks: Ints | slice, rows: Floats) -> None:
        """Compare the sample with further rows, but for rows of zeros."""
        directed = is_directed(rows)
        if not directed.all():
            every = np.arange(ranks.start, ranks.stop) if isinstance(ranks, slice) else ranks
            ranks, rows = every[directed], rows[directed]
        if len(rows) == 0:
            return
        if not isinstance(ranks, slice):  # ties go by rank, whatever the order of the matrix
            order = np.argsort(ranks)
            ranks, rows = ranks[order], rows[order]
        distances, positions = nearest(self.rows, rows, min(len(rows), self.ranks.shape[1]))
        new_ranks = positions + ranks.start if isinstance(ranks, slice) else ranks[positions]
        distances = np.concatenate([self._distances, distances], axis=1)
        new_ranks = np.concatenate([self.ranks, new_ranks], axis=1)
        sort_rows(distances, new_ranks)
        k = self.ranks.shape[1]
        self._distances, self.ranks = distances[:, :k].copy(), new_ranks[:, :k].copy()

    def recall(self, ranks: Ints) -> float:
        """Return the share of the true neighbours, the sampled row itself left out, that was found."""
        itself, truth = self.sample_ranks[: len(ranks), None], self.ranks[: len(ranks)]
        wanted, found = (np.where(r == itself, -1 - i, r) for i, r in enumerate((truth, ranks)))
        offset = np.arange(len(wanted))[:, None] * (1 << 32)
        true = (wanted + offset)[wanted >= 0]
        return float(np.isin(true, found + offset).mean()) if true.size else 1.0
