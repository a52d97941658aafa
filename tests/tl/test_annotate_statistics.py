"""Statistics of the neighbours, and what `top` keeps: by brute force, and as the published package has them."""

from __future__ import annotations

import json
import logging

import anndata
import numpy as np
import pytest

import scim
from helpers import fakes, oracles
from helpers.references import unit
from scim.index import Neighbors
from scim.label_transfer import LabelTransfer
from scim.label_transfer._neighbour_statistics import MOST_LABELS, neighbour_statistics
from scim.scimilarity._annotation import predict

VALUES = ["farthest", "mean_distance", "vs2nd", "vsAll", "vs2nd_weighted", "vsAll_weighted"]


def nearest(adata, atlas, k, where=None):
    """Label codes and cosine distances of the k nearest labelled cells by brute force, (n, k), and the names."""
    codes, names, _ = atlas.labels
    allowed = np.flatnonzero(codes >= 0) if where is None else np.intersect1d(np.flatnonzero(codes >= 0), where)
    distances, ids = oracles.neighbors(adata.obsm["X_scim"], atlas.embeddings(), k, allowed=allowed.tolist())
    return codes[ids], distances, names


@pytest.mark.parametrize(("k", "where"), [(1, None), (15, None), (50, "study == 'one'"), (1000, None)])
def test_statistics_are_those_of_brute_force(adata, atlas_path, k, where):
    with scim.atlas.open(atlas_path) as atlas:
        scim.tl.annotate(adata, atlas, k=k, where=where, duplicates="keep", statistics=True, max_error=1)
        codes, distances, names = nearest(adata, atlas, k, None if where is None else atlas.select(where))
    frame = scim.get.annotation(adata)
    assert frame["cell"].tolist() == adata.obs_names.tolist()
    np.testing.assert_allclose(frame["distance"], distances[:, 0], atol=1e-6)
    for row, found, near in zip(frame.to_dict("records"), codes, distances, strict=True):
        real = np.isfinite(near)
        expected = oracles.label_statistics(names[found[real]].tolist(), near[real].tolist())
        assert json.loads(row["hits"]) == expected["hits"]
        weighted = json.loads(row["hits_weighted"])
        assert weighted == pytest.approx(expected["hits_weighted"], rel=1e-3)  # 1 / d of small distances
        assert list(weighted.values()) == sorted(weighted.values(), reverse=True)
        assert [row[name] for name in VALUES] == pytest.approx([expected[name] for name in VALUES], rel=1e-3)


def test_statistics_are_those_of_the_published_package(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, k=20, duplicates="keep", statistics=True, max_error=1)
    with scim.atlas.open(atlas_path) as atlas:
        codes, names, _ = atlas.labels
        distances, ids = atlas.index.query(adata.obsm["X_scim"], 20, allowed=np.flatnonzero(codes >= 0))
    _, stats = predict(Neighbors(distances, ids), codes[ids], names, weighting=False)
    frame = scim.get.annotation(adata)
    for name in ("hits", "hits_weighted"):
        assert frame[name].map(json.loads).tolist() == stats[name].map(json.loads).tolist()
    for ours, theirs in {"distance": "min_dist", "farthest": "max_dist", **{name: name for name in VALUES[2:]}}.items():
        np.testing.assert_array_equal(frame[ours], stats[theirs].astype(np.float32))


def test_weights_expression_and_tissue_do_not_change_them(adata, atlas_path):
    scim.tl.annotate(
        adata, atlas_path, weights="uniform", expression=False, statistics=True, key_added="plain", max_error=1
    )
    scim.tl.annotate(adata, atlas_path, tissue="blood", statistics=True, key_added="weighed", max_error=1)
    plain, weighed = (scim.get.annotation(adata, key=key) for key in ("plain", "weighed"))
    statistics = [*VALUES, "hits", "hits_weighted"]
    assert plain[statistics].equals(weighed[statistics])
    assert not plain["confidence"].equals(weighed["confidence"])


@pytest.mark.filterwarnings("ignore:.*cells? ha.* no count")
def test_a_cell_without_counts_has_no_statistics(atlas_path):
    adata = fakes.cells(6, seed=9)
    adata.X = adata.X.multiply(np.arange(6)[:, None] != 2).tocsr()
    scim.tl.embed(adata, atlas_path)
    scim.tl.annotate(adata, atlas_path, statistics=True, max_error=1)
    frame = scim.get.annotation(adata)
    assert frame[VALUES].isna().all(axis=1).tolist() == [i == 2 for i in range(6)]
    assert frame["hits"][2] == frame["hits_weighted"][2] == "{}"
    assert adata.obsm["scim_label_hits"].sum(axis=1).tolist() == [[50], [50], [0], [50], [50], [50]]


