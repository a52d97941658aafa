"""Search parameters of a query, and the properties of an index."""

from __future__ import annotations

import numpy as np
import pytest

import scim

from .conftest import assert_equal, clusters, table, thorough

PARAMS = {"exact": ["recall"], "ivf": ["recall", "probe_factor", "rerank_factor"], "graph": ["recall", "ef_search"]}
GOOD = {"recall": 0.9, "probe_factor": 0.2, "rerank_factor": 2, "ef_search": 40}


def test_search_params_of_each_kind(kind, base, queries):
    index = thorough(base, kind)
    plain = index.query(queries, 5)
    for name, value in GOOD.items():
        if name in PARAMS[kind]:
            assert (index.query(queries, 5, **{name: value}).ids >= 0).all()
            assert (index.query(queries, 5, **{name: np.float32(value) if name != "ef_search" else 30}).ids >= 0).all()
            assert_equal(index.query(queries, 5, **{name: None}), plain)
            index.query_radius(queries, 0.1, **{name: value})
        else:
            match = (
                rf"Unknown parameter '{name}' of a query of an index of kind '{kind}'; it takes \['{PARAMS[kind][0]}'"
            )
            with pytest.raises(TypeError, match=match):
                index.query(queries, 5, **{name: value})
    index.append(clusters(5))
    assert index.query(queries, 5, **{PARAMS[kind][0]: GOOD[PARAMS[kind][0]]}).ids.shape == (40, 5)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"recall": 0}, ValueError, "recall must be above 0"),
        ({"recall": 1.1}, ValueError, "recall must be between 0 and 1, got 1.1"),
        ({"recall": float("nan")}, ValueError, "recall must be between 0 and 1, got nan"),
        ({"recall": "all"}, TypeError, "recall must be a number between 0 and 1, got 'all'"),
        ({"probe_factor": -1}, ValueError, "`probe_factor` must be finite and at least 0, got -1"),
        ({"probe_factor": float("inf")}, ValueError, "`probe_factor` must be finite and at least 0, got inf"),
        ({"rerank_factor": -0.5}, ValueError, "`rerank_factor` must be finite and at least 0, got -0.5"),
        ({"rerank_factor": True}, TypeError, "`rerank_factor` must be a number, got True"),
    ],
)
def test_errors_of_ivf(base, params, error, match):
    index = thorough(base, "ivf")
    with pytest.raises(error, match=match):
        index.query(base, 3, **params)
    with pytest.raises(error, match=match):
        index.query_radius(base, 0.1, **params)


def test_errors_of_graph(base):
    with pytest.raises(ValueError, match="ef_search must be at least 1, got 0"):
        thorough(base, "graph").query(base, 3, ef_search=0)


def test_bytes(kind, base):
    index = scim.index.build(base, kind=kind, rng=0)
    plain = index.nbytes
    assert (plain["ids"], plain["columns"]) == (0, 0)
    assert {"exact": "rows", "ivf": "codes", "graph": "targets"}[kind] in plain
    if kind == "exact":
        assert plain["rows"] == base.nbytes
    if kind == "ivf":
        assert (plain["codes"], plain["scales"], plain["ranks"]) == (400 * 32, 400 * 4, 400 * 4)
    other = scim.index.build(base, np.arange(400) + 1, obs=table(400), kind=kind, rng=0)
    assert other.nbytes["ids"] == 400 * 8
    assert 4 * 400 <= other.nbytes["columns"] <= 4 * 400 * 4
    other.append(base[:10], [5_000 + i for i in range(10)])
    assert other.nbytes["rows"] == plain.get("rows", 0) + 10 * 16 * 4


def test_obs_frames(kind):
    obs = table(80)
    index = scim.index.build(clusters(80), np.arange(80) * 3, obs=obs, kind=kind, rng=0)
    assert index.columns == list(obs)
    frame = index.obs([9, 0, 9, 237], ["share", "tissue"])
    assert list(frame.columns) == ["share", "tissue"]
    assert (frame.index.name, frame.index.tolist()) == ("id", [9, 0, 9, 237])
    assert frame["share"].tolist() == [obs["share"][row] for row in (3, 0, 3, 79)]
    assert index.obs([]).shape == (0, 4)
    assert index.obs(6).shape == (1, 4)
    with pytest.raises(
        KeyError, match=r"the index has no column \['other'\]. Present: \['tissue', 'share', 'age', 'ok'\]"
    ):
        index.obs([0], ["other"])
    with pytest.raises(KeyError, match="1 of 2 ids are not in the index, the first is 1"):
        index.obs([0, 1])
    with pytest.raises(TypeError, match="got float64"):
        index.obs([0.5])


def test_vectors(kind, base):
    index = scim.index.build(base * 5, np.arange(400)[::-1].copy(), kind=kind, rng=0)
    found = index.vectors([7, 399, 7])
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    np.testing.assert_allclose(found, unit[[392, 0, 392]], atol=2e-5)
    assert (found.dtype, index.vectors([]).shape) == (np.float32, (0, 16))
    with pytest.raises(KeyError, match="1 of 1 ids are not in the index, the first is 400"):
        index.vectors([400])


@pytest.mark.parametrize(
    ("obs", "error", "match"),
    [
        (["a"], TypeError, "must be a DataFrame or a mapping of names to arrays, got list"),
        ({"a": [1, 2]}, ValueError, "Column 'a' of `obs` has 2 values for 400 rows"),
    ],
)
def test_errors_of_obs(base, obs, error, match):
    with pytest.raises(error, match=match):
        scim.index.build(base, obs=obs)
    index = scim.index.build(base)
    with pytest.raises(error, match=match):
        index.append(base, obs=obs)
    assert index.n_rows == 400
