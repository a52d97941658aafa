"""The inverted file: target recall, lists of any number and size, search parameters."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import oracles
from scim.index.ivf._calibrate import point_for
from scim.index.ivf._kmeans import Tree, assign, kmeans, train

from .conftest import EVERYWHERE, assert_near, clusters, thorough


def recall(index, base, queries, k, **options):
    found = index.query(queries, k, **options).ids
    options = {name: value for name, value in options.items() if name == "allowed"}
    true = scim.index.build(base, kind="exact").query(queries, k, **options).ids
    return np.mean([len(np.intersect1d(f, t)) for f, t in zip(found, true, strict=True)]) / k


@pytest.fixture(scope="module", params=["clusters", "uniform", "skewed"])
def rows(request):
    if request.param == "clusters":
        return clusters(6_000, 24, n_clusters=50)
    if request.param == "uniform":
        return np.random.default_rng(0).normal(size=(6_000, 16)).astype(np.float32)
    return np.concatenate([clusters(5_500, 24, n_clusters=1), clusters(500, 24, n_clusters=100, seed=1)])


@pytest.fixture(scope="module")
def built(rows):
    queries = rows[1::30]
    return rows[::2], queries, scim.index.build(rows[::2], kind="ivf", rng=0, recall=0.95)


@pytest.mark.parametrize("wanted", [None, 0.8, 0.95, 0.99])
def test_recall_reaches_the_target(built, wanted):
    base, queries, index = built
    assert len(queries) == 200
    assert recall(index, base, queries, 50, recall=wanted) >= (wanted or 0.95) - 0.02


@pytest.mark.parametrize("step", [2, 10, 100])
def test_recall_among_some(built, step):
    base, queries, index = built
    k = min(50, 3_000 // step)
    assert recall(index, base, queries, k, allowed=np.arange(0, 3_000, step)) >= 0.93


def test_recall_of_other_k(built):
    base, queries, index = built
    assert recall(index, base, queries, 5) >= 0.92
    assert recall(index, base, queries, 500) >= 0.92


def test_larger_factors_are_better(built):
    base, queries, index = built
    near, far = (recall(index, base, queries, 50, probe_factor=factor) for factor in (0, 0.5))
    assert near < far
    assert recall(index, base, queries, 50, **EVERYWHERE) == 1
    assert recall(index, base, queries, 50, probe_factor=1e6, rerank_factor=0) <= recall(
        index, base, queries, 50, probe_factor=1e6, rerank_factor=5
    )


def test_the_recall_curve_is_the_measured_one():
    base = clusters(3_000)
    index = scim.index.build(base, kind="ivf", rng=0, recall=0.9)
    params, curve = index.params, index.params["curve"]
    assert params["recall"] == 0.9
    assert {name: params[name] for name in ("probe_factor", "rerank_factor")} in [
        {name: point[name] for name in ("probe_factor", "rerank_factor")} for point in curve
    ]
    assert (np.diff([point["recall"] for point in curve]) > 0).all()
    assert curve[-1]["recall"] > 0.99
    assert scim.index.build(base, kind="ivf", rng=0).params["n_scanned"] >= params["n_scanned"]


def test_point_for():
    curve = [{"recall": recall, "probe_factor": factor} for factor, recall in enumerate([0.5, 0.93, 0.97, 1.0])]
    assert [point_for(curve, recall)["probe_factor"] for recall in (0.1, 0.9, 0.95, 0.999, 1)] == [0, 1, 2, 3, 3]
    assert point_for(curve[:1], 0.99)["probe_factor"] == 0


def test_search_continues_until_k_rows_are_found():
    base = clusters(1_000)
    index = scim.index.build(base, kind="ivf", rng=0, n_lists=100)
    found = index.query(base[:20], 500, probe_factor=0, rerank_factor=0)
    assert all(len(set(row)) == 500 for row in found.ids)
    allowed = np.arange(0, 1_000, 9)
    found = index.query(base[:20], 112, allowed=allowed, probe_factor=0, rerank_factor=0)
    np.testing.assert_array_equal(np.sort(found.ids[:, :112], axis=1), np.tile(allowed, (20, 1)))


@pytest.mark.parametrize(("n", "n_lists"), [(5, 40), (40, 40), (300, 1), (300, 299), (1_500, 700)])
def test_numbers_of_lists(n, n_lists):
    base = clusters(n)
    found = thorough(base, "ivf", n_lists=n_lists).query(base[:300], 4)
    assert_near(found, oracles.neighbors(base[:300], base, 4))


def test_empty_lists():
    base = np.repeat(clusters(3), 50, axis=0)  # three distinct positions for ten lists
    index = thorough(base, "ivf", n_lists=10)
    assert (np.diff(index._segments[0].engine._rows.starts) == 0).any()
    np.testing.assert_array_equal(index.query(base[:2], 60).ids, oracles.neighbors(base[:2], base, 60)[1])
    allowed = np.arange(0, 150, 7)
    expected = oracles.neighbors(base[:2], base, 9, allowed=allowed)
    np.testing.assert_array_equal(index.query(base[:2], 9, allowed=allowed).ids, expected[1])


def test_rows_of_zeros_are_a_list_that_is_never_probed():
    base = clusters(400)
    base[::3] = 0
    index = thorough(base, "ivf")
    (segment,) = index._segments
    n, row_filter = segment.compile_filter(None, None)
    assert (n, row_filter.starts[-1]) == (266, 266)
    assert row_filter.mask.size == row_filter.offsets.size == 0  # lists pass whole: nothing is tested row by row
    plain = thorough(base[base.any(axis=1)], "ivf", np.flatnonzero(base.any(axis=1)))
    assert index.params["curve"][-1]["recall"] > 0.99
    np.testing.assert_array_equal(index.query(base[1::3], 9).ids, plain.query(base[1::3], 9).ids)


def test_equal_rows_coded_apart_are_at_distance_zero():
    # One of two equal rows is coded in its list, the other appended as it is; residuals are large in few lists.
    base = np.random.default_rng(0).normal(size=(300, 512)).astype(np.float32)
    index = thorough(base, "ivf", n_lists=2)
    index.append(base)
    found = index.query(base, 3)
    assert (found.distances[:, :2] == 0).all()
    np.testing.assert_array_equal(found.ids[:, :2], np.arange(300)[:, None] + [0, 300])
    assert (found.distances[:, 2] > 0.5).all()


def test_as_many_neighbours_as_rows_of_few_dimensions():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(120_000, 4)).astype(np.float32)  # large enough to test int32 and the workspace
    index = scim.index.build(base, kind="ivf", rng=0, recall=0.5, n_lists=60)
    found = index.query(base[:1], 100_000)
    expected = np.sort(oracles.cosine_distances(base[:1], base)[0])[:100_000]
    assert len(np.unique(found.ids)) == 100_000
    np.testing.assert_allclose(found.distances[0], expected, atol=1e-4)


def test_kmeans_finds_separate_clusters():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    rows = oracles.unit(np.eye(4, 10)[truth] + 0.05 * rng.normal(size=(200, 10)))
    centroids = kmeans(rows, 4, np.random.default_rng(3))
    labels = (rows @ centroids.T).argmax(axis=1)
    assert len({(a, b) for a, b in zip(truth, labels, strict=True)}) == 4
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-6)


def test_two_levels_of_centroids_keep_the_recall():
    rows = oracles.unit(clusters(3_000, 24, n_clusters=40))
    tree = train(rows, 600, np.random.default_rng(0))
    assert tree.centroids.shape == (600, 24)
    assert (len(tree.parents) > 1, tree.starts[0], tree.starts[-1]) == (True, 0, 600)
    np.testing.assert_allclose(np.linalg.norm(tree.centroids, axis=1), 1, rtol=1e-5)
    labels, best = assign(rows, tree)
    np.testing.assert_allclose(best, np.einsum("ij,ij->i", rows, tree.centroids[labels]), atol=1e-5)
    all_at_once = Tree(np.zeros((1, 24), np.float32), tree.centroids, np.array([0, 600]))
    assert (labels == assign(rows, all_at_once)[0]).mean() > 0.9
