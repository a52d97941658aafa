"""Searches by centroids, and how coherent they are."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.compare import ROUNDING, assert_same_frame, assert_same_hits


@pytest.fixture(params=["model", "model_deleted"])
def both(request, trained, query, package_output, scim_output):
    folder = trained.with_name(request.param)
    return scim_output("centroids", request.param), package_output(folder, query, "centroids"), request.param


def test_centroid_queries_are_the_packages(both):
    ours, package, _ = both
    for name in ("few", "many"):
        np.testing.assert_allclose(ours[f"{name}_embedding"], package[f"{name}_embedding"], atol=ROUNDING)
        assert_same_hits(ours[f"{name}_idxs"], ours[f"{name}_dists"], package[f"{name}_idxs"], package[f"{name}_dists"])


def test_query_coherence_is_the_packages(both):
    ours, package, _ = both
    for name in ("few", "many", "far"):
        assert ours[f"{name}_coherence"]["query_coherence"] == pytest.approx(
            package[f"{name}_coherence"]["query_coherence"], abs=0.101
        )  # one of the 1,000 hits, where two are equally far
    assert package["few_coherence"]["query_coherence"] < 90


def test_cluster_queries_are_the_packages(both):
    ours, package, _ = both
    assert ours["clusters"] == package["clusters"]
    np.testing.assert_allclose(ours["clusters_embedding"], package["clusters_embedding"], atol=ROUNDING)
    assert_same_hits(ours["clusters_idxs"], ours["clusters_dists"], package["clusters_idxs"], package["clusters_dists"])
    assert_same_frame(ours["clusters_metadata"], package["clusters_metadata"], by=["centroid", "index"])


def test_cells_within_a_distance_of_a_centroid(both):
    """The package returns deleted cells too, as they are in its embeddings; an import leaves them out."""
    ours, package, name = both
    there = package["far_idxs"] % 7 != 0 if name == "model_deleted" else np.ones(len(package["far_idxs"]), bool)
    assert set(ours["far_idxs"].tolist()) == set(package["far_idxs"][there].tolist())
    np.testing.assert_allclose(ours["far_dists"], package["far_dists"][there], atol=ROUNDING)
