"""Equal cells are at distance 0 of each other, in whatever form their counts come; limits of distances are inclusive.

Reports of distances of equal rows that are not 0: nmslib/hnswlib#76, scipy/scipy#5208, nmslib/nmslib#491; that are
below 0: chroma-core/chroma#1754; of equal cells that differ by the sums of a sparse and a dense matrix:
scverse/scanpy#2244, scverse/scanpy#4251.
"""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes, imported
from scim._core.cosine import EQUAL, cosine_distances, measure, unit_rows

N = 90  # cells of the first study of the toy atlas


@pytest.fixture(scope="module")
def stored():
    """The cells of the first study of the toy atlas, whose ids are 0 to 89."""
    return fakes.cells(N, seed=2)


FORMS = {
    "csr": lambda X: X,
    "csc": lambda X: X.tocsc(),
    "dense": lambda X: X.toarray(),
    "float64": lambda X: X.astype(np.float64),
    "int64": lambda X: X.astype(np.int64),
    "genes stored in another order": lambda X: sparse.csr_matrix((X[:, ::-1].toarray())[:, ::-1]),
}


@pytest.fixture(scope="module", params=FORMS)
def cells(request, atlas_path, stored):
    """These cells in a form, embedded; in two parts, so that blocks differ too."""
    parts = []
    for rows in (slice(0, 1), slice(1, N)):
        part = anndata.AnnData(FORMS[request.param](stored.X[rows]), obs=stored.obs[rows], var=stored.var)
        scim.tl.embed(part, atlas_path)
        parts.append(part)
    adata = anndata.concat(parts)
    adata.uns["scim"] = parts[0].uns["scim"]
    return adata


def test_each_cell_is_found_at_distance_zero(atlas_path, cells):
    scim.tl.search(cells, atlas_path, k=2, max_distance=0)
    np.testing.assert_array_equal(cells.obsm["scim_search_ids"], np.stack([np.arange(N), np.full(N, -1)], axis=1))
    np.testing.assert_array_equal(cells.obsm["scim_search_distances"][:, 0], 0)
    assert not np.signbit(cells.obsm["scim_search_distances"]).any()
    with scim.atlas.open(atlas_path) as atlas:
        within = atlas.index.query_radius(cells.obsm["X_scim"], 0)
        np.testing.assert_array_equal(within.ids, np.arange(N))
        np.testing.assert_array_equal(within.starts, np.arange(N + 1))


def test_cells_of_the_atlas_are_annotated_at_distance_zero(atlas_path, cells):
    scim.tl.annotate(cells, atlas_path, max_distance=0, max_error=1.0, expression=False)
    assert cells.obs["scim_label"].notna().all()
    assert (cells.obs["scim_label_distance"] == 0).all()
    others = fakes.cells(30, seed=77)
    scim.tl.embed(others, atlas_path)
    scim.tl.annotate(others, atlas_path, max_distance=0, max_error=1.0, expression=False)
    assert others.obs["scim_label"].isna().all()


def test_limits_of_a_distance_are_inclusive(atlas_path):
    adata = fakes.cells(20, seed=5)
    scim.tl.embed(adata, atlas_path)
    scim.tl.search(adata, atlas_path, k=5)
    distances, ids = adata.obsm["scim_search_distances"], adata.obsm["scim_search_ids"]
    for i in range(3):
        one = adata[[i]].copy()
        for limit in (distances[i, 2], np.float64(distances[i, 2]), float(distances[i, 2])):
            scim.tl.search(one, atlas_path, k=5, max_distance=limit)
            np.testing.assert_array_equal(one.obsm["scim_search_ids"][0], [*ids[i, :3], -1, -1])
        nearest = distances[i, 0]
        for limit, is_labelled in ((nearest, True), (np.nextafter(nearest, np.float32(0)), False)):
            scim.tl.annotate(one, atlas_path, max_distance=float(limit), max_error=1.0, expression=False)
            assert one.obs["scim_label"].notna().iloc[0] == is_labelled


