from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import imported
from helpers.published_label_transfer import published_label_transfer
from scim._core import ScimWarning
from scim.scimilarity import CellAnnotation

K = 12


def nearest(X, base, ids, k):
    """Brute force: ids and distances of the nearest rows, ties by id."""
    distances = 1 - X @ base[ids].T
    order = np.lexsort((np.broadcast_to(ids, distances.shape), distances), axis=1)[:, :k]
    return ids[order], np.take_along_axis(distances, order, axis=1)


@pytest.fixture(scope="module")
def reference(imported_path, source):
    """Embeddings, and ids, numbers and labels of the reference cells."""
    with scim.atlas.open(imported_path) as atlas:
        X = atlas.embeddings()
    inside = np.flatnonzero(source.obs["in_annotation"])
    return X, inside, source.obs["annotation_index"].fillna(-1).to_numpy(int), source.obs["reference_label"].to_numpy()


@pytest.mark.parametrize("weighting", [False, True])
def test_predictions_neighbours_and_statistics(ca, embedded, reference, weighting):
    X, inside, numbers, labels = reference
    predictions, idxs, dists, stats = ca.get_predictions_knn(embedded, k=K, weighting=weighting)
    ids, distances = nearest(embedded, X, inside, K)
    assert (idxs == numbers[ids]).mean() > 0.99  # two cells as near as rounding lets them may change places
    np.testing.assert_allclose(dists, distances, atol=2e-6)
    assert isinstance(predictions, pd.Series)
    assert list(stats.columns) == [
        "hits", "hits_weighted", "min_dist", "max_dist", "vs2nd", "vsAll", "vs2nd_weighted", "vsAll_weighted",
    ]  # fmt: skip
    line = {number: labels[row] for row, number in enumerate(numbers) if number >= 0}
    for i in range(len(embedded)):
        expected = published_label_transfer(
            [line[number] for number in idxs[i]], dists[i].tolist(), weighting=weighting
        )
        assert predictions[i] == expected.pop("label")
        assert stats.loc[i, "hits"] == expected.pop("hits")
        assert stats.loc[i, "hits_weighted"] == expected.pop("hits_weighted")
        for name, value in expected.items():
            assert stats.loc[i, name] == pytest.approx(value, abs=1e-6)


def test_dtypes_are_those_of_the_package(ca, embedded):
    _, idxs, dists, stats = ca.get_predictions_knn(embedded, k=5)
    assert (idxs.dtype, dists.dtype, idxs.shape) == (np.int64, np.float32, (60, 5))
    assert stats["min_dist"].dtype == np.float32
    assert stats["vsAll"].dtype == np.float64


def test_one_neighbour(ca, embedded):
    predictions, idxs, _, stats = ca.get_predictions_knn(embedded[:3], k=1)
    assert predictions.tolist() == [ca.idx2label[number] for number in idxs[:, 0]]
    assert stats["vsAll"].tolist() == [1.0] * 3
    assert json.loads(stats["hits"][0]) == {predictions[0]: 1.0}


def test_annotate_dataset_writes_what_the_package_writes(ca, query, embedded):
    assert ca.annotate_dataset(query) is query
    np.testing.assert_allclose(query.obsm["X_scimilarity"], embedded, atol=1e-6)
    predictions, _, _, stats = ca.get_predictions_knn(embedded)
    assert query.obs["celltype_hint"].tolist() == predictions.tolist()
    for column, name in [
        ("min_dist", "min_dist"), ("celltype_hits", "hits"), ("celltype_hits_weighted", "hits_weighted"),
        ("celltype_hint_stat", "vsAll"), ("celltype_hint_weighted_stat", "vsAll_weighted"),
    ]:  # fmt: skip
        assert query.obs[column].tolist() == stats[name].tolist()
    text = query.obs["celltype_hint"].astype(str)
    assert (text == query.obs["cell_type"].astype(str).replace(imported.RENAMED)).mean() > 0.5  # untrained


def test_annotate_dataset_aligns(ca, query):
    shuffled = query[:, ::-1].copy()
    expected = ca.annotate_dataset(query).obs["celltype_hint"].tolist()
    assert ca.annotate_dataset(shuffled).obs["celltype_hint"].tolist() == expected


def test_numbers_of_the_reference_name_labels_and_studies(ca, source):
    inside = source.obs[source.obs["in_annotation"]]
    by_line = inside.set_index(inside["annotation_index"].astype(int))
    assert dict(ca.idx2label) == by_line["reference_label"].to_dict()
    assert dict(ca.idx2study) == by_line["study"].to_dict()
    assert len(ca.idx2label) == len(inside)
    assert 10_000 not in ca.idx2label


def test_classes_are_the_published_labels(ca):
    assert ca.classes == {"B cell", "T lymphocyte of old", "classical monocyte"}
    assert ca.label2int[ca.int2label[1]] == 1


