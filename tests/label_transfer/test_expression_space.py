"""The distances of cells to labels, against dense matrices of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import scim
from helpers.expressed import GENES, TYPES, toy
from scim.label_transfer import CountSample, ExpressionReference

KNOWN = np.arange(4)


@pytest.fixture(scope="module")
def reference():
    """Four types in three studies, of which the third did not measure the last ten genes."""
    types = np.random.default_rng(0).integers(0, 4, 300)
    studies = np.repeat(np.array(["one", "two", "three"], object), 100)
    _, counts = toy(types)
    samples = [
        CountSample(np.arange(200), counts[:200], GENES),
        CountSample(np.arange(200, 300), counts[200:, :50], GENES[:50]),
    ]
    return ExpressionReference.of(samples, np.array(TYPES, object)[types], studies)


@pytest.fixture(scope="module")
def queries():
    return toy(np.random.default_rng(1).integers(0, 5, 25), seed=5)[1]


def positions(reference, genes=GENES):
    at = {gene: i for i, gene in enumerate(reference.genes)}
    return np.array([at.get(gene, -1) for gene in genes], np.int32)


def panel_of(reference, columns):
    labels = np.array([TYPES.index(label) for label in reference.labels])
    return reference.space.panel(columns, labels, 5)


def inverse(covariance):
    """Inverse of a covariance of which no eigenvalue is below a ten-thousandth of the largest."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / values.clip(values.max() * 1e-4)) @ vectors.T


def dense(reference, counts, columns):
    """Distances to labels, residuals over the noise, and distances to the center, with dense matrices."""
    space = reference.space
    kept = np.flatnonzero(columns >= 0)
    order = kept[np.argsort(columns[kept])]
    genes = columns[order]
    x = counts.toarray().astype(float)[:, order]
    share = reference.share[genes].sum()
    total = x.sum(axis=1, keepdims=True)
    z = (np.log1p(1e4 * share * x / np.where(total > 0, total, 1)) - space.mean[genes]) / space.sd[genes]
    W, D = space.loadings[genes], np.diag(space.noise[genes])
    fit = np.linalg.inv(W.T @ W + 0.01 * np.eye(W.shape[1]))
    s = z @ W @ fit
    error = fit @ W.T @ D @ W @ fit - space.loadings.T @ np.diag(space.noise) @ space.loadings
    covariance = space.within + space.batch + error
    metric = inverse(covariance)
    distances = np.full((len(x), 5), np.inf)
    for pair, label in enumerate(reference.labels):
        apart = s - space.centroids[pair]
        code = TYPES.index(label)
        distances[:, code] = np.minimum(distances[:, code], np.einsum("ij,jk,ik->i", apart, metric, apart))
    residual = ((z - s @ W.T) ** 2 / np.diag(D)).sum(axis=1)
    center = space.centroids.mean(axis=0)
    total_metric = inverse(covariance + np.cov(space.centroids.T, bias=True))
    to_center = np.einsum("ij,jk,ik->i", s - center, total_metric, s - center)
    return distances, residual, to_center, total[:, 0], share


@pytest.mark.parametrize("n_genes", [60, 50, 25, 5, 1])
def test_features_are_those_of_dense_matrices(reference, queries, n_genes):
    order = np.random.default_rng(2).permutation(60)[:n_genes]
    counts, columns = queries[:, order].tocsr(), positions(reference, GENES[order])
    found = panel_of(reference, columns).features(counts)
    distances, residual, to_center, total, share = dense(reference, counts, columns)
    np.testing.assert_allclose(found.distances, distances, rtol=2e-3, atol=2e-3)
    assert found.share == pytest.approx(share, rel=1e-5)
    least = distances[:, :4].min(axis=1)
    ratios = [np.sort(distances[:, :4], axis=1)[:, place] / least for place in (0, 1)]  # 3 // 4 and 3 // 2 of 0 ... 3
    expected = [least, *ratios, residual / n_genes, to_center, np.maximum(total / share, 1), np.full(25, n_genes)]
    for feature, value in zip(found.novelty.T, expected, strict=True):
        np.testing.assert_allclose(np.exp(feature), np.maximum(value, 1e-3), rtol=0.01, atol=5e-4)


