"""The graph: recall of walks, parts that are not linked, pynndescent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import scim
from scim.index.graph import _engine, _links

from .conftest import clusters
from .test_ivf import recall


@pytest.fixture
def walks(monkeypatch):
    """Walk in small bases too, where all rows would be measured."""
    monkeypatch.setattr(_engine, "_LARGE", 1.0)


@pytest.mark.parametrize("base", [clusters(1_900, 24), np.random.default_rng(0).normal(size=(1_900, 8))])
@pytest.mark.usefixtures("walks")
def test_recall_of_walks(base):
    queries = clusters(100, base.shape[1], seed=1)
    index = scim.index.build(base, kind="graph", rng=0, ef_search=128)
    assert recall(index, base, queries, 20) > 0.95
    assert recall(index, base, queries, 20, allowed=np.arange(0, 1_900, 3)) > 0.95


@pytest.mark.usefixtures("walks")
def test_parts_that_are_not_linked():
    base = np.concatenate([np.eye(20)[[i]] + 1e-3 * clusters(90, 20, seed=i) for i in range(20)])
    index = scim.index.build(base, kind="graph", rng=0, n_neighbors=5, ef_search=60)
    found = index.query(np.eye(20), 50)
    assert (found.ids // 90 == np.arange(20)[:, None]).all()


@pytest.mark.usefixtures("walks")
def test_short_results_of_a_walk_are_completed_by_exact_search():
    # Every third row is allowed, but none near the query: the walk visits no allowed row.
    base = np.concatenate([clusters(1_200, 12, n_clusters=1), -clusters(600, 12, n_clusters=1)])
    index = scim.index.build(base, kind="graph", rng=0, ef_search=30)
    allowed = np.arange(1_200, 1_800)
    expected = scim.index.build(base, kind="exact").query(base[:30], 25, allowed=allowed)
    found = index.query(base[:30], 25, allowed=allowed)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_links_go_both_ways_and_are_limited():
    rows = np.eye(1, 4).repeat(5, axis=0).astype(np.float32)
    neighbours = np.array([[0, 1], [1, 0], [2, 0], [3, 0], [4, -1]])
    starts, targets = _links.link(rows, neighbours)
    assert [targets[a:b].tolist() for a, b in pairwise(starts)] == [[1, 2, 3], [0], [0], [0], []]
    landmarks = _links.landmarks_of(starts, targets, np.random.default_rng(0))
    assert {0, 4} <= set(landmarks.tolist()) or len(landmarks) == 5


@pytest.mark.usefixtures("walks")
def test_candidates_are_calibrated_for_a_recall():
    base, queries = np.random.default_rng(0).normal(size=(3_000, 12)), clusters(200, 12, seed=5)
    index = scim.index.build(base, kind="graph", rng=0, recall=0.9)
    curve = index.params["curve"]
    assert [point["recall"] for point in curve] == sorted(point["recall"] for point in curve)
    assert [point["ef_search"] for point in curve] == sorted(point["ef_search"] for point in curve)
    assert (curve[-1]["recall"], curve[-1]["ef_search"], curve[-1]["n_measured"]) == (1, 3_000, 3_000)
    assert (index.params["recall"], index.params["ef_search"]) == (0.9, curve[0]["ef_search"])
    # The rows of the sample were held out: queries that are no rows find as large a share.
    even = np.random.default_rng(1).normal(size=(300, 12))
    assert abs(recall(index, base, even, 50) - curve[0]["recall"]) < 0.02
    assert recall(index, base, queries, 50, recall=0.999) > 0.99
    assert recall(index, base, queries, 50, recall=1) == 1


def test_the_parameters_of_a_graph_survive(tmp_path):
    base = clusters(300)
    fixed = scim.index.build(base, kind="graph", rng=0, ef_search=40, n_neighbors=9)
    assert fixed.params == {"n_neighbors": 9, "ef_search": 40}
    with pytest.raises(ValueError, match="built with ef_search=, and no recall was measured"):
        fixed.query(base, 3, recall=0.9)
    fixed.compact(rng=0)
    assert fixed.params == {"n_neighbors": 9, "ef_search": 40}
    measured = scim.index.build(base, kind="graph", rng=0, recall=0.8)
    measured.delete(np.arange(30))
    measured.compact(rng=0)
    assert (measured.params["recall"], measured.params["ef_search"]) == (0.8, 270)
    measured.save(tmp_path / "index")
    assert scim.index.open(tmp_path / "index").params == measured.params
    with pytest.raises(ValueError, match="Pass recall= or ef_search=, not both"):
        scim.index.build(base, kind="graph", recall=0.9, ef_search=40)


@pytest.mark.slow  # pynndescent compiles for half a minute in each process
@pytest.mark.filterwarnings("default")  # warnings between pynndescent and numba are theirs to fix
def test_pynndescent_makes_the_graph_of_larger_bases(monkeypatch):
    monkeypatch.setattr(_links, "_EXACT_UP_TO", 0)
    base = clusters(2_500, 16)
    base[[5, 700]] = 0
    base[1_000:1_100] = base[1_000]
    one, two = (scim.index.build(base, kind="graph", rng=3, n_threads=n) for n in (1, 2))
    for name, array in one._segments[0].engine.arrays().items():
        np.testing.assert_array_equal(array, two._segments[0].engine.arrays()[name])
    assert recall(one, base, clusters(100, 16, seed=1), 20) > 0.95


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="n_neighbors must be at least 1, got 0"):
        scim.index.build(clusters(10), kind="graph", n_neighbors=0)
    with pytest.raises(TypeError, match=r"ef_search must be a whole number, got 1.5"):
        scim.index.build(clusters(10), kind="graph", ef_search=1.5)
