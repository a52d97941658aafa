from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.vq import kmeans

import scim
from helpers import imported
from scim._core import FilterError
from scim.scimilarity import CellQuery
from scim.scimilarity.utils import get_centroid

COLUMNS = [
    "index", "study", "data_type", "disease", "in_vivo", "label", "sample", "tissue", "total_counts",
]  # fmt: skip
N = 210
"""Cells of cellsearch; thirty further ones are in the annotation only."""


@pytest.fixture(scope="module")
def base(imported_path):
    """Embeddings of the cells of cellsearch."""
    with scim.atlas.open(imported_path) as atlas:
        return atlas.embeddings()[:N]


@pytest.fixture(scope="module")
def published(source):
    """The metadata of these cells before the import."""
    frame = source.obs[:N].rename(columns={"metadata_label": "label"}).assign(index=np.arange(N))
    return frame[COLUMNS].reset_index(drop=True)


def nearest(X, base, k):
    distances = 1 - X @ base.T
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def equal(found, expected):
    """Compare frames by value, missing ones equal to each other."""
    assert list(found.columns) == list(expected.columns)
    for name in expected:
        ours, wanted_values = (frame[name].astype(object).to_numpy() for frame in (found, expected))
        missing = pd.isna(wanted_values)
        assert (pd.isna(ours) == missing).all(), name
        assert (ours[~missing] == wanted_values[~missing]).all(), name


def test_nearest_cells_and_their_metadata(cq, embedded, base, published):
    idxs, dists, metadata = cq.search_nearest(embedded[:4], k=7)
    rows, distances = nearest(embedded[:4], base, 7)
    assert [row.tolist() for row in idxs] == rows.tolist()
    np.testing.assert_allclose(np.stack(dists), distances, atol=2e-6)
    assert list(metadata.columns) == [*COLUMNS, "embedding_idx", "query_nn_dist"]
    equal(metadata[COLUMNS], published.iloc[rows.ravel()].reset_index(drop=True))
    assert metadata["embedding_idx"].tolist() == np.repeat(np.arange(4), 7).tolist()
    np.testing.assert_array_equal(metadata["query_nn_dist"], np.concatenate(dists))
    assert metadata.index.tolist() == list(range(28))


def test_one_embedding_without_a_second_dimension(cq, embedded):
    one, two = cq.search_nearest(embedded[0], k=3), cq.search_nearest(embedded[:1], k=3)
    np.testing.assert_array_equal(one[0], two[0])


def test_more_hits_than_cells(cq, embedded):
    idxs, dists, metadata = cq.search_nearest(embedded[:1])  # 10,000
    assert sorted(idxs[0]) == list(range(N))
    assert len(metadata) == len(dists[0]) == N


def test_within_a_distance(cq, embedded, base):
    idxs, dists, metadata = cq.search_nearest(embedded[:5], max_dist=0.13)
    distances = 1 - embedded[:5] @ base.T
    for i in range(5):
        assert set(idxs[i]) == set(np.flatnonzero(distances[i] <= 0.13))
        assert (np.diff(dists[i]) >= 0).all()
    assert len({len(row) for row in idxs}) > 1
    assert len(metadata) == (distances <= 0.13).sum()


def test_an_embedding_of_zeros_has_no_hits(cq, embedded):
    X = np.vstack([0 * embedded[:1], embedded[:1]])
    for found in (cq.search_nearest(X, k=3), cq.search_nearest(X, max_dist=1.5), cq.search_exhaustive(X, 0.9)):
        assert len(found[0][0]) == 0 < len(found[0][1])
        assert set(found[2]["embedding_idx"]) == {1}


def test_neighbours_as_arrays(cq, embedded, base):
    idxs, dists = cq.get_nearest_neighbors(embedded, k=5)
    assert (idxs.shape, idxs.dtype, dists.dtype) == ((60, 5), np.int64, np.float32)
    assert idxs.tolist() == nearest(embedded, base, 5)[0].tolist()


def marked(query, label="T cell"):
    query.obs["used_in_query"] = (query.obs["cell_type"] == label).astype(int)
    return query[query.obs["used_in_query"] == 1]