def test_they_are_written_kept_sliced_and_removed(adata, atlas_path, tmp_path):
    scim.tl.annotate(adata, atlas_path, statistics=True, groupby="sample", key_added="mine", max_error=1)
    assert adata.obsm["mine_hits"].shape == adata.obsm["mine_hits_weighted"].shape == (45, 3)
    assert adata.obsm["mine_hits"].dtype == np.int32
    assert {adata.obs[f"mine_{name}"].dtype.name for name in VALUES} == {"float32"}
    frame = scim.get.annotation(adata, key="mine")
    assert {"group", "group_confidence"} <= set(frame)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = scim.get.annotation(anndata.read_h5ad(tmp_path / "a.h5ad"), key="mine")
    assert back.astype(object).equals(frame.astype(object))
    part = scim.get.annotation(adata[[7, 3]].copy(), key="mine")
    assert part["hits"].tolist() == frame["hits"][[7, 3]].tolist()
    scim.tl.annotate(adata, atlas_path, groupby="sample", key_added="mine", max_error=1)
    assert not {"vs2nd", "hits", "farthest"} & set(scim.get.annotation(adata, key="mine"))
    assert not [name for name in (*adata.obs, *adata.obsm) if name.startswith(("mine_vs", "mine_hits", "mine_far"))]


def test_an_annotation_is_missing(adata):
    with pytest.raises(KeyError, match="holds no annotation; run scim.tl.annotate"):
        scim.get.annotation(adata)


def test_hits_of_the_most_frequent_labels_are_kept():
    n_labels, k = MOST_LABELS + 10, 3 * MOST_LABELS
    labels = np.concatenate([np.arange(n_labels), np.full(k - n_labels, n_labels - 1)]).astype(np.int32)[None]
    found = neighbour_statistics(np.full((1, k), 0.5, np.float32), labels, n_labels)
    assert found.hits.nnz == MOST_LABELS
    assert found.hits[0, n_labels - 1] == k - n_labels + 1
    assert found.vs_all[0] == np.float32((k - n_labels + 1) / k)  # over all of them
    assert found.hits_weighted.sum() == 2 * found.hits.sum()


def test_top_beyond_the_labels_of_the_neighbours_is_stated(adata, atlas_path, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        scim.tl.annotate(adata, atlas_path, k=1, expression=False, max_error=1)
        assert "labels have votes" not in caplog.text
        scim.tl.annotate(adata, atlas_path, k=1, expression=False, top=5, max_error=1)
    assert "of 45 of 45 cells fewer than top=5 labels have votes, 1 in the median: the atlas has 3" in caplog.text
    assert adata.obsm["scim_label_codes"].shape == (45, 3)  # no more than the atlas has
    assert scim.get.votes(adata)["share"].tolist() == [1.0] * 45
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="scim"):
        scim.tl.annotate(adata, atlas_path, k=1000, expression=False, top=5, weights="uniform", max_error=1)
    assert (adata.obsm["scim_label_codes"] >= 0).all()
    shares = scim.get.votes(adata).pivot(index="cell", columns="label", values="share")
    with scim.atlas.open(atlas_path) as atlas:
        codes, names, _ = atlas.labels
    expected = np.bincount(codes[codes >= 0]) / (codes >= 0).sum()
    np.testing.assert_allclose(shares[names].to_numpy(), np.tile(expected, (45, 1)), rtol=1e-5)


def test_chunks_of_queries_are_joined(monkeypatch):
    random = np.random.default_rng(0)
    X, labels = unit(random.normal(size=(60, 8))), np.array(["T cell", "B cell", "monocyte"])[np.arange(60) % 3]
    transfer = LabelTransfer.fit(X, labels, np.arange(60) % 2)
    whole = transfer.predict(X, k=7, statistics=True, max_error=1).statistics
    monkeypatch.setattr("scim.label_transfer._transfer._CHUNK", 16)
    parts = transfer.predict(X, k=7, statistics=True, max_error=1).statistics
    for one, other in zip(whole, parts, strict=True):
        assert (one != other).nnz == 0 if hasattr(one, "nnz") else np.array_equal(one, other)
    assert whole.hits.sum(axis=1).tolist() == [[7]] * 60
    assert transfer.predict(X, max_error=1).statistics is None
