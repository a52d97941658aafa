"""Other ways to test the same, each a p for every query and value: more hits than elsewhere or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from scim.tl._enrichment_statistics import Samples, _upper_tail, measure_enrichment

if TYPE_CHECKING:
    from made_up import MadeUp
    from numpy.typing import NDArray


def scim(made: MadeUp) -> NDArray[np.float64]:
    return measure_enrichment(made.hits, Samples(made.n_cells, made.value, made.study), alternative="greater").p


def scim_without_studies(made: MadeUp) -> NDArray[np.float64]:
    samples = Samples(made.n_cells, made.value, np.zeros_like(made.study))
    return measure_enrichment(made.hits, samples, alternative="greater").p


def permutation(made: MadeUp) -> NDArray[np.float64]:
    """Permute the labels of samples; small samples weigh less. By its first three moments, which are known."""
    w = made.n_cells / (1 + 0.02 * made.n_cells)
    fraction = made.hits / made.n_cells
    residual = (fraction - (fraction * w).sum(axis=1, keepdims=True) / w.sum()) * np.sqrt(w)
    residual -= residual.mean(axis=1, keepdims=True)
    n = made.value.size
    p = np.empty(made.truth.shape)
    for value in range(p.shape[1]):
        own = made.value == value
        a = np.sqrt(w) * (own - w[own].sum() / w.sum())
        a -= a.mean()
        variance = (a @ a) * (residual**2).sum(axis=1) / (n - 1)
        third = (a**3).sum() * (residual**3).sum(axis=1) * n / ((n - 1) * (n - 2))
        with np.errstate(invalid="ignore"):
            tail = _upper_tail(residual @ a / np.sqrt(variance), third / variance**1.5)
        p[:, value] = np.maximum(tail, 1 / special.comb(n, own.sum()))
    return p


def welch(made: MadeUp) -> NDArray[np.float64]:
    """Compare fractions by t: each sample the same weight, each value its own variance."""
    fraction, p = made.hits / made.n_cells, np.empty(made.truth.shape)
    for value in range(p.shape[1]):
        own = made.value == value
        with np.errstate(all="ignore"):
            found = stats.ttest_ind(fraction[:, own], fraction[:, ~own], axis=1, equal_var=False, alternative="greater")
        p[:, value] = found.pvalue
    return p


def fisher(made: MadeUp) -> NDArray[np.float64]:
    """Fisher's exact test of cells."""
    own = np.eye(made.truth.shape[1], dtype=np.int64)[made.value]
    hits, cells = made.hits @ own, made.n_cells @ own
    return stats.hypergeom.sf(hits - 1, cells.sum(), hits.sum(axis=1, keepdims=True), cells)
