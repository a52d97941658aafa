"""Whether samples of one value have more hits than others: samples are the replicates, not cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse, special

from scim.tl._spread import Spread, between_studies, indicator, within_studies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import Alternative

    _Three = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

_FEW = 3
"""With fewer degrees of freedom between studies of one value, all studies together tell how far studies differ."""
_BLOCK = 1_000_000
"""Queries times samples that are worked on together: some twenty arrays of this size, 160 MB."""
_HOPELESS = 0.05
"""Where no arrangement of the samples could give a p below this, none is given."""


class Samples(NamedTuple):
    """The replicates."""

    n_cells: NDArray[np.int64]
    """(n_samples,) cells of the atlas that could be hits, at least 1."""

    value: NDArray[np.int64]
    """(n_samples,) code of the value, every code from 0 on occurs."""

    study: NDArray[np.int64]
    """(n_samples,) code of the study, every code from 0 on occurs; all 0: samples are independent of each other."""


class Enrichment(NamedTuple):
    """One row for each query, one column for each value."""

    fraction: NDArray[np.float64]
    """Weighted mean, over the samples that have the value, of the fraction of their cells that are hits."""

    background: NDArray[np.float64]
    """The same over all other samples; NaN without any."""

    p: NDArray[np.float64]
    """p value; NaN where `least` says that there can be none, or the query has no hit."""

    least: NDArray[np.float64]
    """(n_values,) the least p that so many samples can give."""


class _Cells(NamedTuple):
    """Sums over the samples of a study and value, which meet in a cell of the table of both."""

    weight: NDArray[np.float64]
    """(n_queries, n_cells)."""

    mean: NDArray[np.float64]
    """(n_queries, n_cells) weighted mean of the fractions."""

    in_value: sparse.csr_array
    in_study: sparse.csr_array


class _Contrast(NamedTuple):
    """What each sample adds to the difference of a value from the rest, times its weight: 1 - share or - share."""

    share: NDArray[np.float64]
    """(n_queries, n_values) share of the value in all weight."""

    mean: NDArray[np.float64]
    """(n_queries, 1) mean of all samples: that of each value, if none differs."""

    difference: NDArray[np.float64]
    """(n_queries, n_values) sum of contributions, 0 if none differs."""


def measure_enrichment(hits: NDArray[np.integer], samples: Samples, *, alternative: Alternative) -> Enrichment:
    r"""Test each value against all other samples.

    The fraction of the :math:`n_s` cells of sample s that are hits is taken to vary between samples with
    :math:`\mu (1 - \mu) (1 / n_s + \rho)`, and the mean of a study with :math:`\mu (1 - \mu) \rho_b`; both are found
    by moments, over all values. The difference of a value from the rest is estimated by generalised least squares:
    small samples, and many samples of one study, weigh what they tell, and samples of a study that has several values
    are compared with each other. Its ratio to the standard error that it has if there is no difference follows t with
    Satterthwaite's degrees of freedom :cite:p:`Satterthwaite1946`, skewed as sums of gamma variables are (Pearson's
    type III). Whatever that says, p is at least one over the number of ways in which the values could be dealt out to
    the samples of each study, and to whole studies of one value.

    Parameters
    ----------
    hits
        (n_queries, n_samples) hits among the cells of each sample.
    samples
        The replicates.
    alternative
        Which side counts.
    """
    n_values = int(samples.value.max()) + 1
    least = _least_p(samples, n_values) * (2 if alternative == "two-sided" else 1)
    out = [np.full((len(hits), n_values), np.nan) for _ in range(3)]
    step = max(1, _BLOCK // samples.n_cells.size)
    for start in range(0, len(hits), step):
        part = _test(hits[start : start + step] / samples.n_cells, samples, n_values, alternative)
        for whole, of_part in zip(out, part, strict=True):
            whole[start : start + step] = of_part
    p = np.where(least > _HOPELESS * (1 + 1e-9), np.nan, np.maximum(out[2], least))
    # A skewed tail can put the middle elsewhere: a difference to the other side is no sign of this one.
    if alternative != "two-sided":
        with np.errstate(invalid="ignore"):
            wrong_side = out[0] <= out[1] if alternative == "greater" else out[0] >= out[1]
        p = np.where(wrong_side, np.maximum(p, 0.5), p)
    return Enrichment(out[0], out[1], p, np.minimum(least, 1))


def _test(f: NDArray[np.float64], samples: Samples, n_values: int, alternative: Alternative) -> _Three:
    """Return fraction, background and p for a block of queries; `f` are fractions, (n_queries, n_samples)."""
    pairs, cell = np.unique(samples.study * n_values + samples.value, return_inverse=True)
    n_studies = int(samples.study.max()) + 1
    in_cell, in_value = indicator(cell, pairs.size), indicator(pairs % n_values, n_values)
    in_study = indicator(pairs // n_values, n_studies)
    within = within_studies(f, 1 / samples.n_cells, in_cell @ in_value, in_cell @ in_study)
    w = 1 / (1 / samples.n_cells + within.size)
    weight = w @ in_cell
    cells = _Cells(weight, (w * f) @ in_cell / weight, in_value, in_study)
    alike = in_value if pairs.size - n_values >= _FEW else indicator(np.zeros(pairs.size, np.int64), 1)
    between = between_studies(cells.mean, 1 / weight, alike, n_studies)
    weighed = weight / (1 + between.size * (weight @ in_study @ in_study.T))
    total, hits = weighed @ in_value, (weighed * cells.mean) @ in_value
    others = total.sum(axis=1, keepdims=True) - total
    rest = hits.sum(axis=1, keepdims=True) - hits
    background = np.divide(rest, others, out=np.full_like(rest, np.nan), where=others > 0)
    return hits / total, background, _p_values(*_statistic(cells, within, between), alternative)


def _statistic(cells: _Cells, within: Spread, between: Spread) -> _Three:
    """Return t, its degrees of freedom and its skewness, each (n_queries, n_values)."""
    contrast = _contrast(cells, between.size)
    mu = contrast.mean
    phi = mu * (1 - mu)
    with np.errstate(invalid="ignore", divide="ignore"):  # no hit at all, or no other samples
        of_samples, of_samples3 = (_over_samples(cells, contrast, between.size, power) for power in (2, 3))
        of_studies, of_studies3 = (_over_studies(cells, contrast, between.size, power) for power in (2, 3))
        variance = of_samples + between.size * of_studies
        share = between.size * of_studies / variance
        # The variance of gamma variables is less sure than that of normal ones: excess kurtosis 6 * variance / mean^2.
        of_means = between.size + (1 / cells.weight).mean(axis=1, keepdims=True)
        lost = [1 + 3 * size * (1 - mu) / mu for size in (of_means, within.size)]
        df = 1 / (share**2 * lost[0] / max(between.df, 1) + (1 - share) ** 2 * lost[1] / max(within.df, 1))
        t = contrast.difference / np.sqrt(variance * phi)
        third = of_samples3 + between.size**2 * of_studies3
        skew = 2 * np.sqrt(phi) / mu * third / variance**1.5
    return np.where(variance > 1e-9, t, np.nan), df, skew


def _contrast(cells: _Cells, spread: NDArray[np.float64]) -> _Contrast:
    """Return the difference of each value from the rest, by the inverse covariance of the samples of a study.

    With weights w that is diag(w) - k w w', k = spread / (1 + spread * sum(w)).
    """
    W, mean, in_value, in_study = cells
    of_study = (W @ in_study) @ in_study.T
    s = 1 / (1 + spread * of_study)
    value = (W * s) @ in_value
    total = value.sum(axis=1, keepdims=True)
    sums = (W * mean - spread * s * W * ((W * mean) @ in_study @ in_study.T)) @ in_value
    everything = (W * mean * s).sum(axis=1, keepdims=True)
    return _Contrast(value / total, everything / total, sums - value / total * everything)


def _over_samples(cells: _Cells, contrast: _Contrast, spread: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return the sum over all samples of weight * contribution^power, larger where fractions of a study are larger."""
    W, mean, in_value, in_study = cells
    of_study = (W @ in_study) @ in_study.T
    s, p = 1 / (1 + spread * of_study), contrast.share @ in_value.T
    rest = of_study - W
    inside = 1 - p - spread * s * (W - p * of_study)
    # Samples of a study with many hits differ by more: its variance goes with the mean of its other samples.
    others = ((W * mean) @ in_study @ in_study.T - W * mean) / np.where(rest > 1e-9 * of_study, rest, np.inf)
    pull = spread * rest / (1 + spread * rest)
    local = np.maximum(1 - pull + pull * others / contrast.mean, 1) ** (power / 2)
    with_value = (W * inside**power + rest * (inside - 1) ** power) * local - of_study * (-p * s) ** power
    everywhere = (W * s**power).sum(axis=1, keepdims=True)  # as if no study had the value
    total: NDArray[np.float64] = (-contrast.share) ** power * everywhere + with_value @ in_value
    return total


