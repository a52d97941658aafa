"""Test whether samples of one value have more hits than others: samples are the replicates, not cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from scim._core import Alternative
    from scim._core.types import Doubles, Ints

    _Three = tuple[Doubles, Doubles, Doubles]

_MIN_STUDY_DF = 3  # with fewer degrees of freedom between studies of one value, all studies estimate their variance
_BLOCK = 1_000_000  # queries times samples at a time: some twenty arrays of this size, 160 MB
_MAX_MIN_P = 0.05  # no p is given where no arrangement of the samples could give one below this
_N_ROUNDS = 8  # of weights from variances and variances from weights, until nothing moves
_N_FITS = 5  # of studies and values in turn; two suffice where they share few samples


class Samples(NamedTuple):
    """The replicates, (n_samples,) each; every code from 0 on occurs."""

    n_cells: Ints  # of the atlas that could be hits, at least 1
    value: Ints  # code of the value
    study: Ints  # code of the study; all 0: samples are independent of each other


class Enrichment(NamedTuple):
    """Results, with a row for each query and a column for each value."""

    fraction: Doubles  # weighted mean, over the samples that have the value, of the share of their cells that are hits
    background: Doubles  # the same over all other samples; NaN without any
    p: Doubles  # NaN where `min_p` is too large, or the query has no hit
    min_p: Doubles  # (n_values,) the smallest p that so many samples can give


class VarianceComponent(NamedTuple):
    """Variance of fractions between samples or between studies, in units of mean * (1 - mean)."""

    variance: Doubles  # (n_queries, 1), at least 0
    df: int  # degrees of freedom of the estimate; 0: there are none, and the variance is 0


class _Strata(NamedTuple):
    """Sums over the samples of each stratum: a study and a value that occur together."""

    weight: Doubles  # (n_queries, n_strata)
    mean: Doubles  # (n_queries, n_strata) weighted mean of the fractions
    of_study: Doubles  # (n_queries, n_strata) weight of all strata of the study
    in_value: csr_array
    in_study: csr_array


class _Contrast(NamedTuple):
    """The difference of each value from the rest: a sample contributes its weight times 1 - share, or - share."""

    share: Doubles  # (n_queries, n_values) share of the value in all weight
    mean: Doubles  # (n_queries, 1) mean of all samples: that of each value under the null hypothesis
    difference: Doubles  # (n_queries, n_values) sum of contributions; 0 is expected under the null hypothesis


def measure_enrichment(hits: NDArray[np.integer], samples: Samples, *, alternative: Alternative) -> Enrichment:
    """Test each value against all other samples, by the method of :func:`scim.tl.enrichment`.

    Variances are estimated by moments. The test statistic is skewed like sums of gamma variables (Pearson's type III).
    `hits` are counts among the cells of each sample, (n_queries, n_samples).
    """
    n_values = int(samples.value.max()) + 1
    min_p = _min_p(samples, n_values) * (2 if alternative == "two-sided" else 1)
    fraction, background, p = (np.full((len(hits), n_values), np.nan) for _ in range(3))
    step = max(1, _BLOCK // samples.n_cells.size)
    for start in range(0, len(hits), step):
        block = slice(start, start + step)
        tested = _test(hits[block] / samples.n_cells, samples, n_values, alternative)
        fraction[block], background[block], p[block] = tested
    p = np.where(min_p > _MAX_MIN_P * (1 + 1e-9), np.nan, np.maximum(p, min_p))
    # The median of a skewed tail is not 0: a difference to the other side is no evidence for this one.
    if alternative != "two-sided":
        with np.errstate(invalid="ignore"):
            wrong_side = fraction <= background if alternative == "greater" else fraction >= background
        p = np.where(wrong_side, np.maximum(p, 0.5), p)
    return Enrichment(fraction, background, p, np.minimum(min_p, 1))


def _test(f: Doubles, samples: Samples, n_values: int, alternative: Alternative) -> _Three:
    """Return fraction, background and p for a block of queries; `f` are fractions, (n_queries, n_samples)."""
    pairs, stratum = np.unique(samples.study * n_values + samples.value, return_inverse=True)
    n_studies = int(samples.study.max()) + 1
    in_stratum, in_value = indicator(stratum, pairs.size), indicator(pairs % n_values, n_values)
    in_study = indicator(pairs // n_values, n_studies)
    within = variance_within_studies(f, 1 / samples.n_cells, in_stratum @ in_value, in_stratum @ in_study)
    w = 1 / (1 / samples.n_cells + within.variance)
    weight = w @ in_stratum
    of_study = weight @ in_study @ in_study.T
    strata = _Strata(weight, (w * f) @ in_stratum / weight, of_study, in_value, in_study)
    same_mean = in_value if pairs.size - n_values >= _MIN_STUDY_DF else indicator(np.zeros(pairs.size, np.int64), 1)
    between = variance_between_studies(strata.mean, 1 / weight, same_mean, n_studies)
    weighted = weight / (1 + between.variance * of_study)
    total, hits = weighted @ in_value, (weighted * strata.mean) @ in_value
    rest_total = total.sum(axis=1, keepdims=True) - total
    rest_hits = hits.sum(axis=1, keepdims=True) - hits
    background = np.divide(rest_hits, rest_total, out=np.full_like(rest_hits, np.nan), where=rest_total > 0)
    return hits / total, background, _p_values(*_statistic(strata, within, between), alternative)


def _statistic(strata: _Strata, within: VarianceComponent, between: VarianceComponent) -> _Three:
    """Return t, its degrees of freedom and its skewness, each (n_queries, n_values)."""
    rho_b = between.variance
    contrast = _contrast(strata, rho_b)
    mu = contrast.mean
    phi = mu * (1 - mu)
    with np.errstate(invalid="ignore", divide="ignore"):  # no hit at all, or no other samples
        of_samples, of_samples3 = (_over_samples(strata, contrast, rho_b, power) for power in (2, 3))
        of_studies, of_studies3 = (_over_studies(strata, contrast, rho_b, power) for power in (2, 3))
        variance = of_samples + rho_b * of_studies
        share = rho_b * of_studies / variance
        # The variance of gamma variables is less certain than that of normal ones: excess kurtosis 6 variance / mean^2.
        of_means = rho_b + (1 / strata.weight).mean(axis=1, keepdims=True)
        lost = [1 + 3 * size * (1 - mu) / mu for size in (of_means, within.variance)]
        df = 1 / (share**2 * lost[0] / max(between.df, 1) + (1 - share) ** 2 * lost[1] / max(within.df, 1))
        t = contrast.difference / np.sqrt(variance * phi)
        third = of_samples3 + rho_b**2 * of_studies3
        skew = 2 * np.sqrt(phi) / mu * third / variance**1.5
    return np.where(variance > 1e-9, t, np.nan), df, skew


def _contrast(strata: _Strata, rho_b: Doubles) -> _Contrast:
    """Return the difference of each value from the rest, by the inverse covariance of the samples of a study.

    With weights w that is diag(w) - k w w', k = rho_b / (1 + rho_b * sum(w)).
    """
    W, mean, of_study, in_value, in_study = strata
    s = 1 / (1 + rho_b * of_study)
    value = (W * s) @ in_value
    total = value.sum(axis=1, keepdims=True)
    sums = (W * mean - rho_b * s * W * ((W * mean) @ in_study @ in_study.T)) @ in_value
    everything = (W * mean * s).sum(axis=1, keepdims=True)
    return _Contrast(value / total, everything / total, sums - value / total * everything)


def _over_samples(strata: _Strata, contrast: _Contrast, rho_b: Doubles, power: int) -> Doubles:
    """Return the sum over samples of weight * contribution^power, scaled up where a study has larger fractions."""
    W, mean, of_study, in_value, in_study = strata
    s, p = 1 / (1 + rho_b * of_study), contrast.share @ in_value.T
    rest = of_study - W
    inside = 1 - p - rho_b * s * (W - p * of_study)
    # Samples of a study with many hits differ by more: its variance follows the mean of its other samples.
    rest_mean = ((W * mean) @ in_study @ in_study.T - W * mean) / np.where(rest > 1e-9 * of_study, rest, np.inf)
    pull = rho_b * rest / (1 + rho_b * rest)
    local = np.maximum(1 - pull + pull * rest_mean / contrast.mean, 1) ** (power / 2)
    with_value = (W * inside**power + rest * (inside - 1) ** power) * local - of_study * (-p * s) ** power
    everywhere = (W * s**power).sum(axis=1, keepdims=True)  # as if no study had the value
    total: Doubles = (-contrast.share) ** power * everywhere + with_value @ in_value
    return total


def _over_studies(strata: _Strata, contrast: _Contrast, rho_b: Doubles, power: int) -> Doubles:
    """Return the sum over studies of (joint contribution of their samples)^power."""
    W, _, of_study, in_value, in_study = strata
    s, p = 1 / (1 + rho_b * of_study), contrast.share @ in_value.T
    with_value = ((W - p * of_study) * s) ** power - (-p * of_study * s) ** power
    weight = W @ in_study
    everywhere = ((weight / (1 + rho_b * weight)) ** power).sum(axis=1, keepdims=True)
    total: Doubles = (-contrast.share) ** power * everywhere + with_value @ in_value
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


def _min_p(samples: Samples, n_values: int) -> Doubles:
    """Return one over the number of ways to assign each value to samples of a study and to whole studies."""
    pairs, n_pair = np.unique(samples.study * n_values + samples.value, return_counts=True)
    study, value = pairs // n_values, pairs % n_values
    n_study = np.bincount(samples.study)[study]
    ways = np.bincount(value, _log_binomial(n_study, n_pair), n_values)
    whole = n_study == n_pair
    n_whole = np.bincount(value[whole], minlength=n_values)
    return np.exp(-ways - _log_binomial(whole.sum(), n_whole))


def _log_binomial(n: NDArray[np.integer], k: NDArray[np.integer]) -> Doubles:
    out: Doubles = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return out


def indicator(codes: NDArray[np.integer], n: int) -> csr_array:
    """Return the matrix (n_codes, n) with a 1 in the column of the code of each row; a product with it sums."""
    return sparse.csr_array((np.ones(codes.size), (np.arange(codes.size), codes)), shape=(codes.size, n))


def variance_within_studies(
    f: Doubles, sampling: Doubles, in_value: csr_array, in_study: csr_array
) -> VarianceComponent:
    """Return the variance between samples, after the effects of values and of studies are taken out.

    `f` are fractions, (n_queries, n_samples); `sampling` the variance by the number of cells, (n_samples,), in units
    of mean * (1 - mean); `in_value` and `in_study` are indicators of the samples.
    """
    df = f.shape[1] - _n_effects(in_value, in_study)
    variance, fit = np.zeros((len(f), 1)), np.zeros_like(f)
    for _ in range(_N_ROUNDS if df > 0 else 0):
        w = 1 / (sampling + variance)
        of_value, of_study = w @ in_value, w @ in_study
        for _ in range(_N_FITS):
            fit = fit + ((w * (f - fit)) @ in_study / of_study) @ in_study.T
            fit = fit + ((w * (f - fit)) @ in_value / of_value) @ in_value.T
        mean = (w * f) @ in_value / of_value
        # Leverage of each sample on the fit: near enough, and in sum the number of effects.
        leverage = w * (1 / (of_value @ in_value.T) + 1 / (of_study @ in_study.T))
        leverage *= (f.shape[1] - df) / leverage.sum(axis=1, keepdims=True)
        free = w * np.maximum(1 - leverage, 0) * ((mean * (1 - mean)) @ in_value.T)
        variance = _by_moments((w * (f - fit) ** 2).sum(axis=1, keepdims=True), free, sampling)
    return VarianceComponent(variance, max(df, 0))


def variance_between_studies(
    mean: Doubles, sampling: Doubles, in_value: csr_array, n_studies: int
) -> VarianceComponent:
    """Return the variance between studies of the same value.

    `mean` are means of strata, (n_queries, n_strata), `sampling` their variance without that of studies, and
    `in_value` their indicator, (n_strata, n_values).
    """
    variance = np.zeros((len(mean), 1))
    df = min(mean.shape[1] - in_value.shape[1], n_studies - 1)
    for _ in range(_N_ROUNDS if df > 0 else 0):
        w = 1 / (sampling + variance)
        total = w @ in_value
        centre = (w * mean) @ in_value / total
        free = w * (1 - w / (total @ in_value.T)) * ((centre * (1 - centre)) @ in_value.T)
        variance = _by_moments((w * (mean - centre @ in_value.T) ** 2).sum(axis=1, keepdims=True), free, sampling)
    return VarianceComponent(variance, max(df, 0))


def _by_moments(squares: Doubles, free: Doubles, sampling: Doubles) -> Doubles:
    """Return the variance at which weighted squares have their expectation, sum of free * (sampling + variance)."""
    scale = free.sum(axis=1, keepdims=True)
    excess = squares - (free * sampling).sum(axis=1, keepdims=True)
    variance: Doubles = np.maximum(np.divide(excess, scale, out=np.zeros_like(scale), where=scale > 0), 0)
    return variance


def _n_effects(in_value: csr_array, in_study: csr_array) -> int:
    """Return the rank of two groupings of the same rows together."""
    shared = in_value.T @ in_study
    graph = sparse.block_array([[None, shared], [shared.T, None]])
    return int(sum(shared.shape) - csgraph.connected_components(graph)[0])