def test_the_space_is_that_of_the_dense_covariance(reference):
    space = reference.space
    means, measured = reference.means.astype(float), reference.measured
    mean = np.array([means[measured[:, g], g].mean() for g in range(60)])
    between = np.where(measured, means - mean, 0)
    of_gene = (between**2).sum(axis=0) / measured.sum(axis=0)
    factor = reference.factor.astype(float)
    variance = of_gene + (factor**2).sum(axis=0) + reference.noise
    sd = np.sqrt(variance) / np.sqrt(of_gene / variance)
    np.testing.assert_allclose(space.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(space.sd, sd, rtol=1e-5)
    rows = np.vstack([between / sd / np.sqrt(len(means)), factor / sd])
    leading = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :50]
    np.testing.assert_allclose(space.loadings @ space.loadings.T, leading @ leading.T, atol=0.02)
    np.testing.assert_allclose(space.loadings.T @ space.loadings, np.eye(50), atol=1e-4)
    # the covariance within labels, as seen in the components
    within = (factor.T @ factor + np.diag(reference.noise)) / np.outer(sd, sd)
    np.testing.assert_allclose(space.within, space.loadings.T @ within @ space.loadings, rtol=1e-4, atol=1e-6)
    centroid = np.linalg.solve(1.01 * np.eye(50), space.loadings.T @ (between / sd)[0])
    np.testing.assert_allclose(space.centroids[0], centroid, rtol=1e-3, atol=1e-5)
    labels = reference.labels
    batch = np.mean([np.cov(space.centroids[labels == label].T) for label in np.unique(labels)], axis=0)
    np.testing.assert_allclose(space.batch, batch, rtol=1e-6, atol=1e-9)


def test_the_nearest_label_is_the_type(reference):
    types = np.random.default_rng(3).integers(0, 4, 80)
    columns = positions(reference)
    found = panel_of(reference, columns).features(toy(types, seed=8)[1])
    assert (found.distances.argmin(axis=1) == types).mean() > 0.95
    assert np.isinf(found.distances[:, 4]).all()
    novel = panel_of(reference, columns).features(toy(np.full(80, 4), seed=8)[1])
    assert np.median(novel.novelty[:, 0]) > np.quantile(found.novelty[:, 0], 0.9)
    assert np.median(novel.novelty[:, 3]) > np.quantile(found.novelty[:, 3], 0.9)


def test_fewer_genes_have_a_larger_error(reference):
    covariances = []
    for n_genes in (60, 56, 52):  # of fewer genes than components the scores are drawn to 0
        whitening = panel_of(reference, positions(reference)[:n_genes]).whitening
        covariances.append(np.trace(np.linalg.inv(whitening @ whitening.T)))
    assert covariances[0] < covariances[1] < covariances[2]


def test_permuted_cells_and_columns_give_permuted_results(reference, queries):
    columns = positions(reference)
    plain = panel_of(reference, columns).features(queries)
    cells, genes = np.random.default_rng(0).permutation(25), np.random.default_rng(1).permutation(60)
    moved = queries[cells][:, genes].tocsr()
    found = panel_of(reference, columns[genes]).features(moved)
    np.testing.assert_allclose(found.distances, plain.distances[cells], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.novelty, plain.novelty[cells], rtol=1e-3, atol=1e-3)


def test_other_genes_and_cells_without_counts(reference, queries):
    columns = positions(reference)
    plain = panel_of(reference, columns).features(queries)
    more = sparse.hstack([np.full((25, 2), 9, np.float32), queries], format="csr")
    found = panel_of(reference, np.append([-1, -1], columns).astype(np.int32)).features(more)
    np.testing.assert_array_equal(found.distances, plain.distances)
    empty = panel_of(reference, columns).features(sparse.csr_matrix((3, 60), dtype=np.float32))
    assert np.isfinite(empty.novelty).all()
    assert empty.novelty[0, 5] == 0  # log of one count
    none = panel_of(reference, columns).features(queries[:0])
    assert none.distances.shape == (0, 5)
    assert none.novelty.shape == (0, 7)


def test_the_number_of_threads_does_not_matter(reference, queries, monkeypatch):
    columns = positions(reference)
    found = []
    for n_threads in (1, 2):
        monkeypatch.setattr(scim.settings, "n_threads", n_threads)
        found.append(panel_of(reference, columns).features(queries))
    np.testing.assert_array_equal(found[0].distances, found[1].distances)
    np.testing.assert_array_equal(found[0].novelty, found[1].novelty)


def test_one_label_of_one_study():
    _, counts = toy(np.zeros(40, int))
    labels, studies = np.full(40, "T cell", object), np.full(40, "one", object)
    found = ExpressionReference.of([CountSample(np.arange(40), counts, GENES)], labels, studies, GENES)
    columns = positions(found)
    features = found.space.panel(columns, np.zeros(1, int), 1).features(counts)
    assert features.distances.shape == (40, 1)
    assert np.isfinite(features.distances).all()
    assert np.isfinite(features.novelty).all()
    np.testing.assert_array_equal(features.novelty[:, 1:3], 0)  # the one label is the nearest and the median