def test_the_centroid_of_marked_cells(cq, query, base):
    cells = marked(query)
    sums = np.asarray(cells.layers["counts"].sum(axis=0)).ravel()
    centroid = np.log1p(1e4 * sums / sums.sum())
    expected = imported.model().encode(centroid[None].astype(np.float32))
    embedding, idxs, dists, metadata, qc = cq.search_centroid_nearest(query, "used_in_query", k=50)
    np.testing.assert_allclose(embedding, expected, atol=1e-6)
    rows, distances = nearest(expected, base, 50)
    assert idxs[0].tolist() == rows[0].tolist() == metadata["index"].tolist()
    np.testing.assert_allclose(dists[0], distances[0], atol=2e-6)
    centres = kmeans(imported.model().encode(cells.X), 10, seed=4)[0]
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    overlap = [len(set(row) & set(rows[0])) for row in nearest(centres, base, 100)[0]]
    assert qc == {"query_coherence": pytest.approx(np.mean(overlap))}
    assert 0 < qc["query_coherence"] < 50


def test_coherence_of_the_query(cq, query):
    marked(query)
    assert cq.search_centroid_nearest(query, "used_in_query", k=5, qc=False)[4] == {}
    one = cq.search_centroid_nearest(query, "used_in_query", k=100, qc_params={"k_clusters": 1})[4]
    assert one["query_coherence"] > 80  # the one cluster centroid is nearly the centroid of the query
    query.obs["used_in_query"] = np.arange(60) < 3  # fewer cells than clusters
    assert cq.search_centroid_nearest(query, "used_in_query", k=N)[4] == {"query_coherence": 100.0}
    with pytest.raises(TypeError, match="qc_params takes 'k_clusters', got"):
        cq.search_centroid_nearest(query, "used_in_query", qc_params={"clusters": 3})


def test_the_centroid_of_each_cluster(cq, query):
    query.obs["cluster"] = query.obs["cell_type"].astype(object).where(np.arange(60) % 10 != 0)
    embeddings, clusters, idxs, dists, metadata = cq.search_cluster_centroids_nearest(query, "cluster", k=4)
    assert clusters == ["B cell", "T cell", "classical monocyte"]
    for i, cluster in enumerate(clusters):
        cells = query[query.obs["cluster"] == cluster]
        expected = cq.get_embeddings(get_centroid(cells.layers["counts"]))
        np.testing.assert_allclose(embeddings[i], expected[0], atol=1e-6)
        assert [len(idxs[cluster]), len(dists[cluster])] == [1, 1]
        assert idxs[cluster][0].tolist() == metadata.loc[metadata["centroid"] == cluster, "index"].tolist()
    one = cq.search_cluster_centroids_nearest(query, "cluster", "T cell", k=4)
    assert one[1] == ["T cell"]
    assert one[2]["T cell"][0].tolist() == idxs["T cell"][0].tolist()
    assert cq.search_cluster_centroids_nearest(query, "cluster", k=1, skip_null=False)[1][2] == "classical monocyte"
    assert "nan" in cq.search_cluster_centroids_nearest(query, "cluster", k=1, skip_null=False)[1]


@pytest.mark.parametrize("buffer_size", [100_000, 17])
def test_exhaustive_search_misses_none(cq, embedded, base, buffer_size):
    idxs, dists, metadata = cq.search_exhaustive(embedded[:5], max_dist=0.13, buffer_size=buffer_size)
    distances = 1 - embedded[:5].astype(float) @ base.T.astype(float)
    for i in range(5):
        assert set(idxs[i]) == set(np.flatnonzero(distances[i] <= 0.13))
        np.testing.assert_allclose(dists[i], np.sort(distances[i][idxs[i]]), atol=1e-6)
        assert dists[i].dtype == np.float64
    assert metadata["index"].tolist() == np.concatenate(idxs).tolist()


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({"tissue": "lung", "study": "study1"}, lambda f: (f["tissue"] == "lung") & (f["study"] == "study1")),
        ({"disease": "NA"}, lambda f: f["disease"].isna()),
        ({"in_vivo": "False"}, lambda f: f["in_vivo"] == False),  # noqa: E712  (missing values are neither)
        ({"in_vivo": np.True_}, lambda f: f["in_vivo"] == True),  # noqa: E712  (as above)
        ({"label": "of the author 1"}, lambda f: f["label"] == "of the author 1"),
        ({"index": 5}, lambda f: f["index"] == 5),
    ],
)
def test_exhaustive_search_of_some_cells(cq, embedded, published, wanted, passes):
    found = cq.search_exhaustive(embedded[:1], 2.0, metadata_filter=wanted)
    assert sorted(found[0][0]) == np.flatnonzero(passes(published).fillna(False)).tolist()