def _over_studies(cells: _Cells, contrast: _Contrast, spread: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return the sum over all studies of (what their samples contribute together)^power."""
    W, _, in_value, in_study = cells
    weight = W @ in_study
    of_study, p = weight @ in_study.T, contrast.share @ in_value.T
    s = 1 / (1 + spread * of_study)
    with_value = ((W - p * of_study) * s) ** power - (-p * of_study * s) ** power
    everywhere = ((weight / (1 + spread * weight)) ** power).sum(axis=1, keepdims=True)
    total: NDArray[np.float64] = (-contrast.share) ** power * everywhere + with_value @ in_value
    return total


def _p_values(
    t: NDArray[np.float64], df: NDArray[np.float64], skew: NDArray[np.float64], alternative: Alternative
) -> NDArray[np.float64]:
    """Return p values of Pearson's type III, of a t that is first made normal."""
    z = -np.sign(t) * special.ndtri(special.stdtr(df, -np.abs(t)))
    upper, lower = _tail(z, skew), _tail(-z, -skew)
    if alternative == "greater":
        return upper
    return lower if alternative == "less" else np.minimum(1, 2 * np.minimum(upper, lower))


def _tail(z: NDArray[np.float64], skew: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how likely a gamma variable, moved to mean 0 and variance 1, of this skewness is at least z."""
    straight = np.abs(skew) < 1e-3
    bent = np.where(straight, 1.0, skew)
    shape = 4 / bent**2
    x = np.maximum(shape + np.sign(bent) * z * np.sqrt(shape), 0)
    gamma = np.where(bent > 0, special.gammaincc(shape, x), special.gammainc(shape, x))
    return np.where(straight, special.ndtr(-z), gamma)


def _least_p(samples: Samples, n_values: int) -> NDArray[np.float64]:
    """Return one over the number of ways to deal out each value, to samples of a study and to whole studies."""
    pairs, n_pair = np.unique(samples.study * n_values + samples.value, return_counts=True)
    study, value = pairs // n_values, pairs % n_values
    n_study = np.bincount(samples.study)[study]
    ways = np.bincount(value, _log_ways(n_study, n_pair), n_values)
    whole = n_study == n_pair
    n_whole = np.bincount(value[whole], minlength=n_values)
    return np.exp(-ways - _log_ways(whole.sum(), n_whole))


def _log_ways(n: NDArray[np.integer], k: NDArray[np.integer]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return out
