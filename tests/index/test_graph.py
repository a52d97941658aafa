"""The graph: recall of walks, parts that are not linked, pynndescent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import scim
from scim.index import _graph

from .conftest import clusters
from .test_ivf import recall


@pytest.mark.parametrize("base", [clusters(1_900, 24), np.random.default_rng(0).normal(size=(1_900, 8))])
def test_recall_of_walks(base, monkeypatch):
    monkeypatch.setattr(_graph, "_LARGE", 1.0)
    queries = clusters(100, base.shape[1], seed=1)
    index = scim.index.build(base, kind="graph", rng=0)
    assert recall(index, base, queries, 20) > 0.95
    assert recall(index, base, queries, 20, allowed=np.arange(0, 1_900, 3)) > 0.95


def test_parts_that_are_not_linked():
    base = np.concatenate([np.eye(20)[[i]] + 1e-3 * clusters(90, 20, seed=i) for i in range(20)])
    index = scim.index.build(base, kind="graph", rng=0, n_neighbors=5, ef_search=60)
    found = index.query(np.eye(20), 50)
    assert (found.ids // 90 == np.arange(20)[:, None]).all()


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
    starts, targets = _graph.link(rows, neighbours)
    assert [targets[a:b].tolist() for a, b in pairwise(starts)] == [[1, 2, 3], [0], [0], [0], []]
    landmarks = _graph.landmarks_of(starts, targets, np.random.default_rng(0))
    assert {0, 4} <= set(landmarks.tolist()) or len(landmarks) == 5


@pytest.mark.slow  # pynndescent compiles for half a minute in each process
@pytest.mark.filterwarnings("default")  # warnings between pynndescent and numba are theirs to fix
def test_pynndescent_makes_the_graph_of_larger_bases():
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
