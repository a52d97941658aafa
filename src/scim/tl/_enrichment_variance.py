"""Estimate the variance of relative fractions between samples and between studies, by moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from scim._core.types import Doubles, Ints

_N_FITS = 4  # of studies and values in turn; two suffice where they share few samples
_MIN_STUDY_DF = 3  # with fewer degrees of freedom between studies of one value, all studies estimate their variance
_LARGEST_SQUARE = 9.0  # of a standardised residual: one outlier does not hide the effects in all other samples


class Groups:
    """A grouping of the columns of matrices: sums over each group, and values of groups for each column."""

    def __init__(self, codes: Ints) -> None:
        """Take the group of each column, 0 to the number of groups - 1; every group has a column."""
        self.codes = codes
        self._order = np.argsort(codes, kind="stable")
        self._starts = np.searchsorted(codes[self._order], np.arange(int(codes.max()) + 1))

    @property
    def n(self) -> int:
        """Number of groups."""
        return len(self._starts)

    def sum(self, x: Doubles) -> Doubles:
        """Return the sum over the columns of each group, (n_rows, n_groups)."""
        out: Doubles = np.add.reduceat(x[:, self._order], self._starts, axis=1)
        return out

    def expand(self, x: Doubles) -> Doubles:
        """Return for each column the value of its group in `x`, (n_rows, n_groups)."""
        out: Doubles = x[:, self.codes]
        return out


class Design:
    """Which samples belong together: by value, by study, and by both, a stratum."""

    def __init__(self, value: Ints, study: Ints) -> None:
        """Take codes of the samples, from 0 on; each code occurs."""
        n_values = int(value.max()) + 1
        pairs, stratum = np.unique(study * n_values + value, return_inverse=True)
        self.value, self.study, self.stratum = Groups(value), Groups(study), Groups(stratum)
        self.strata_by_value, self.strata_by_study = Groups(pairs % n_values), Groups(pairs // n_values)
        self.n_effects = _n_effects(self.value, self.study)
        df = len(pairs) - n_values
        # Where hardly a study shares its value with others, all studies estimate the variance between those of a value.
        self.strata_by_mean = self.strata_by_value if df >= _MIN_STUDY_DF else Groups(np.zeros(len(pairs), np.int64))
        self.df_within = value.size - self.n_effects
        self.df_between = min(len(pairs) - self.strata_by_mean.n, self.study.n - 1)


def variance_within_studies(x: Doubles, sampling: Doubles, design: Design, start: Doubles) -> Doubles:
    """Return the variance between samples, (n_queries, 1), after the effects of values and studies are taken out.

    `x` are relative deviations, (n_queries, n_samples); `sampling`, of this shape, their variance by numbers of cells;
    `start` is the variance from which weights are made. Without degrees of freedom the variance is 0.
    """
    if design.df_within <= 0:
        return np.zeros_like(start)
    value, study = design.value, design.study
    w = 1 / (sampling + start)
    of_value, of_study = value.sum(w), study.sum(w)
    fit = np.zeros_like(x)
    for _ in range(_N_FITS):
        fit = fit + study.expand(study.sum(w * (x - fit)) / of_study)
        fit = fit + value.expand(value.sum(w * (x - fit)) / of_value)
    # Leverage of each sample on the fit: near enough, and in sum the number of effects.
    leverage = w * (value.expand(1 / of_value) + study.expand(1 / of_study))
    leverage *= design.n_effects / leverage.sum(axis=1, keepdims=True)
    return _by_moments(x - fit, w, np.maximum(1 - leverage, 0), sampling)


def variance_between_studies(mean: Doubles, sampling: Doubles, design: Design, start: Doubles) -> Doubles:
    """Return the variance between studies of the same value, (n_queries, 1).

    `mean` are means of strata, (n_queries, n_strata), and `sampling` their variance without that of studies.
    """
    if design.df_between <= 0:
        return np.zeros_like(start)
    groups = design.strata_by_mean
    w = 1 / (sampling + start)
    total = groups.sum(w)
    residual = mean - groups.expand(groups.sum(w * mean) / total)
    return _by_moments(residual, w, 1 - w / groups.expand(total), sampling)


def _by_moments(residual: Doubles, w: Doubles, free: Doubles, sampling: Doubles) -> Doubles:
    """Return the variance at which w * residual^2 have their expectation, w * free * (sampling + variance), in sum."""
    squares = np.minimum(w * residual**2, _LARGEST_SQUARE * np.maximum(free, 0.1)).sum(axis=1, keepdims=True)
    scale = (w * free).sum(axis=1, keepdims=True)
    excess = squares - (w * free * sampling).sum(axis=1, keepdims=True)
    variance: Doubles = np.maximum(np.divide(excess, scale, out=np.zeros_like(scale), where=scale > 0), 0)
    return variance


def _n_effects(value: Groups, study: Groups) -> int:
    """Return the rank of two groupings of the same columns together."""
    n = value.n + study.n
    edges = np.ones(value.codes.size), (value.codes, value.n + study.codes)
    return int(n - csgraph.connected_components(sparse.coo_array(edges, shape=(n, n)), directed=False)[0])
