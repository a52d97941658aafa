"""Compute p of every query and value by other tests: whether samples of the value have more hits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from scim.tl._enrichment_contrast import _upper_tail, contrast_values
from scim.tl._enrichment_statistics import Samples, measure_enrichment
from scim.tl._enrichment_variance import Design

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from simulate import SimulatedAtlas


def scim(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    return _p(atlas, atlas.study)


def scim_without_studies(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    return _p(atlas, np.zeros_like(atlas.study))


def _p(atlas: SimulatedAtlas, study: NDArray[np.int64]) -> NDArray[np.float64]:
    samples = Samples(atlas.n_cells, atlas.value, study, np.arange(study.size))
    return measure_enrichment(atlas.hits, samples, alternative="greater").p


def all_samples(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    """Test all samples once, so that a finding may rest on one of them."""
    return contrast_values(atlas.hits, atlas.n_cells, Design(atlas.value, atlas.study), "greater").p


def permutation(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    """Permute the values of samples, with lower weights of small samples; p by the first three exact moments."""
    w = atlas.n_cells / (1 + 0.02 * atlas.n_cells)
    fraction = atlas.hits / atlas.n_cells
    residual = (fraction - (fraction * w).sum(axis=1, keepdims=True) / w.sum()) * np.sqrt(w)
    residual -= residual.mean(axis=1, keepdims=True)
    n = atlas.value.size
    p = np.empty(atlas.truth.shape)
    for value in range(p.shape[1]):
        of_value = atlas.value == value
        a = np.sqrt(w) * (of_value - w[of_value].sum() / w.sum())
        a -= a.mean()
        variance = (a @ a) * (residual**2).sum(axis=1) / (n - 1)
        third = (a**3).sum() * (residual**3).sum(axis=1) * n / ((n - 1) * (n - 2))
        with np.errstate(invalid="ignore"):
            tail = _upper_tail(residual @ a / np.sqrt(variance), third / variance**1.5)
        p[:, value] = np.maximum(tail, 1 / special.comb(n, of_value.sum()))
    return p


def welch(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    """Compare fractions by Welch's t test: samples of equal weight, a variance for each value."""
    fraction, p = atlas.hits / atlas.n_cells, np.empty(atlas.truth.shape)
    for value in range(p.shape[1]):
        of_value = atlas.value == value
        with np.errstate(all="ignore"):
            found = stats.ttest_ind(
                fraction[:, of_value], fraction[:, ~of_value], axis=1, equal_var=False, alternative="greater"
            )
        p[:, value] = found.pvalue
    return p


def fisher(atlas: SimulatedAtlas) -> NDArray[np.float64]:
    """Apply Fisher's exact test to cells."""
    of_value = np.eye(atlas.truth.shape[1], dtype=np.int64)[atlas.value]
    hits, cells = atlas.hits @ of_value, atlas.n_cells @ of_value
    return stats.hypergeom.sf(hits - 1, cells.sum(), hits.sum(axis=1, keepdims=True), cells)
