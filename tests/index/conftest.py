from __future__ import annotations

import numpy as np
import pytest

import scim

ATOL = 2e-5  # of distances by residuals of 16 bits in a few dimensions; in 128 it is a tenth
EVERYWHERE = {"probe_factor": 1e6, "rerank_factor": 1e3}


def clusters(n, dim=16, *, seed=0, n_clusters=12):
    """Rows around a few centroids, of any length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    return (centres[rng.integers(n_clusters, size=n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32)


def thorough(X, kind, ids=None, **params):
    """An index with exact results: an inverted file that probes all lists, a graph with many candidates."""
    return look_everywhere(scim.index.build(X, ids, kind=kind, rng=0, **params))


def look_everywhere(index):
    """Make queries of an inverted file probe all lists, and re-rank all candidates."""
    for segment in index._segments:
        if segment.engine.kind == "ivf":
            segment.engine.params = {**segment.engine.params, **EVERYWHERE}
    return index


def table(n, *, seed=0):
    """Columns of every kind, some values missing, as lists that an oracle can read."""
    rng = np.random.default_rng(seed)
    tissues = np.array(["lung", "blood", "liver", None, "lung || blood"], dtype=object)
    return {
        "tissue": list(rng.choice(tissues, n)),
        "share": [int(value) for value in rng.integers(0, 1000, n)],
        "age": [None if value > 90 else float(value) for value in rng.uniform(0, 100, n).round()],
        "ok": [bool(value) for value in rng.integers(0, 2, n)],
    }


def assert_near(found, expected, *, atol=ATOL):
    """Equal up to what a 16-bit residual is exact to: where ids differ, the distances do not."""
    np.testing.assert_allclose(found.distances, expected[0], atol=atol)
    assert ((found.ids < 0) == (np.asarray(expected[1]) < 0)).all()
    assert (found.ids != expected[1]).mean() <= 0.02


def assert_equal(found, expected):
    """Equal bit for bit."""
    np.testing.assert_array_equal(found.ids, expected[1])
    np.testing.assert_array_equal(found.distances, expected[0])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of an index of each kind, with columns, appended and deleted rows."""
    path = tmp_path_factory.mktemp("saved")
    for kind in ("exact", "ivf", "graph"):
        index = scim.index.build(clusters(90), np.arange(90) * 2, obs=table(90), kind=kind, rng=0)
        index.append(clusters(20, seed=1), obs=table(20))
        index.delete([0, 2])
        index.save(path / kind)
    return path


@pytest.fixture(params=["exact", "ivf", "graph"])
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def base():
    return clusters(400)


@pytest.fixture(scope="session")
def queries():
    return clusters(40, seed=0)[:, ::-1].copy() + clusters(40, seed=1)