@pytest.fixture(scope="module")
def joint_path(tmp_path_factory):
    """An atlas with cells of two diseases, and with names of columns that an atlas reserves."""
    adata = imported.cells()
    adata.obs["disease"] = np.array(["asthma || fibrosis", "asthma", "fibrosis || asthma", None], object)[
        np.arange(240) % 4
    ]
    adata.obs["note"] = [f"{'x || ' if i % 2 else ''}{i}" for i in range(240)]  # too many values for the index
    adata.obs["metadata_index"] = [f"row {i + 1000}" for i in range(240)]
    adata.obs["metadata_metadata_label"] = np.arange(240) % 5
    adata.obs["metadata_soma_x"] = np.arange(240) % 3
    return imported.imported_atlas(tmp_path_factory.mktemp("joint") / "a.scim", adata)


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        ({"disease": "asthma"}, lambda row: row % 4 == 1),
        ({"disease": "asthma || fibrosis"}, lambda row: row % 4 == 0),
        ({"disease": "NA"}, lambda row: row % 4 == 3),
        ({"disease": "asthma", "tissue": "lung", "data_type": "test"}, lambda row: (row % 4 == 1) & (row % 3 == 1)),
        ({"note": "x || 17"}, lambda row: row == 17),
        ({"index": "row 1017"}, lambda row: row == 17),
        ({"metadata_label": 3, "soma_x": 1}, lambda row: (row % 5 == 3) & (row % 3 == 1)),
    ],
)
def test_a_filter_takes_whole_texts(joint_path, embedded, wanted, passes):
    found = CellQuery(joint_path).search_exhaustive(embedded[:1], 2.0, metadata_filter=wanted)
    expected = np.flatnonzero(passes(np.arange(N)))
    assert sorted(found[0][0]) == expected.tolist()
    assert len(expected)


def test_a_part_of_a_text_is_no_value(joint_path, embedded):
    cq = CellQuery(joint_path)
    with pytest.raises(
        FilterError, match=r"No cell has disease == 'fibrosis' alone; expected one of \['asthma \|\| fi"
    ):
        cq.search_exhaustive(embedded, metadata_filter={"disease": "fibrosis"})
    with pytest.raises(FilterError, match="no cell has disease == 'asthmatic'; did you mean 'asthma'"):
        cq.search_exhaustive(embedded, metadata_filter={"disease": "asthmatic"})


def test_the_published_index_is_shown_and_rows_are_the_numbers(joint_path, embedded):
    cq = CellQuery(joint_path)
    idxs, _, metadata = cq.search_nearest(embedded[:2], k=5)
    shown = [f"row {i + 1000}" for i in np.concatenate(idxs)]
    assert metadata.columns[0] == "index"
    assert metadata["index"].tolist() == shown
    assert cq.cell_metadata.loc[np.concatenate(idxs), "index"].tolist() == shown
    np.testing.assert_allclose(cq.get_precomputed_embeddings([17]), cq.atlas.embeddings([17]), atol=1e-6)


def test_one_prefix_is_taken_from_names(joint_path):
    columns = list(CellQuery(joint_path).cell_metadata.columns)
    assert columns[0] == "index"
    assert {"label", "metadata_label", "soma_x", "note"} <= set(columns)
    assert not {"metadata_index", "metadata_metadata_label", "metadata_soma_x"} & set(columns)
    assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("order", [np.r_[1:N, 0], np.r_[0, 2, 1, 3:N]])
