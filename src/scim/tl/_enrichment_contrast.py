"""Test values against all other samples by generalised least squares, on a scale on which fractions are near normal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

from scim.tl._enrichment_variance import variance_between_studies, variance_within_studies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core import Alternative
    from scim._core.types import Bools, Doubles, Ints
    from scim.tl._enrichment_variance import Design

    _Three = tuple[Doubles, Doubles, Doubles]

_N_ROUNDS = 10  # of scale, variances and mean from each other, until nothing moves
_N_MORE_ROUNDS = 8  # when one sample is left out, from the variances and the mean with it
_STEP = 0.75  # of a round: full steps can swing, because the scale depends on the variance that is estimated on it
_START = 0.5  # variance of relative deviations between samples in the first round
_SPREAD = 0.02, 20.0  # smallest and largest variance for which the scale is made


class Fit(NamedTuple):
    """Mean fraction and variances of relative deviations, (n_queries, 1) each."""

    mean: Doubles
    within: Doubles  # between samples
    between: Doubles  # between studies


class Tested(NamedTuple):
    """Results for a block of queries."""

    p: Doubles  # (n_queries, n_values)
    more: Bools  # (n_queries, n_values) whether the value has more hits
    x: Doubles  # (n_queries, n_samples) relative deviations, less that of all samples
    weight: Doubles  # (n_queries, n_samples) of the samples in means
    fit: Fit


class _Strata(NamedTuple):
    """Sums over the samples of each stratum: a study and a value that occur together; (n_queries, n_strata) each."""

    weight: Doubles
    mean: Doubles  # weighted mean of relative deviations
    third: Doubles  # third moment of their weighted sum
    of_study: Doubles  # weight of all strata of the study
    design: Design


class _Contrast(NamedTuple):
    """The difference of each value from the rest: a sample contributes its weight times 1 - share, or - share."""

    share: Doubles  # (n_queries, n_values) share of the value in all weight
    mean: Doubles  # (n_queries, 1) mean of all samples: that of each value under the null hypothesis
    difference: Doubles  # (n_queries, n_values) sum of contributions; 0 is expected under the null hypothesis


def contrast_values(
    hits: NDArray[np.integer], n_cells: Ints, design: Design, alternative: Alternative, start: Fit | None = None
) -> Tested:
    """Test each value against all other samples.

    `hits` are counts among the `n_cells` of each sample, (n_queries, n_samples); `start` is the fit of nearly the same
    samples. p is NaN for a query without hits.
    """
    mean, within, between = _first_fit(hits / n_cells) if start is None else start
    for _ in range(_N_ROUNDS if start is None else _N_MORE_ROUNDS):
        expected = n_cells * mean
        x = relative_deviations(hits, expected, within + between)
        within = within + _STEP * (variance_within_studies(x, 1 / expected, design, within) - within)
        strata, w = _strata(x, 1 / expected, within, design)
        found = variance_between_studies(strata.mean, 1 / strata.weight, design, between)
        between = between + _STEP * (found - between)
        contrast = _contrast(strata, between)
        mean = np.minimum(mean * np.exp(np.clip(contrast.mean, -1, 1)), 1)
    p = _p_values(*_statistic(strata, contrast, between), alternative)
    p = np.where(np.any(hits, axis=1, keepdims=True), p, np.nan)
    weight = w / (1 + between * design.study.expand(design.study.sum(w)))
    return Tested(p, contrast.difference > 0, x - contrast.mean, weight, Fit(mean, within, between))


def _first_fit(f: Doubles) -> Fit:
    mean = np.maximum(f.mean(axis=1, keepdims=True), 1e-12)
    return Fit(mean, np.full_like(mean, _START), np.zeros_like(mean))


def relative_deviations(hits: NDArray[np.integer], expected: Doubles, variance: Doubles) -> Doubles:
    """Return fraction / mean - 1 on the scale of a cube root: of mean 0 and variance 1 / expected + variance.

    With fractions of a gamma distribution the posterior mean of fraction / mean, (hits + a) / (expected + a) with
    a = 1 / variance, has mean 1, and its cube root is near normal (Wilson and Hilferty).
    """
    variance = np.clip(variance, *_SPREAD)
    reliability = expected / (expected + 1 / variance)
    ratio = (hits + 1 / variance) / (expected + 1 / variance)
    out: Doubles = 3 * (np.cbrt(ratio) - 1 + variance * reliability / 9) / reliability
    return out


def _strata(x: Doubles, sampling: Doubles, within: Doubles, design: Design) -> tuple[_Strata, Doubles]:
    """Return the sums of the strata, and the weights of the samples."""
    w = 1 / (sampling + within)
    weight = design.stratum.sum(w)
    of_study = design.strata_by_study.expand(design.strata_by_study.sum(weight))
    mean, third = design.stratum.sum(w * x) / weight, design.stratum.sum(w**2 * sampling)
    return _Strata(weight, mean, third, of_study, design), w


def _contrast(strata: _Strata, rho_b: Doubles) -> _Contrast:
    """Return the difference of each value from the rest, by the inverse covariance of the samples of a study.

    With weights w that is diag(w) - k w w', k = rho_b / (1 + rho_b * sum(w)).
    """
    W, mean, _, of_study, design = strata
    by_value, by_study = design.strata_by_value, design.strata_by_study
    s = 1 / (1 + rho_b * of_study)
    value = by_value.sum(W * s)
    total = value.sum(axis=1, keepdims=True)
    sums = by_value.sum(W * mean - rho_b * s * W * by_study.expand(by_study.sum(W * mean)))
    everything = (W * mean * s).sum(axis=1, keepdims=True)
    return _Contrast(value / total, everything / total, sums - value / total * everything)


def _statistic(strata: _Strata, contrast: _Contrast, rho_b: Doubles) -> _Three:
    """Return t, its degrees of freedom and its skewness, each (n_queries, n_values)."""
    design = strata.design
    with np.errstate(invalid="ignore", divide="ignore"):  # no other samples
        of_studies = _over_studies(strata, contrast, rho_b)
        variance = _over_samples(strata, contrast, rho_b, 2) + rho_b * of_studies
        share = rho_b * of_studies / variance
        df = 1 / (share**2 / max(design.df_between, 1) + (1 - share) ** 2 / max(design.df_within, 1))
        skew = _over_samples(strata, contrast, rho_b, 3) / variance**1.5
        t = contrast.difference / np.sqrt(variance)
    return np.where(contrast.share < 1 - 1e-9, t, np.nan), df, skew


def _over_samples(strata: _Strata, contrast: _Contrast, rho_b: Doubles, power: int) -> Doubles:
    """Return the sum over samples of their moment of this power, 2 or 3, times contribution^power."""
    W, _, third, of_study, design = strata
    by_value, by_study = design.strata_by_value, design.strata_by_study
    moment = W if power == 2 else third
    s, p = 1 / (1 + rho_b * of_study), by_value.expand(contrast.share)
    inside = 1 - p - rho_b * s * (W - p * of_study)
    moment_of_study = by_study.expand(by_study.sum(moment))
    with_value = moment * inside**power + (moment_of_study - moment) * (inside - 1) ** power
    with_value = with_value - moment_of_study * (-p * s) ** power
    everywhere = (moment * s**power).sum(axis=1, keepdims=True)  # as if no study had the value
    total: Doubles = (-contrast.share) ** power * everywhere + by_value.sum(with_value)
    return total


def _over_studies(strata: _Strata, contrast: _Contrast, rho_b: Doubles) -> Doubles:
    """Return the sum over studies of (joint contribution of their samples)^2."""
    W, _, _, of_study, design = strata
    by_value, by_study = design.strata_by_value, design.strata_by_study
    s, p = 1 / (1 + rho_b * of_study), by_value.expand(contrast.share)
    with_value = ((W - p * of_study) * s) ** 2 - (p * of_study * s) ** 2
    weight = by_study.sum(W)
    everywhere = ((weight / (1 + rho_b * weight)) ** 2).sum(axis=1, keepdims=True)
    total: Doubles = contrast.share**2 * everywhere + by_value.sum(with_value)
    return total


def _p_values(t: Doubles, df: Doubles, skew: Doubles, alternative: Alternative) -> Doubles:
    """Return p values of Pearson's type III, after t is mapped to the normal distribution."""
    z = -np.sign(t) * special.ndtri(special.stdtr(df, -np.abs(t)))
    upper, lower = _upper_tail(z, skew), _upper_tail(-z, -skew)
    if alternative == "greater":
        return upper
    return lower if alternative == "less" else np.minimum(1, 2 * np.minimum(upper, lower))


def _upper_tail(z: Doubles, skew: Doubles) -> Doubles:
    """Return the probability that a gamma variable of mean 0, variance 1 and this skewness is at least z."""
    symmetric = np.abs(skew) < 1e-3
    skewness = np.where(symmetric, 1.0, skew)
    shape = 4 / skewness**2
    x = np.maximum(shape + np.sign(skewness) * z * np.sqrt(shape), 0)
    gamma = np.where(skewness > 0, special.gammaincc(shape, x), special.gammainc(shape, x))
    return np.where(symmetric, special.ndtr(-z), gamma)
