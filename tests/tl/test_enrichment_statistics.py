"""Tests of samples against samples: sums in place of matrices, moments by hand, and error rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from scim.tl import _enrichment_statistics
from scim.tl._enrichment_statistics import (
    Samples,
    VarianceComponent,
    _min_p,
    _statistic,
    _Strata,
    _upper_tail,
    indicator,
    measure_enrichment,
    variance_between_studies,
    variance_within_studies,
)


def samples_of(rng, n=60, n_values=4, n_studies=9):
    value, study = rng.integers(n_values, size=n), rng.integers(n_studies, size=n)
    value[:n_values], study[:n_studies] = np.arange(n_values), np.arange(n_studies)
    return Samples(np.exp(rng.uniform(3, 9, n)).astype(int), value, study)


def dense_statistic(f, w, samples, rho_b, v):
    """The same with matrices over samples."""
    same = samples.study[:, None] == samples.study
    inverse = np.linalg.inv(np.diag(1 / w) + rho_b * same)
    one, x = np.ones(len(f)), (samples.value == v).astype(float)
    share = (x @ inverse @ one) / (one @ inverse @ one)
    mu = (one @ inverse @ f) / (one @ inverse @ one)
    c = inverse @ (x - share)
    local = np.ones(len(f))
    for g in np.unique(samples.study):
        inside = samples.study == g
        others = inside & (x == 0)
        if (x[inside] == 1).any() and others.any():
            pull = rho_b * w[others].sum() / (1 + rho_b * w[others].sum())
            local[inside] = max(1, 1 - pull + pull * np.average(f[others], weights=w[others]) / mu)
    c_study = np.bincount(samples.study, c)
    variance = (c**2 / w * local).sum() + rho_b * (c_study**2).sum()
    third = (c**3 / w**2 * local**1.5).sum() + rho_b**2 * (c_study**3).sum()
    phi = mu * (1 - mu)
    return c @ f / np.sqrt(variance * phi), 2 * np.sqrt(phi) / mu * third / variance**1.5


@pytest.mark.parametrize("rho_b", [0.0, 0.004, 0.3])
def test_sums_over_studies_and_values_equal_the_matrices(rho_b):
    rng = np.random.default_rng(0)
    samples = samples_of(rng)
    f, rho = rng.beta(1, 9, size=(2, 60)), np.array([[0.05], [0.2]])
    w = 1 / (1 / samples.n_cells + rho)
    pairs, cell = np.unique(samples.study * 4 + samples.value, return_inverse=True)
    in_cell = indicator(cell, pairs.size)
    mean = (w * f) @ in_cell / (w @ in_cell)
    weight, in_study = w @ in_cell, indicator(pairs // 4, 9)
    cells = _Strata(weight, mean, weight @ in_study @ in_study.T, indicator(pairs % 4, 4), in_study)
    t, df, skew = _statistic(cells, VarianceComponent(rho, 40), VarianceComponent(np.full((2, 1), rho_b), 8))
    for q in range(2):
        expected = [dense_statistic(f[q], w[q], samples, rho_b, v) for v in range(4)]
        np.testing.assert_allclose(np.c_[t[q], skew[q]], expected, rtol=1e-9)
    assert (df > 0).all()
    assert (df < 48).all()


def test_the_variance_within_studies_by_hand():
    f = np.array([[0.1, 0.2, 0.3, 0.5, 0.4, 0.9]])
    value = np.array([0, 0, 0, 1, 1, 1])
    found = variance_within_studies(f, np.full(6, 0.01), indicator(value, 2), indicator(np.zeros(6, int), 1))
    squares = 0.1**2 + 0 + 0.1**2 + 0.1**2 + 0.2**2 + 0.3**2
    expected = squares / (2 * 0.2 * 0.8 + 2 * 0.6 * 0.4) - 0.01
    assert found.df == 4
    np.testing.assert_allclose(found.variance, [[expected]])


def test_the_variance_between_studies_by_hand():
    mean, sampling = np.array([[0.1, 0.3, 0.5, 0.7]]), np.full((1, 4), 0.02)
    found = variance_between_studies(mean, sampling, indicator(np.array([0, 0, 1, 1]), 2), 4)
    expected = (2 * 0.1**2 + 2 * 0.1**2) / (0.2 * 0.8 + 0.6 * 0.4) - 0.02
    assert found.df == 2
    np.testing.assert_allclose(found.variance, [[expected]])
    assert variance_between_studies(mean, sampling, indicator(np.arange(4), 4), 4) == VarianceComponent(
        np.zeros((1, 1)), 0
    )
    np.testing.assert_array_equal(
        variance_between_studies(mean, sampling + 9, indicator(np.zeros(4, int), 1), 4).variance, [[0]]
    )


def test_effects_of_studies_and_values_are_both_taken_out():
    rng = np.random.default_rng(1)
    samples = samples_of(rng, n=200)
    f = 0.2 + 0.1 * samples.value[None] + 0.02 * samples.study
    found = variance_within_studies(f, np.full(200, 1e-9), indicator(samples.value, 4), indicator(samples.study, 9))
    assert found.df == 200 - (4 + 9 - 1)
    assert found.variance[0, 0] < 1e-6


def test_simulated_variances_are_estimated():
    rng = np.random.default_rng(2)
    samples = samples_of(rng, n=3000, n_values=5, n_studies=150)
    mu, rho, rho_b = 0.1, 0.04, 0.02
    study = rng.normal(0, np.sqrt(mu * (1 - mu) * rho_b), (20, 150))[:, samples.study]
    f = mu + study + rng.normal(size=(20, 3000)) * np.sqrt(mu * (1 - mu) * (1 / samples.n_cells + rho))
    value, by_study = indicator(samples.value, 5), indicator(samples.study, 150)
    within = variance_within_studies(f, 1 / samples.n_cells, value, by_study)
    np.testing.assert_allclose(within.variance.mean(), rho, rtol=0.05)


@pytest.mark.parametrize("skew", [-2.0, -0.4, 0.0, 2e-3, 0.5, 3.0])
def test_tails_are_those_of_pearsons_third_type(skew):
    z = np.linspace(-4, 8, 25)
    np.testing.assert_allclose(_upper_tail(z, np.full(25, skew)), stats.pearson3.sf(z, skew), rtol=1e-3, atol=1e-12)


def test_no_p_is_below_what_permutations_allow():
    three = Samples(np.full(6, 100), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int))
    np.testing.assert_allclose(_min_p(three, 2), 1 / 20)
    # value 0: the one whole study of four of value 0 or 2, and one of the three samples of study 4
    mixed = Samples(np.full(9, 100), np.array([0, 0, 2, 2, 2, 2, 0, 1, 1]), np.array([0, 0, 1, 2, 3, 3, 4, 4, 4]))
    np.testing.assert_allclose(_min_p(mixed, 3), [1 / (4 * 3), 1 / 3, 1 / 4])


def test_three_against_three():
    samples = Samples(np.full(6, 1000), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int))
    hits = np.array([[500, 510, 490, 10, 11, 9], [10, 11, 9, 500, 510, 490], [0] * 6])
    found = measure_enrichment(hits, samples, alternative="greater")
    np.testing.assert_allclose(found.p[0, 0], 1 / 20)
    assert found.p[0, 1] > 0.99
    np.testing.assert_allclose(found.fraction[0], [0.5, 0.01])
    np.testing.assert_allclose(found.background[0], [0.01, 0.5])
    assert np.isnan(found.p[2]).all()
    np.testing.assert_allclose(measure_enrichment(hits, samples, alternative="less").p[1, 0], 1 / 20)
    both = measure_enrichment(hits, samples, alternative="two-sided")
    assert np.isnan(both.p).all()
    np.testing.assert_allclose(both.min_p, 0.1)


def test_the_order_of_samples_and_blocks_of_queries_do_not_matter(monkeypatch):
    rng = np.random.default_rng(3)
    samples = samples_of(rng)
    hits = rng.binomial(samples.n_cells, rng.beta(1, 9, size=(7, 60)))
    whole = measure_enrichment(hits, samples, alternative="two-sided")
    order = rng.permutation(60)
    moved = measure_enrichment(hits[:, order], Samples(*(part[order] for part in samples)), alternative="two-sided")
    monkeypatch.setattr(_enrichment_statistics, "_BLOCK", 130)
    parts = measure_enrichment(hits, samples, alternative="two-sided")
    for one, other, third in zip(whole, moved, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
        np.testing.assert_allclose(one, third, rtol=1e-9)


@pytest.mark.parametrize("nested", [False, True])
def test_the_error_rate_is_the_nominal_one(nested):
    """150 atlases without any effect, samples and studies spread: cells as replicates would be wrong in every third test."""
    rng, below = np.random.default_rng(4), []
    for _ in range(150):
        value = np.arange(20).repeat(6)
        study = value * 3 + np.arange(120) % 3 if nested else rng.permutation(120) % 25
        size = np.exp(rng.uniform(3, 6, 20)[value] + rng.uniform(0, 3, 120)).astype(int)
        spread = rng.gamma(2, 0.5, (4, 120)) * rng.gamma(2, 0.5, (4, 60))[:, study]
        p = measure_enrichment(
            rng.binomial(size, np.minimum(0.02 * spread, 1)), Samples(size, value, study), alternative="greater"
        ).p
        below.append([(p < limit).mean() for limit in (0.05, 0.001)])
    often = np.mean(below, axis=0)
    assert 0.03 < often[0] < 0.065
    assert often[1] < 0.003


def test_enriched_values_are_found_and_others_are_not():
    rng = np.random.default_rng(5)
    samples = samples_of(rng, n=150, n_values=6, n_studies=30)
    mean = np.where(samples.value == 2, 0.2, 0.05)
    hits = rng.binomial(samples.n_cells, rng.beta(3, 3 / mean - 3, size=(10, 150)))
    p = measure_enrichment(hits, samples, alternative="greater").p
    assert (p[:, 2] < 1e-3).all()
    assert (np.delete(p, 2, axis=1) > 1e-3).all()


def test_indicator_sums():
    codes = np.array([2, 0, 2])
    assert sparse.issparse(indicator(codes, 4))
    np.testing.assert_array_equal(np.ones(3) @ indicator(codes, 4), [1, 0, 2, 0])