def test_a_state_of_one_cell_is_at_distance_zero_of_it(atlas_path, stored):
    one = stored[[7]].copy()
    one.X = one.X.toarray()
    one.obs["state"] = "seven"
    scim.tl.embed(one, atlas_path)
    distances = scim.tl.score_similarity(one, "state", atlas_path)["seven"]
    assert distances[distances == 0].index.tolist() == [7]
    samples = scim.tl.score_similarity(one, "state", atlas_path, sample_key="study", study_key=None, max_distance=0)
    assert dict(zip(samples["sample"], samples["share"], strict=True)) == {"one": 1 / N, "two": 0}
    least = np.float64(np.sort(distances)[3])
    samples = scim.tl.score_similarity(one, "state", atlas_path, sample_key="study", study_key=None, max_distance=least)
    assert (samples["share"] * samples["n_cells"]).sum() == 4


@pytest.mark.parametrize("kind", ["exact", "ivf", "graph"])
def test_copies_that_differ_by_rounding_are_found_once(kind):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 50))
    copies = (base * (1 + 1e-7 * rng.normal(size=base.shape))).astype(np.float32) * 3
    index = scim.index.build(np.concatenate([base.astype(np.float32), copies]), kind=kind, rng=0)
    assert (index.query(base, 2).distances == 0).all()
    np.testing.assert_array_equal(index.query(base, 2).ids, np.arange(60)[:, None] + [0, 60])
    found = index.query(base, 2, distinct=True)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(60))
    assert (found.distances[:, 1] > 0.1).all()
    assert (index.query_radius(base, 0).ids.reshape(60, 2) == np.arange(60)[:, None] + [0, 60]).all()


def test_the_search_of_the_published_package(tmp_path):
    path = imported.imported_atlas(tmp_path / "atlas.scim")
    cq = scim.scimilarity.CellQuery(path)
    X = cq.get_precomputed_embeddings(np.arange(40))
    for idxs, dists, _ in (cq.search_nearest(X, max_dist=0), cq.search_exhaustive(X, max_dist=0)):
        assert [row.tolist() for row in idxs] == [[i] for i in range(40)]
        assert all((row == 0).all() for row in dists)
    idxs, dists, _ = cq.search_exhaustive(np.zeros((2, X.shape[1])), max_dist=2)
    assert [len(row) for row in (*idxs, *dists)] == [0, 0, 0, 0]
    assert scim.scimilarity.utils.get_dist2centroid(X[0], X[:3] * [[1], [5], [0]])[0] == 0


@pytest.mark.parametrize("dim", [8, 64, 512])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_is_below_what_counts_as_equal(dim, dtype):
    X = np.random.default_rng(dim).normal(size=(2000, dim)).astype(dtype)
    rows, again = unit_rows(X, what="rows"), unit_rows(X.astype(np.float64) * 9, what="rows")
    itself = np.arange(len(X))[:, None]
    for x, y in ((rows, rows), (rows, again), (again, unit_rows(rows, what="rows"))):
        double = np.einsum("ij,ij->i", x, y, dtype=np.float64)
        assert np.abs(1 - double).max() < EQUAL / 3
        assert np.abs(1 - np.einsum("ij,ij->i", x, y)).max() < EQUAL / 2
        np.testing.assert_array_equal(measure(x, y, itself), 0)
        np.testing.assert_array_equal(np.diag(cosine_distances(x[:300] @ y[:300].T)), 0)


def test_distances_of_dots():
    dots = np.array([[1, 1 - 9e-7, 1 - 2e-6, 0], [1 + 1e-6, -1 - 1e-6, 0.5, -1]])
    expected = np.array([[0, 0, 2e-6, 1], [0, 2, 0.5, 2]], dtype=np.float32)
    for dtype in (np.float32, np.float64):
        found = cosine_distances(dots.astype(dtype))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-7)
        assert not np.signbit(found).any()
