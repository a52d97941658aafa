"""An index with inverted lists may miss neighbours, and does not store all columns."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import imported
from scim.scimilarity import CellAnnotation, CellQuery

N = 210

ROUNDED = 1e-5
"""An index of lists keeps 16 bits a number; where it has few rows, lists are wide."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The atlas of the other tests with an index of lists."""
    out = imported.imported_atlas(tmp_path_factory.mktemp("lists") / "atlas.scim")
    with scim.atlas.open(out, "w") as atlas:
        atlas.build_index(kind="ivf")
    return out


def test_all_cells_within_a_distance(path, embedded):
    cq = CellQuery(path)
    assert cq.knn.kind == "ivf"
    distances = 1 - embedded @ cq.atlas.embeddings()[:N].T
    for max_dist in (0.1, 0.2, 0.6):
        for search in (cq.search_exhaustive(embedded, max_dist), cq.search_nearest(embedded, max_dist=max_dist)):
            for found, own, true in zip(*search[:2], distances, strict=True):
                assert set(np.flatnonzero(true <= max_dist - ROUNDED)) <= set(found)
                assert set(found) <= set(np.flatnonzero(true <= max_dist + ROUNDED))
                np.testing.assert_allclose(own, true[found], atol=ROUNDED)


def test_neighbours_of_a_large_ef(path, embedded, source):
    ca = CellAnnotation(path)
    inside = np.flatnonzero(source.obs["in_annotation"])
    distances = 1 - embedded @ ca.atlas.embeddings()[inside].T
    _, found = ca.get_nearest_neighbors(embedded, k=20, ef=400)
    np.testing.assert_allclose(found, np.sort(distances, axis=1)[:, :20], atol=ROUNDED)


def test_columns_that_the_index_does_not_keep(path, embedded, source, monkeypatch):
    monkeypatch.setattr("scim.atlas._index.MOST_VALUES", 2)
    with scim.atlas.open(path, "w") as atlas:
        atlas.build_index()
        assert not atlas.indexes(["study"])
    cq, studies = CellQuery(path), source.obs["study"].to_numpy()
    idxs, _, metadata = cq.search_nearest(embedded[:3], k=9)
    assert metadata["study"].tolist() == studies[np.concatenate(idxs)].tolist()
    found = cq.search_exhaustive(embedded[:1], 2.0, {"study": "study1"})
    assert sorted(found[0][0]) == np.flatnonzero(studies[:N] == "study1").tolist()
    assert cq.cell_metadata["study"].tolist() == studies[:N].tolist()
    assert cq.compile_sample_metadata(idxs)["cells"].sum() == 27


def test_cells_that_were_appended_are_not_the_packages(tmp_path, embedded):
    path = imported.imported_atlas(tmp_path / "atlas.scim")
    before = CellQuery(path).search_nearest(embedded, k=5)[0]
    labelled = CellAnnotation(path).get_predictions_knn(embedded)[0]
    more = scim.datasets.toy(60, rng=8)  # the very cells of the query
    with scim.atlas.open(path, "w") as atlas:
        atlas.append(more, study="mine", label_key="cell_type")
    np.testing.assert_array_equal(CellQuery(path).search_nearest(embedded, k=5)[0], before)
    assert CellAnnotation(path).get_predictions_knn(embedded)[0].tolist() == labelled.tolist()


def test_removed_cells_are_found_no_more(tmp_path, embedded):
    path = imported.imported_atlas(tmp_path / "atlas.scim")
    cq = CellQuery(path)
    gone = int(cq.search_nearest(embedded[:1], k=1)[0][0][0])
    total = cq.cell_metadata["total_counts"].drop(gone)
    with scim.atlas.open(path, "w") as atlas:
        atlas.remove(f"cell_id == '{gone}'")
    cq = CellQuery(path)
    assert gone not in cq.search_nearest(embedded[:1], k=N)[0][0]
    assert cq.cell_metadata["total_counts"].tolist() == total.tolist()
    idxs, _, metadata = cq.search_nearest(embedded[:1], k=5)
    assert metadata["total_counts"].tolist() == total[idxs[0]].tolist()
    with pytest.raises(KeyError, match="no cell of number"):
        cq.get_precomputed_embeddings([gone])


def test_a_folder_without_one_of_the_indices(tmp_path, embedded):
    adata = imported.cells()
    adata.obs["in_annotation"] = False
    with pytest.raises(ValueError, match="No cell of the atlas at .* has in_annotation"):
        CellAnnotation(imported.imported_atlas(tmp_path / "a.scim", adata)).get_predictions_knn(embedded)
    adata.obs["in_cellsearch"] = False
    with pytest.raises(ValueError, match="No cell of the atlas at .* has in_cellsearch"):
        CellQuery(imported.imported_atlas(tmp_path / "b.scim", adata)).search_nearest(embedded)
