"""The inverted file: recall, probing on, lists of any size."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import oracles
from scim.index._kmeans import kmeans
from scim.index._recall import points_of, probes_for

from .conftest import clusters, thorough


def recall(index, base, queries, k, **options):
    found = index.query(queries, k, **options).ids
    true = scim.index.build(base, kind="exact").query(queries, k, **options).ids
    return np.mean([len(np.intersect1d(f, t)) for f, t in zip(found, true, strict=True)]) / k


@pytest.fixture(scope="module", params=["clusters", "uniform", "skewed"])
def rows(request):
    if request.param == "clusters":
        return clusters(6_000, 24, n_clusters=50)
    if request.param == "uniform":
        return np.random.default_rng(0).normal(size=(6_000, 16)).astype(np.float32)
    return np.concatenate([clusters(5_500, 24, n_clusters=1), clusters(500, 24, n_clusters=100, seed=1)])


def test_recall_that_was_asked_for(rows):
    base, queries = rows[::2], rows[1::20]
    index = scim.index.build(base, kind="ivf", rng=0, recall=0.95)
    assert recall(index, base, queries, 50) > 0.94
    assert recall(index, base, queries, 50, allowed=np.arange(0, 3_000, 3)) > 0.9
    assert recall(index, base, queries[:20], 300) > 0.9


def test_curve_says_what_was_measured():
    index = scim.index.build(clusters(3_000), kind="ivf", rng=0, recall=0.9)
    curve = index.params["curve"]
    assert index.params["recall"] == 0.9
    assert 1 <= index.params["n_probes"] <= curve["n_probes"][-1]
    assert curve["n_probes"][:3] == [1, 2, 4]
    assert (np.diff(curve["recall"]) >= 0).all()
    assert curve["recall"][-1] == 1
    assert index.params["n_probes"] <= scim.index.build(clusters(3_000), kind="ivf", rng=0).params["n_probes"]


def test_probes_for():
    curve = np.array([0.5, 0.9, 0.95, 1.0, 1.0])
    assert [probes_for(curve, recall) for recall in (0.1, 0.9, 0.91, 1)] == [1, 2, 3, 4]
    assert points_of(curve) == {"n_probes": [1, 2, 4, 5], "recall": [0.5, 0.9, 1, 1]}


def test_probing_goes_on_until_there_are_enough():
    base = clusters(1_000)
    index = scim.index.build(base, kind="ivf", rng=0, n_lists=100)
    index._params = {**index.params, "n_probes": 1}
    found = index.query(base[:20], 500)
    assert all(len(set(row)) == 500 for row in found.ids)
    allowed = np.arange(0, 1_000, 9)
    found = index.query(base[:20], 112, allowed=allowed)
    np.testing.assert_array_equal(np.sort(found.ids[:, :112], axis=1), np.tile(allowed, (20, 1)))


@pytest.mark.parametrize(("n", "n_lists"), [(5, 40), (40, 40), (300, 1), (300, 299)])
def test_numbers_of_lists(n, n_lists):
    base = clusters(n)
    index = thorough(base, "ivf", n_lists=n_lists)
    found = index.query(base, 4)
    np.testing.assert_array_equal(found.ids, oracles.neighbors(base, base, 4)[1])


def test_empty_lists():
    base = np.repeat(clusters(3), 50, axis=0)  # three places for ten lists
    index = thorough(base, "ivf", n_lists=10)
    assert (np.diff(index._lists.starts) == 0).sum() == 7
    np.testing.assert_array_equal(index.query(base[:2], 60).ids, oracles.neighbors(base[:2], base, 60)[1])


def test_kmeans_finds_separate_clusters():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    rows = oracles.unit(np.eye(4, 10)[truth] + 0.05 * rng.normal(size=(200, 10)))
    centroids = kmeans(rows, 4, np.random.default_rng(3))
    labels = (rows @ centroids.T).argmax(axis=1)
    assert len({(a, b) for a, b in zip(truth, labels, strict=True)}) == 4
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-6)