def test_numbers_are_the_names_of_cells_in_any_order(tmp_path, embedded, order):
    adata = imported.cells()[order].copy()
    cq = CellQuery(imported.imported_atlas(tmp_path / "a.scim", adata))
    rows = nearest(embedded[:3], cq.atlas.embeddings(), 9)[0]
    assert np.stack(cq.search_nearest(embedded[:3], k=9)[0]).tolist() == order[rows].tolist()


def test_a_cell_with_another_name_has_no_number(tmp_path):
    adata = imported.cells()
    adata.obs_names = [f"cell{i}" if i == 7 else name for i, name in enumerate(adata.obs_names)]
    cq = CellQuery(imported.imported_atlas(tmp_path / "a.scim", adata))
    with pytest.raises(
        ValueError,
        match=r"row numbers as names of the cells of in_cellsearch, got cell_id \['cell7'\] at .*import-scim",
    ):
        cq.get_precomputed_embeddings([0])


def test_exhaustive_search_around_groups(cq, query):
    marked(query)
    embedding, idxs, dists, _, qc = cq.search_centroid_exhaustive(query, "used_in_query", 0.1)
    again = cq.search_exhaustive(embedding, 0.1)
    np.testing.assert_array_equal(idxs[0], again[0][0])
    np.testing.assert_array_equal(dists[0], again[1][0])
    assert 0 <= qc["query_coherence"] <= 100
    _, clusters, idxs, dists, metadata = cq.search_cluster_centroids_exhaustive(
        query, "cell_type", max_dist=0.1, metadata_filter={"tissue": "lung"}
    )
    assert set(metadata["tissue"]) == {"lung"}
    assert set(metadata["centroid"]) <= set(clusters)
    assert all((dists[cluster][0] <= 0.1).all() and len(idxs[cluster]) == 1 for cluster in clusters)


@pytest.mark.parametrize("levels", [None, ["study", "sample", "disease"], ["tissue"], ["data_type", "in_vivo"]])
def test_sample_summary_by_pandas(cq, embedded, published, levels):
    idxs, _, _ = cq.search_nearest(embedded[:3], k=40)
    found = cq.compile_sample_metadata(idxs) if levels is None else cq.compile_sample_metadata(idxs, levels=levels)
    names = levels or ["study", "sample", "tissue", "disease"]
    rows = []
    for hits in idxs:
        rows_of_hits = published.iloc[hits].astype(object)
        rows_of_hits = rows_of_hits.where(rows_of_hits.notna(), "missing")
        rows.append(rows_of_hits.groupby(names).size().reset_index(name="cells"))
    expected = pd.concat(rows, ignore_index=True)
    if {"study", "sample"} <= set(names):
        size = published.groupby(["study", "sample"]).size()
        expected["total"] = [size[study, sample] for study, sample in expected[["study", "sample"]].to_numpy()]
        expected.insert(len(names) + 1, "fraction", expected["cells"] / expected["total"])
    assert list(found.columns) == list(expected.columns)
    found[names] = found[names].astype(object).where(found[names].notna(), "missing")

    def plain(frame):
        return sorted(map(str, frame.round(9).astype(str).itertuples(index=False, name=None)))

    assert plain(found) == plain(expected)
    assert "missing" in found.to_numpy() or names == ["tissue"]


def test_the_metadata_of_all_cells(cq, published):
    frame = cq.cell_metadata
    equal(frame.reset_index(drop=True), published)
    assert isinstance(frame["tissue"].dtype, pd.CategoricalDtype)
    assert frame.loc[[3, 5], "index"].tolist() == [3, 5]


def test_cell_index_within_a_sample(cq, embedded, published):
    _, _, metadata = cq.search_nearest(embedded[:2], k=60)
    assert cq.annotate_cell_index(metadata) is metadata
    names = ["study", "sample", "data_type"]
    filled = published.astype(object).where(published.notna(), "missing")
    first = filled.groupby(names)["index"].transform("min")
    expected = (filled["index"] - first).to_numpy()[metadata["index"]]
    assert metadata["cell_index"].tolist() == expected.tolist()
    assert cq.study_sample_index.tolist() == sorted(first.unique())
    with pytest.raises(KeyError, match="metadata has no column \\['data_type'\\]"):
        cq.annotate_cell_index(metadata.drop(columns="data_type"))
    with pytest.raises(KeyError, match="no sample \\['study9'"):
        cq.annotate_cell_index(metadata.assign(study="study9"))


