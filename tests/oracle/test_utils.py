"""The small functions that the package's tutorials use."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def both(trained, query, package_output, scim_output):
    return scim_output("utils"), package_output(trained, query, "utils")


def dense(value):
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


@pytest.mark.parametrize("name", ["aligned", "centroid", "centroids", "consolidated", "bulk"])
def test_matrices_are_the_packages(name, both):
    ours, package = both
    np.testing.assert_allclose(dense(ours[name]), package[name], rtol=1e-6)
    assert np.count_nonzero(package[name])


def test_the_same_cells_pass_and_the_same_clusters_are_there(both):
    ours, package = both
    assert ours["kept"] == package["kept"]
    assert 0 < len(package["kept"]) < 400
    assert ours["clusters"] == package["clusters"]
