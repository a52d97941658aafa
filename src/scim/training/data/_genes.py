"""Which genes a model reads: the markers of every label in every data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import sparse

from scim.pp import lognorm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_CELLS = 5
"""Labels with fewer cells in a data set do not choose genes there: their t statistics are noise."""

SMALL_PANEL = 4000
"""A data set with fewer genes than this was measured or cut to a panel, whose genes are all worth reading."""

LONE_RANK = 30
"""A gene that only one study measured is taken if it is among the best so many of a label, since it is no bridge."""


class LabelSums(NamedTuple):
    """Sums of log-normalised values by label, gathered block by block."""

    sums: NDArray[np.float64]
    """(n_labels, n_genes)"""
    squares: NDArray[np.float64]
    sizes: NDArray[np.int64]
    """(n_labels,) cells"""

    @classmethod
    def zero(cls, n_labels: int, n_genes: int) -> Self:
        """Start."""
        return cls(np.zeros((n_labels, n_genes)), np.zeros((n_labels, n_genes)), np.zeros(n_labels, np.int64))

    def add(self, X: sparse.csr_matrix, labels: NDArray[np.int64]) -> None:
        """Add a block of counts (n, n_genes), which is log-normalised in place, and their label codes."""
        n, n_labels = X.shape[0], self.sizes.size
        x = lognorm(X)
        member = sparse.csr_matrix((np.ones(n, np.float32), (labels, np.arange(n))), shape=(n_labels, n))
        for total, part in ((self.sums, x), (self.squares, x.power(2))):
            product = member @ part
            for label in range(n_labels):  # the product has few rows, and is sparse where labels are many
                row = slice(product.indptr[label], product.indptr[label + 1])
                total[label, product.indices[row]] += product.data[row]
        self.sizes[:] += np.bincount(labels, minlength=n_labels)


def marker_ranks(found: LabelSums) -> NDArray[np.int64]:
    """Rank the genes of one data set by how well they tell one label from all others.

    Returns
    -------
    For each gene its best rank over the labels, by the absolute t statistic of log-normalised counts; 0 is best.
    """
    sums, squares, sizes = found
    n = sizes.sum()
    inside = _moments(sums, squares, sizes[:, None])
    outside = _moments(sums.sum(0) - sums, squares.sum(0) - squares, (n - sizes)[:, None])
    # The small constant keeps genes that are seen in a handful of cells from having no variance at all.
    t = np.abs(inside[0] - outside[0]) / np.sqrt(inside[1] + outside[1] + 1e-5)
    usable = (sizes >= LEAST_CELLS) & (sizes < n)
    if not usable.any():
        t, usable = squares.sum(0, keepdims=True), np.ones(1, dtype=bool)  # one label only: the loudest genes
    order = np.argsort(-t[usable], axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
    best: NDArray[np.int64] = ranks.min(axis=0)
    return best


def choose_genes(
    names: Sequence[NDArray[np.object_]],
    ranks: Sequence[NDArray[np.int64]],
    studies: Sequence[NDArray[np.object_]],
    n_genes: int,
) -> NDArray[np.object_]:
    """Choose the genes with the best rank in any data set, those first that link studies.

    Parameters
    ----------
    names
        Canonical gene ids of each data set.
    ranks
        See :func:`marker_ranks`, one array for each data set.
    studies
        The studies of each data set; data sets that share one count once.
    n_genes
        At most so many are chosen.

    Returns
    -------
    Canonical ids in ascending order.
    """
    table = pd.DataFrame(
        {
            "gene": np.concatenate(names),
            "rank": np.concatenate(ranks),
            "family": np.repeat(_families(studies), [len(n) for n in names]),
            "small": np.repeat([len(n) < SMALL_PANEL for n in names], [len(n) for n in names]),
        }
    )
    genes = table.groupby("gene", sort=True).agg(rank=("rank", "min"), n=("family", "nunique"), small=("small", "any"))
    n_families = int(table["family"].nunique())
    lone = (genes["n"] < min(2, n_families)) & (genes["rank"] >= LONE_RANK)
    preferred = genes["small"] & (genes["n"] > 1)
    order = genes.assign(lone=lone, other=~preferred).sort_values(["lone", "other", "rank"], kind="stable")
    return np.sort(order.index[:n_genes].to_numpy(dtype=object))


def _families(studies: Sequence[NDArray[np.object_]]) -> list[int]:
    """Give data sets that share a study the same number."""
    families = list(range(len(studies)))
    for i, own in enumerate(studies):
        for j in range(i):
            if set(own) & set(studies[j]):
                families = [families[j] if family == families[i] else family for family in families]
    return families


def _moments(
    sums: NDArray[np.float64], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means, and variances of the means."""
    n = np.maximum(n, 1)
    mean = sums / n
    return mean, np.maximum(squares / n - mean**2, 0) / n
