"""Valid and invalid arguments of `build`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

import scim
from scim.index import _build, _make

from .conftest import clusters


def test_auto(monkeypatch):
    assert scim.index.build(clusters(300), recall=0.9).kind == "exact"
    monkeypatch.setattr(_build, "_EXACT_UP_TO", 200)
    index = scim.index.build(clusters(300), recall=0.9, n_lists=7)
    assert (index.kind, index._segments[0].engine.n_lists) == ("ivf", 7)


def test_chunks(monkeypatch):
    base, ids = clusters(50), np.random.default_rng(0).permutation(50)
    expected = scim.index.build(base, ids, kind="exact")
    monkeypatch.setattr(_make, "CHUNK", 7)
    found = scim.index.build(base, ids, kind="exact")
    np.testing.assert_array_equal(found.vectors(ids), expected.vectors(ids))
    expected = scim.index.build(base, ids, kind="ivf", rng=0, n_lists=5)
    np.testing.assert_allclose(expected.vectors(ids), found.vectors(ids), atol=1e-4)
    base[20] = np.nan
    with pytest.raises(ValueError, match="rows hold NaN or infinity, the first is row 20; leave them out"):
        scim.index.build(base, ids)


def test_the_base_is_not_changed():
    base = clusters(50)
    before = base.copy()
    index = scim.index.build(base, kind="exact")
    index.query(base, 3)
    np.testing.assert_array_equal(base, before)
    assert not index.ids.flags.writeable


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"X": np.ones((0, 3))}, ValueError, r"at least one row and one column, got shape \(0, 3\)"),
        ({"X": np.ones((3, 0))}, ValueError, r"at least one row and one column, got shape \(3, 0\)"),
        ({"X": np.ones(3)}, ValueError, r"The rows must be a matrix \(rows, dim\), got shape \(3,\)"),
        ({"X": np.ones((3, 2), int)}, TypeError, "must be float16, float32, float64, got int64"),
        ({"X": np.array([["a"]])}, TypeError, "must be float16, float32, float64, got <U1"),
        ({"X": sparse.eye_array(3).tocsr()}, TypeError, r"must be a dense array, got csr_array; pass X.toarray\(\)"),
        ({"X": np.array([[1.0], [np.inf], [np.nan]])}, ValueError, "2 of 3 rows hold NaN or infinity, .* row 1"),
        ({"ids": [1, 2]}, ValueError, "`ids` has 2 values for 3 rows; pass one id a row"),
        ({"ids": [1, 2, -1]}, ValueError, r"`ids` must not be negative \(-1 means missing\), got -1"),
        ({"ids": [5, 2, 5]}, ValueError, "`ids` must be distinct; 1 occur more than once, the first is 5"),
        ({"ids": [1.0, 2.0, 3.0]}, TypeError, "`ids` must be a one-dimensional array of integers, got float64"),
        ({"kind": "hnsw"}, ValueError, r"kind must be one of \['auto', 'exact', 'ivf', 'graph'\], got 'hnsw'"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1, got 0"),
        ({"kind": "exact", "recall": 0.9}, TypeError, "'recall' of an index of kind 'exact'; it takes none"),
        ({"lists": 3}, TypeError, r"'lists' of an index of kind 'ivf'; it takes \['recall', 'n_lists'\]"),
        ({"kind": "ivf", "recall": 1.2}, ValueError, "recall must be between 0 and 1, got 1.2"),
        ({"kind": "ivf", "n_lists": 0}, ValueError, "n_lists must be at least 1, got 0"),
    ],
)
def test_errors(change, error, match):
    arguments = {"X": np.ones((3, 2)), **change}
    with pytest.raises(error, match=match):
        scim.index.build(arguments.pop("X"), arguments.pop("ids", None), **arguments)


def test_importing_the_room_is_light():
    code = "import sys, scim.index; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pynndescent", "scipy.sparse", "sklearn", "torch", "tiledbsoma"} & set(done.stdout.split())