@pytest.mark.parametrize("method", ["safelist_celltypes", "blocklist_celltypes"])
def test_lists_act_inside_the_search(ca, embedded, reference, method):
    X, inside, numbers, labels = reference
    getattr(ca, method)(["T lymphocyte of old", "B cell"])
    chosen = np.isin(labels[inside].astype(str), ["T lymphocyte of old", "B cell"])
    inside = inside[chosen if method.startswith("safe") else ~chosen]
    predictions, idxs, dists, _ = ca.get_predictions_knn(embedded, k=K)
    ids, distances = nearest(embedded, X, inside, K)
    assert (idxs == numbers[ids]).mean() > 0.99
    np.testing.assert_allclose(dists, distances, atol=2e-6)
    assert set(predictions) <= set(labels[inside])
    assert (ca.safelist is None) == (method == "blocklist_celltypes")
    ca.reset_knn()
    assert ca.safelist is None
    assert ca.blocklist is None
    assert (
        ca.get_predictions_knn(embedded, k=K)[1] == CellAnnotation(ca.atlas).get_predictions_knn(embedded, k=K)[1]
    ).all()


def test_a_list_takes_the_place_of_another(ca, embedded):
    ca.blocklist_celltypes(["B cell"])
    ca.safelist_celltypes({"B cell"})
    assert (ca.safelist, ca.blocklist) == ({"B cell"}, None)
    assert set(ca.get_predictions_knn(embedded)[0]) == {"B cell"}


def test_fewer_eligible_cells_than_neighbours_are_no_error(ca, embedded):
    ca.safelist_celltypes(["classical monocyte"])
    n = int((np.array(list(ca.idx2label.values())) == "classical monocyte").sum())
    predictions, idxs, dists, stats = ca.get_predictions_knn(embedded[:2], k=n + 3)
    assert (idxs[:, n:] == -1).all()
    assert np.isinf(dists[:, n:]).all()
    assert (idxs[:, :n] >= 0).all()
    assert predictions.tolist() == ["classical monocyte"] * 2
    assert json.loads(stats["hits"][0]) == {"classical monocyte": float(n)}
    np.testing.assert_array_equal(stats["max_dist"], dists[:, n - 1])


def test_an_embedding_of_zeros_has_no_label(ca, embedded):
    predictions, idxs, dists, stats = ca.get_predictions_knn(np.vstack([embedded[:1], 0 * embedded[:1]]), k=5)
    assert predictions.isna().tolist() == [False, True]
    assert (idxs[1] == -1).all()
    assert np.isinf(dists[1]).all()
    assert stats["hits"][1] == "{}"
    assert np.isnan(stats.loc[1, "vsAll"])
    assert np.isnan(stats.loc[1, "min_dist"])


def test_a_label_with_a_bar_is_one_label(tmp_path, embedded):
    adata = imported.cells()
    adata.obs["reference_label"] = adata.obs["reference_label"].replace({"B cell": "B cell || plasma cell"})
    adata.obs["reference_label"] = adata.obs["reference_label"].replace({"classical monocyte": "plasma cell"})
    ca = CellAnnotation(imported.imported_atlas(tmp_path / "a.scim", adata))
    ca.safelist_celltypes(["plasma cell"])
    assert set(ca.get_predictions_knn(embedded)[0]) == {"plasma cell"}
    ca.blocklist_celltypes(["B cell || plasma cell"])
    assert set(ca.get_predictions_knn(embedded)[0]) == {"plasma cell", "T lymphocyte of old"}
    with pytest.raises(ValueError, match="leaves none of the 3 labels"):
        ca.blocklist_celltypes(["B cell || plasma cell", "plasma cell", "T lymphocyte of old"])
    assert ca.blocklist == {"B cell || plasma cell"}


def test_unknown_labels_of_a_list(ca):
    with pytest.warns(ScimWarning, match=r"no cells labelled \['B cel'\]; did you mean 'B cell'"):
        ca.safelist_celltypes(["B cel", "classical monocyte"])
    with pytest.raises(
        ValueError, match="safelist_celltypes expected labels of the reference, got .*did you mean 'B cell'"
    ):
        ca.safelist_celltypes(["B cel"])
    assert ca.safelist == {"B cel", "classical monocyte"}  # what was refused changed nothing
    with pytest.raises(ValueError, match="leaves none of the 3 labels"):
        ca.blocklist_celltypes(ca.classes)
    with pytest.raises(TypeError, match="labels must be names"):
        ca.safelist_celltypes([3])


def test_bad_arguments(ca, embedded):
    with pytest.raises(ValueError, match="k must be at least 1"):
        ca.get_predictions_knn(embedded, k=0)
    with pytest.raises(TypeError, match="ef must be a whole number"):
        ca.get_predictions_knn(embedded, ef="100")
    with pytest.raises(ValueError, match="16"):
        ca.get_predictions_knn(embedded[:, :5])


def test_unused_arguments_are_accepted(imported_path):
    CellAnnotation(imported_path, True, {"knn": "labelled_kNN.bin"})


def test_a_published_folder_has_to_be_imported(tmp_path):
    (tmp_path / "encoder.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(f"`scim import-scimilarity {tmp_path} atlas.scim`")):
        CellAnnotation(str(tmp_path))


def test_another_atlas_is_refused(atlas_path):
    with pytest.raises(ValueError, match="has no columns .*in_annotation.*scim.tl.annotate"):
        CellAnnotation(atlas_path)


def test_no_atlas(tmp_path):
    with pytest.raises(FileNotFoundError, match="No atlas at"):
        CellAnnotation(tmp_path / "nowhere.scim")
    with pytest.raises(TypeError, match="model_path must be the path"):
        CellAnnotation(3)
