from __future__ import annotations

import numpy as np
import pytest

import scim


def clusters(n, dim=16, *, seed=0, n_clusters=12):
    """Rows around a few centres, of any length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    return (centres[rng.integers(n_clusters, size=n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32)


def thorough(X, kind, ids=None, **params):
    """An index that answers exactly: an inverted file that probes all lists, a graph whose view is large."""
    index = scim.index.build(X, ids, kind=kind, rng=0, **params)
    if kind == "ivf":
        index._params = {**index.params, "n_probes": len(index._centroids)}
    return index


@pytest.fixture(params=["exact", "ivf", "graph"])
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def base():
    return clusters(400)


@pytest.fixture(scope="session")
def queries():
    return clusters(40, seed=0)[:, ::-1].copy() + clusters(40, seed=1)
