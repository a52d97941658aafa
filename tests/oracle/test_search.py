"""Neighbours and their metadata: nearest, within a distance, by sample."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import tiledb

import scim
from oracle.compare import ROUNDING, assert_same_frame, assert_same_hits

K = 50


def exact(embedded, queries, k=K):
    """Return the distances of the k nearest by brute force in double precision, (n, k), and all distances."""
    every = 1 - queries.astype(float) @ embedded.astype(float).T
    return np.sort(every, axis=1)[:, :k], every


def recall(idxs, every, k=K):
    """Return the share of the k nearest that was found; equally far counts as found."""
    limit = np.sort(every, axis=1)[:, k - 1] + ROUNDING
    found = np.take_along_axis(every, np.asarray(idxs)[:, :k].astype(int), axis=1) <= limit[:, None]
    return float(found.mean())


@pytest.fixture
def embedded(trained):
    with tiledb.open(str(trained / "cellsearch" / "cell_embedding")) as array:
        return array[:]["data"]


def test_recall_is_at_least_the_packages(trained, query, package_output, imported, embedded):
    package = package_output(trained, query, "search")
    _, every = exact(embedded, package["queries"])
    with scim.atlas.open(imported()) as atlas:
        ours = atlas.index.query(package["queries"], K)
    theirs = recall(package["nearest_idxs"], every)
    assert recall(ours.ids, every) >= theirs
    assert theirs > 0.9  # otherwise the comparison would be weak


@pytest.fixture
def large(imported, tmp_path):
    """The atlas with the index that a large one gets."""
    path = tmp_path / "large.scim"
    shutil.copytree(imported(), path)
    with scim.atlas.open(path, "w") as atlas:
        atlas.build_index(kind="ivf")
    return path


def test_recall_of_the_classes_on_a_large_index_is_at_least_the_packages(
    trained, query, package_output, large, embedded
):
    from scim.scimilarity import CellQuery

    X = package_output(trained, query, "embed")["embeddings"]
    package = package_output(trained, query, "search")
    theirs = recall(package["nearest_idxs"], exact(embedded, package["queries"])[1])
    idxs, _, _ = CellQuery(str(large)).search_nearest(X, k=K)
    assert recall(np.vstack(idxs), exact(embedded, X)[1]) >= theirs


def test_nearest_cells_are_the_packages(trained, query, package_output, scim_output):
    package, ours = package_output(trained, query, "search"), scim_output("search")
    assert_same_hits(ours["nearest_idxs"], ours["nearest_dists"], package["nearest_idxs"], package["nearest_dists"])
    np.testing.assert_allclose(ours["precomputed"], package["precomputed"], atol=ROUNDING)
    both = same_rows(ours, package)
    key = ["embedding_idx", "index"]
    assert_same_frame(ours["nearest_metadata"][both], package["nearest_metadata"][both], by=key)
    assert_same_frame(ours["cell_index"], package["cell_index"], by=key)


def same_rows(ours, package):
    """Return which rows of the two frames are of the same cell, nearly all."""
    same = ours["nearest_metadata"]["index"].to_numpy() == package["nearest_metadata"]["index"].to_numpy()
    assert same.mean() > 0.98
    return same


def test_summaries_by_sample_are_the_packages(trained, query, package_output, imported):
    """Of the package's own neighbours: numbers of cells, shares and totals, all equal."""
    from scim.scimilarity import CellQuery

    package = package_output(trained, query, "search")
    model = CellQuery(str(imported()))
    idxs = list(package["nearest_idxs"].astype(np.int64))
    for name, levels in (("samples", ["study", "sample", "tissue", "disease"]), ("samples_by_study", ["study"])):
        ours, theirs = model.compile_sample_metadata(idxs, levels=levels), package[name]
        counts = [column for column in ("cells", "total", "fraction") if column in theirs]
        assert list(ours.columns) == list(theirs.columns)
        ours, theirs = (in_one_order(frame, [*levels, *counts]) for frame in (ours, theirs))
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-12)


def in_one_order(frame, columns):
    """Return the rows of all queries, missing values in words, in the order of their values."""
    return frame.fillna({"disease": "NA"}).sort_values(columns).reset_index(drop=True)


def test_deleted_cells_are_found_by_neither(trained, query, package_output, scim_output):
    package = package_output(trained.with_name("model_deleted"), query, "search")
    ours = scim_output("search", "model_deleted")
    assert_same_hits(ours["nearest_idxs"], ours["nearest_dists"], package["nearest_idxs"], package["nearest_dists"])
    for found in (ours, package):
        assert not (found["nearest_idxs"] % 7 == 0).any()


def test_everything_within_a_distance_is_the_packages(trained, query, package_output, scim_output):
    package, ours = package_output(trained, query, "exhaustive"), scim_output("exhaustive")
    for name in ("all", "one", "two"):
        np.testing.assert_array_equal(ours[f"{name}_sizes"], package[f"{name}_sizes"])
        np.testing.assert_allclose(ours[f"{name}_dists"], package[f"{name}_dists"], atol=ROUNDING)
        of = np.repeat(np.arange(len(package[f"{name}_sizes"])), package[f"{name}_sizes"])
        pairs = [set(zip(of, found[f"{name}_idxs"].astype(int), strict=True)) for found in (ours, package)]
        assert pairs[0] == pairs[1]
        assert_same_frame(ours[f"{name}_metadata"], package[f"{name}_metadata"], by=["embedding_idx", "index"])
    assert package["two_sizes"].sum() < package["all_sizes"].sum()


def test_an_index_of_tiledb_gives_the_same_atlas(trained, query, package_output, imported, embedded):
    """A folder that tiledb-vector-search wrote, and that has no other embeddings."""
    assert not (trained.with_name("model_vectors") / "cellsearch" / "cell_embedding").exists()
    package = package_output(trained.with_name("model_vectors"), query, "search", "tiledb_vector_search")
    with scim.atlas.open(imported("model_vectors")) as atlas:
        np.testing.assert_allclose(atlas.embeddings(range(atlas.n_obs)), embedded, atol=ROUNDING)
        ours = atlas.index.query(package["queries"], K)
    _, every = exact(embedded, package["queries"])
    assert recall(ours.ids, every) >= recall(package["nearest_idxs"], every)
