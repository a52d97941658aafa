"""Tests of samples against samples: sums in place of matrices, moments by hand, single samples and error rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scim.tl import _enrichment_contrast, _enrichment_statistics
from scim.tl._enrichment_contrast import (
    _contrast,
    _statistic,
    _strata,
    _upper_tail,
    contrast_values,
    relative_deviations,
)
from scim.tl._enrichment_statistics import Samples, _min_p, measure_enrichment
from scim.tl._enrichment_variance import Design, Groups, variance_between_studies, variance_within_studies


def samples_of(rng, n=60, n_values=4, n_studies=9):
    value, study = rng.integers(n_values, size=n), rng.integers(n_studies, size=n)
    value[:n_values], study[:n_studies] = np.arange(n_values), np.arange(n_studies)
    return Samples(np.exp(rng.uniform(3, 9, n)).astype(int), value, study, np.arange(n))


def dense_statistic(x, sampling, rho, samples, rho_b, v):
    """The same with matrices over samples."""
    same = samples.study[:, None] == samples.study
    inverse = np.linalg.inv(np.diag(sampling + rho) + rho_b * same)
    one, has = np.ones(len(x)), (samples.value == v).astype(float)
    share = (has @ inverse @ one) / (one @ inverse @ one)
    c = inverse @ (has - share)
    variance = c @ (np.diag(sampling + rho) + rho_b * same) @ c
    return c @ x / np.sqrt(variance), (c**3 * sampling * (sampling + rho)).sum() / variance**1.5


@pytest.mark.parametrize("rho_b", [0.0, 0.04, 2.0])
def test_sums_over_studies_and_values_equal_the_matrices(rho_b):
    rng = np.random.default_rng(0)
    samples = samples_of(rng)
    x, rho = rng.normal(size=(2, 60)), np.array([[0.3], [1.1]])
    sampling = 20 / samples.n_cells * np.ones((2, 1))
    strata, _ = _strata(x, sampling, rho, Design(samples.value, samples.study))
    between = np.full((2, 1), rho_b)
    t, df, skew = _statistic(strata, _contrast(strata, between), between)
    for q in range(2):
        expected = [dense_statistic(x[q], sampling[q], rho[q], samples, rho_b, v) for v in range(4)]
        np.testing.assert_allclose(np.c_[t[q], skew[q]], expected, rtol=1e-9)
    assert (df > 0).all()
    assert (df <= 48 + 8).all()


def test_relative_deviations_have_mean_zero_and_the_variance_of_counts_and_samples():
    """A million samples of gamma fractions; a hundred times the mean is less than forty standard deviations."""
    rng, n = np.random.default_rng(6), 250_000
    for expected, variance, least in ((0.3, 0.5, 0.7), (3.0, 0.5, 0.8), (300.0, 0.5, 0.95), (20.0, 0.05, 0.95)):
        hits = rng.poisson(expected * rng.gamma(1 / variance, variance, n))
        x = relative_deviations(hits, np.float64(expected), np.float64(variance))
        assert abs(x.mean()) < 0.03 * np.sqrt(1 / expected + variance)
        assert least < x.var() / (1 / expected + variance) < 1.02
    outlier = relative_deviations(np.array([30_000]), np.float64(300.0), np.float64(0.5))
    assert outlier[0] < 12 < 40 * np.sqrt(0.5)


def test_groups_by_hand():
    groups = Groups(np.array([2, 0, 2, 1]))
    assert groups.n == 3
    np.testing.assert_array_equal(groups.sum(np.array([[1.0, 2, 3, 4]])), [[2, 4, 4]])
    np.testing.assert_array_equal(groups.expand(np.array([[7.0, 8, 9]])), [[9, 7, 9, 8]])


def test_the_variance_within_studies_by_hand():
    x = np.array([[0.1, 0.2, 0.3, 0.5, 0.4, 0.9]])
    design = Design(np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, dtype=int))
    sampling = np.full((1, 6), 0.01)
    found = variance_within_studies(x, sampling, design, np.full((1, 1), 0.05))
    assert design.df_within == 4
    squares = 0.1**2 + 0 + 0.1**2 + 0.1**2 + 0.2**2 + 0.3**2
    np.testing.assert_allclose(found, [[squares / 4 - 0.01]], atol=1e-9)
    x[0, 5] = 99.0  # counts as three standard deviations, of the variance from which weights are made
    outlying = variance_within_studies(x, sampling, design, np.full((1, 1), 0.03))
    assert outlying[0, 0] < 6 * 9 * 0.04 / 4 < x.var() / 1000
    alone = Design(np.arange(6) % 2, np.arange(6))
    assert variance_within_studies(x, sampling, alone, np.ones((1, 1))) == 0


def test_the_variance_between_studies_by_hand():
    mean, sampling, start = np.array([[0.1, 0.3, 0.5, 0.7, 0.9, 1.1]]), np.full((1, 6), 0.002), np.zeros((1, 1))
    design = Design(np.array([0, 0, 0, 1, 1, 1]), np.arange(6))
    assert design.df_between == 4
    found = variance_between_studies(mean, sampling, design, start + 0.04)
    np.testing.assert_allclose(found, [[4 * 0.2**2 / 4 - 0.002]])
    np.testing.assert_array_equal(variance_between_studies(mean, sampling + 9, design, start), [[0]])
    one = Design(np.arange(6) % 2, np.zeros(6, dtype=int))
    np.testing.assert_array_equal(variance_between_studies(mean[:, :2], sampling[:, :2], one, start + 1), [[0]])


def test_effects_of_studies_and_values_are_both_taken_out():
    rng = np.random.default_rng(1)
    samples = samples_of(rng, n=200)
    x = 0.2 + 0.1 * samples.value[None] + 0.02 * samples.study
    design = Design(samples.value, samples.study)
    assert design.df_within == 200 - (4 + 9 - 1)
    assert variance_within_studies(x, np.full((1, 200), 1e-9), design, np.ones((1, 1)))[0, 0] < 1e-6


def test_simulated_variances_are_estimated():
    rng = np.random.default_rng(2)
    samples = samples_of(rng, n=3000, n_values=5, n_studies=150)
    mean, rho, rho_b = 0.02, 0.4, 0.2
    fraction = mean * rng.gamma(1 / rho_b, rho_b, (20, 150))[:, samples.study] * rng.gamma(1 / rho, rho, (20, 3000))
    hits = rng.binomial(samples.n_cells, np.minimum(fraction, 1))
    fit = contrast_values(hits, samples.n_cells, Design(samples.value, samples.study), "greater").fit
    np.testing.assert_allclose(fit.within.mean(), rho, rtol=0.2)
    np.testing.assert_allclose(fit.between.mean(), rho_b, rtol=0.25)
    np.testing.assert_allclose(fit.mean.mean(), mean, rtol=0.05)


@pytest.mark.parametrize("skew", [-2.0, -0.4, 0.0, 2e-3, 0.5, 3.0])
def test_tails_are_those_of_pearsons_third_type(skew):
    z = np.linspace(-4, 8, 25)
    np.testing.assert_allclose(_upper_tail(z, np.full(25, skew)), stats.pearson3.sf(z, skew), rtol=1e-3, atol=1e-12)


def test_no_p_is_below_what_permutations_allow():
    three = Samples(np.full(6, 100), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int), np.arange(6))
    np.testing.assert_allclose(_min_p(three, 2), 1 / 20)
    # value 0: the one whole study of four of value 0 or 2, and one of the three samples of study 4
    mixed = Samples(
        np.full(9, 100), np.array([0, 0, 2, 2, 2, 2, 0, 1, 1]), np.array([0, 0, 1, 2, 3, 3, 4, 4, 4]), np.arange(9)
    )
    np.testing.assert_allclose(_min_p(mixed, 3), [1 / (4 * 3), 1 / 3, 1 / 4])
    # without the one sample that has value 1, or the one that does not, nothing is left to compare
    single = Samples(np.full(40, 100), np.r_[1, np.zeros(39, int)], np.zeros(40, int), np.arange(40))
    np.testing.assert_array_equal(_min_p(single, 2), [1, 1])
    two_rows = Samples(np.full(40, 100), np.r_[1, 1, np.zeros(38, int)], np.zeros(40, int), np.r_[0, 0, np.arange(38)])
    np.testing.assert_array_equal(_min_p(two_rows, 2), [1, 1])


def test_three_against_three():
    samples = Samples(np.full(6, 1000), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int), np.arange(6))
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
        hits = rng.binomial(size, np.minimum(0.02 * spread, 1))
        p = contrast_values(hits, size, Design(value, study), "greater").p
        below.append([(p < limit).mean() for limit in (0.05, 0.001)])
    often = np.mean(below, axis=0)
    assert 0.03 < often[0] < 0.065, often
    assert often[1] < 0.003


def test_enriched_values_are_found_and_others_are_not():
    rng = np.random.default_rng(5)
    samples = samples_of(rng, n=150, n_values=6, n_studies=30)
    mean = np.where(samples.value == 2, 0.2, 0.05)
    hits = rng.binomial(samples.n_cells, rng.beta(3, 3 / mean - 3, size=(10, 150)))
    p = measure_enrichment(hits, samples, alternative="greater").p
    assert (p[:, 2] < 1e-3).all()
    assert (np.delete(p, 2, axis=1) > 1e-3).all()


def without(hits, samples, sample):
    """The smallest samples of which p is taken again, as a call of its own."""
    kept = samples.sample != sample
    value, study = (np.unique(codes[kept], return_inverse=True)[1] for codes in (samples.value, samples.study))
    return contrast_values(hits[:, kept], samples.n_cells[kept], Design(value, study), "greater").p


def test_p_is_at_least_half_of_that_without_any_one_sample(monkeypatch):
    """By brute force: each sample, some with rows for two values, is left out in turn."""
    for rounds in ("_N_ROUNDS", "_N_MORE_ROUNDS"):  # until the last digit, from whatever start
        monkeypatch.setattr(_enrichment_contrast, rounds, 40)
    rng = np.random.default_rng(7)
    samples = samples_of(rng, n=44, n_values=3, n_studies=6)._replace(sample=np.r_[np.arange(40), 0, 1, 2, 3])
    mean = np.where(samples.value == 1, 0.15, 0.05) * rng.gamma(3, 1 / 3, (6, 44))
    hits = rng.binomial(samples.n_cells, mean)
    hits[0, samples.sample == 5] = samples.n_cells[samples.sample == 5] * 0.9
    p_all = contrast_values(hits, samples.n_cells, Design(samples.value, samples.study), "greater").p
    largest = np.maximum.reduce([without(hits, samples, sample) for sample in range(40)])
    found = measure_enrichment(hits, samples, alternative="greater").p
    examined = (p_all <= 0.05) & (found < 0.5)
    assert examined.sum() > 4
    expected = np.maximum(np.maximum(p_all, largest / 2), _min_p(samples, 3))
    difference = np.abs(np.log(found / expected))
    assert difference[examined & (expected > 1e-5)].max() < 0.05
    # Far below any level another sample than the one with most influence on the difference may matter more.
    assert difference[examined].max() < 1


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_one_donor_of_seventy_is_no_finding(alternative):
    """One donor alone has hits, or all but one have: with all samples that is significant, without it nothing is."""
    value = np.r_[np.zeros(3, int), np.ones(3, int), np.full(64, 2)]
    samples = Samples(np.full(70, 2000), value, np.zeros(70, int), np.arange(70))
    rng = np.random.default_rng(8)
    hits = rng.binomial(2000, 0.02 * rng.gamma(20, 1 / 20, (4, 70)))
    hits[:, 0] = 1500 if alternative != "less" else hits[:, 0]
    hits[:2, 3:6] = 400 if alternative != "less" else 1
    whole = contrast_values(hits, samples.n_cells, Design(samples.value, samples.study), alternative).p
    found = measure_enrichment(hits, samples, alternative=alternative)
    if alternative != "less":
        assert (whole[:, 0] < 0.02).all()
        assert (found.p[:, 0] > 0.05).all()
    assert (found.p[:2, 1] < 1e-3).all()
    np.testing.assert_array_equal(found.n_supporting[:2, 1], 3)