@pytest.mark.parametrize("idx", [[5, 2, 5], np.array([209]), slice(3, 9, 2), []])
def test_precomputed_embeddings(cq, base, idx):
    np.testing.assert_allclose(cq.get_precomputed_embeddings(idx), base[idx], atol=1e-6)


@pytest.mark.parametrize("idx", [[210], [-1]])
def test_cells_of_the_annotation_alone_have_no_number(cq, idx):
    with pytest.raises(KeyError, match="no cell of number"):
        cq.get_precomputed_embeddings(idx)
    with pytest.raises(TypeError, match="numbers of cells, got bool"):
        cq.get_precomputed_embeddings(np.ones(210, bool))


def test_numbers_are_those_of_the_published_rows_if_some_were_left_out(tmp_path, embedded):
    kept = imported.cells()
    kept = kept[np.arange(240) % 9 != 4].copy()
    cq = CellQuery(imported.imported_atlas(tmp_path / "a.scim", kept))
    rows = np.flatnonzero((np.arange(240) % 9 != 4) & (np.arange(240) < N))
    X = cq.atlas.embeddings()[: len(rows)]
    idxs, _, metadata = cq.search_nearest(embedded[:3], k=9)
    expected = rows[nearest(embedded[:3], X, 9)[0]]
    assert np.stack(idxs).tolist() == expected.tolist()
    assert metadata["index"].tolist() == expected.ravel().tolist()
    np.testing.assert_allclose(cq.get_precomputed_embeddings([209, 0]), X[np.searchsorted(rows, [209, 0])], atol=1e-6)
    assert cq.cell_metadata.index.tolist() == rows.tolist()
    assert cq.compile_sample_metadata(idxs, ["tissue"])["cells"].sum() == 27
    with pytest.raises(KeyError, match="no cell of number \\[4\\]"):
        cq.get_precomputed_embeddings([4])


def test_bad_arguments(cq, query, embedded):
    marked(query)
    with pytest.raises(KeyError, match="no column 'tisue'|no column \\['tisue'\\]"):
        cq.search_exhaustive(embedded, metadata_filter={"tisue": "lung"})
    with pytest.raises(FilterError, match="no cell has tissue == 'lungs'; did you mean 'lung'"):
        cq.search_exhaustive(embedded, metadata_filter={"tissue": "lungs"})
    with pytest.raises(ValueError, match="max_dist must be between 0 and 2"):
        cq.search_nearest(embedded, max_dist=3)
    with pytest.raises(ValueError, match="ef must be at least 1"):
        cq.search_nearest(embedded, ef=0)
    with pytest.raises(KeyError, match="obs\\['marked'\\] not found"):
        cq.search_centroid_nearest(query, "marked")
    with pytest.raises(ValueError, match="call align_dataset\\(adata, cq.gene_order\\) first"):
        cq.search_centroid_nearest(query[:, ::-1], "used_in_query")
    with pytest.raises(ValueError, match="is 1 for no cell"):
        cq.search_centroid_nearest(query[query.obs["used_in_query"] == 0], "used_in_query")
    with pytest.raises(ValueError, match="no cluster 'T'. Present: \\['B cell'"):
        cq.search_cluster_centroids_nearest(query, "cell_type", "T")
    with pytest.raises(KeyError, match="no column \\['organ'\\]"):
        cq.compile_sample_metadata([[0, 1]], levels=["organ"])
    with pytest.raises(ValueError, match="at least one query"):
        cq.compile_sample_metadata([])
    with pytest.raises(ValueError, match="knn_type must be one of"):
        CellQuery(cq.atlas, knn_type="faiss")
    del query.layers["counts"]
    with pytest.raises(ValueError, match="layers\\['counts'\\] not found"):
        cq.search_centroid_nearest(query, "used_in_query")


def test_unused_arguments_are_accepted(imported_path):
    CellQuery(
        imported_path, True, {"knn": "full_kNN.bin"}, "cell_metadata", "cell_embedding", "tiledb_vector_search", False
    )
