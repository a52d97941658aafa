"""Cells without counts, or without any of the model's genes, are kept, and nothing is computed from them.

Such cells are added to plain ones: what is found of the plain cells does not change. Reports of them:
broadinstitute/CellBender#63, Nanostring-Biostats/InSituType#5, Irrationone/cellassign#58 (they got a label),
lmcinnes/pynndescent#99 (they were neighbours), scverse/scvi-tools#198 (they were left out silently).
"""

from __future__ import annotations

import logging

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import ScimWarning
from scim.label_transfer import LabelTransfer
from scim.model import ModelConfig, TrainConfig, evaluate, train
from scim.tl._group_queries import contrast
from scim.training.evaluation import embedding_scores

NO_COUNT = "have no count in any of the model's genes"
QUICK = {"config": TrainConfig(n_members=1, n_steps=3, batch_size=30), "model": ModelConfig(hidden=(8,), latent_dim=4)}


def with_empty(adata, at=(0, 7, 7), *, foreign=3, **obs):
    """Insert cells before the rows `at`: without counts, or with `foreign` counts of what is no gene of a model."""
    rows = np.insert(np.arange(adata.n_obs), at, -1)
    X = np.hstack([adata.X.toarray(), np.zeros((adata.n_obs, 1))])[rows]
    X[rows < 0] = 0
    X[np.flatnonzero(rows < 0)[::2], -1] = foreign
    table = adata.obs.iloc[rows].astype(object)
    table.index = [f"empty{i}" if row < 0 else adata.obs_names[row] for i, row in enumerate(rows)]
    for name, value in obs.items():
        table.loc[rows < 0, name] = value
    var = pd.DataFrame(index=[*adata.var_names, "not a gene"])
    return anndata.AnnData(sparse.csr_matrix(X.astype(np.float32)), obs=table, var=var), rows < 0


@pytest.fixture(scope="module")
def atlases(tmp_path_factory):
    """Two studies as they are, and the same with further cells, of which 26 of 146 are empty."""
    folder, opened = tmp_path_factory.mktemp("empty"), []
    for name in ("plain", "more"):
        atlas = scim.atlas.create(folder / name, model=fakes.tiny_model())
        opened.append(atlas)
        for seed, study in enumerate(("one", "two")):
            cells, how = fakes.cells(60, seed=seed), {"study": study, "label_key": "cell_type"}
            how |= {"obs_columns": ["tissue", "sample"], "counts": True}
            if name == "plain":
                atlas.append(cells, **how)
                continue
            cells, _ = with_empty(cells, [0, 0, *range(5, 60, 5)])
            with pytest.warns(ScimWarning, match=rf"13 \(17.8%\) of the appended cells {NO_COUNT}: they are stored"):
                atlas.append(cells, **how)
        atlas.build_index()
    yield opened
    for atlas in opened:
        atlas.close()


@pytest.fixture(scope="module")
def queries(atlases):
    """Cells as they are, and with four empty ones, which are a group of their own; embedded."""
    plain = fakes.cells(60, seed=9)
    plain.obs["group"] = plain.obs["cell_type"].astype(str)
    more, empty = with_empty(plain, [0, 3, 3, 60], group="empty")
    scim.tl.embed(plain, atlases[0])
    with pytest.warns(ScimWarning, match="4 cells"):
        scim.tl.embed(more, atlases[0])
    return plain, more, empty


def plain_ids(atlas):
    """The ids of the plain cells of an atlas with empty ones, in their order."""
    return np.setdiff1d(atlas.ids, atlas.index.empty_ids)


def as_ids_of(atlas, ids):
    """The ids, in an atlas with empty cells, of the cells of these ids in the plain one."""
    return np.append(plain_ids(atlas), -1)[ids]


def test_what_an_atlas_measures_of_its_labels_does_not_change(atlases):
    plain, more = atlases
    assert (plain.n_obs, more.n_obs, len(more.index.empty_ids)) == (120, 146, 26)
    assert not more.embeddings(more.index.empty_ids).any()
    np.testing.assert_array_equal(more.embeddings(plain_ids(more)), plain.embeddings())
    assert more.label_radius == plain.label_radius < 0.5
    ours, theirs = more.label_transfer(), plain.label_transfer()
    np.testing.assert_allclose(ours.calibration.known, theirs.calibration.known)
    np.testing.assert_allclose(ours.calibration.right, theirs.calibration.right)
    np.testing.assert_array_equal(ours.reference.centroids, theirs.reference.centroids)
    np.testing.assert_array_equal(ours.reference.label_weights, theirs.reference.label_weights)
    np.testing.assert_array_equal(np.flatnonzero(ours.reference.eligible()), plain_ids(more))
    for name, values in plain.snapshot.expression.to_arrays().items():
        np.testing.assert_array_equal(more.snapshot.expression.to_arrays()[name], values)


def test_cells_have_no_hits_and_are_no_hits(atlases, queries, caplog):
    (plain, more), (cells, with_some, empty) = atlases, queries
    scim.tl.search(cells, plain, k=200)
    with caplog.at_level(logging.INFO, "scim"):
        scim.tl.search(with_some, more, k=200)
    assert "4 of 64 cells (6.2 %) have no counts in the model's genes" in caplog.text
    assert with_some.uns["scim_search"]["n_cells_empty"] == 4
    ids, distances = with_some.obsm["scim_search_ids"], with_some.obsm["scim_search_distances"]
    assert (ids[empty] == -1).all()
    assert np.isinf(distances[empty]).all()
    assert not with_some.obsm["scim_search_similar"][empty].any()
    np.testing.assert_array_equal(ids[~empty][:, :120], as_ids_of(more, cells.obsm["scim_search_ids"]))
    np.testing.assert_array_equal(distances[~empty][:, :120], cells.obsm["scim_search_distances"])
    assert (ids[:, 120:] == -1).all()
    np.testing.assert_array_equal(
        with_some.obsm["scim_search_similar"][~empty][:, :120], cells.obsm["scim_search_similar"]
    )
    pd.testing.assert_frame_equal(
        scim.get.composition(with_some, "label", atlas=more), scim.get.composition(cells, "label", atlas=plain)
    )


@pytest.mark.parametrize("centroid", ["counts", "embedding", "contrast"])
def test_a_group_without_counts_has_no_hits_and_changes_no_other(atlases, queries, centroid):
    (plain, more), (cells, with_some, _) = atlases, queries
    for adata, atlas in ((cells, plain), (with_some, more)):
        scim.tl.search(adata, atlas, groupby="group", k=9, centroid=centroid, key_added="by_group")
    found, expected = with_some.uns["by_group"], cells.uns["by_group"]
    assert found["groups"].tolist() == [*expected["groups"], "empty"]
    np.testing.assert_array_equal(found["ids"][:-1], as_ids_of(more, expected["ids"]))
    np.testing.assert_allclose(found["distances"][:-1], expected["distances"], rtol=1e-5)
    np.testing.assert_array_equal(found["similar"][:-1], expected["similar"])
    np.testing.assert_allclose(found["coherence"], [*expected["coherence"], np.nan], rtol=1e-5)
    assert (found["ids"][-1] == -1).all()
    assert np.isinf(found["distances"][-1]).all()


def test_empty_cells_of_a_group_change_nothing_of_it(atlases, queries):
    (plain, _), (cells, with_some, _) = atlases, queries
    for adata in (cells, with_some):
        scim.tl.search(adata, plain, groupby="cell_type", k=9, key_added="by_type")
    for name in ("ids", "distances", "similar", "coherence"):
        np.testing.assert_allclose(with_some.uns["by_type"][name], cells.uns["by_type"][name], rtol=1e-5)


def test_a_contrast_needs_two_groups_with_counts():
    with pytest.raises(ValueError, match="needs at least two groups of `groupby`, got 3, of which one has counts"):
        contrast(np.eye(3, 4)[[0, 0, 0]] * [[1], [0], [0]])


def test_cells_are_unknown_and_so_is_a_group_of_them(atlases, queries):
    (plain, more), (cells, with_some, empty) = atlases, queries
    how = {"groupby": "group", "max_error": 1.0, "expression": False, "statistics": True}
    for adata, atlas in ((cells, plain), (with_some, more)):
        scim.tl.annotate(adata, atlas, **how)
    obs, expected = with_some.obs, cells.obs
    assert with_some.uns["scim_label"]["n_cells_empty"] == 4
    assert obs["scim_label"][empty].isna().all()
    assert obs["scim_label_novelty"][empty].isna().all()
    assert (obs["scim_label_confidence"][empty] == 0).all()
    assert np.isinf(obs["scim_label_distance"][empty]).all()
    assert (with_some.obsm["scim_label_codes"][empty] == -1).all()
    for name in expected.columns[expected.columns.str.startswith("scim_label")]:
        ours, theirs = obs[name][~empty].astype(object), expected[name].astype(object)
        pd.testing.assert_series_equal(ours, theirs, check_exact=False, rtol=1e-6)
    groups = with_some.uns["scim_label"]["groups"]
    pd.testing.assert_frame_equal(
        groups[groups["group"] != "empty"].reset_index(drop=True),
        cells.uns["scim_label"]["groups"].reset_index(drop=True),
        check_categorical=False, rtol=1e-6,
    )  # fmt: skip
    (group,) = groups[groups["group"] == "empty"].itertuples()
    assert pd.isna(group.label)
    assert (group.confidence, group.unknown, group.novel) == (0, 1, 0)


def test_they_are_not_novel(atlases, queries):
    (_, more), (_, with_some, empty) = atlases, queries
    scim.tl.annotate(with_some, more, max_error=1.0)
    scim.tl.novel(with_some, more, groupby="group", threshold=0.0, min_cells=1)
    assert (with_some.obs["scim_novel"].isna() == empty).all()
    assert with_some.uns["scim_novel"]["n_cells_empty"] == 4
    assert "empty" not in with_some.uns["scim_novel"]["clusters"]["cluster"].tolist()


def test_they_are_in_no_sample_of_the_atlas(atlases, queries, caplog):
    (plain, more), (cells, with_some, _) = atlases, queries
    for adata, atlas in ((cells, plain), (with_some, more)):
        scim.tl.search(adata, atlas, groupby="cell_type", k=40, key_added="hits")
        scim.tl.enrichment(adata, "tissue", sample_key="sample", only_similar=False, atlas=atlas, key="hits")
    pd.testing.assert_frame_equal(scim.get.enrichment(with_some), scim.get.enrichment(cells))
    assert with_some.uns["scim_enrichment"]["n_cells_empty"] == 26
    by = {"sample_key": "sample", "centroid": "counts"}
    with caplog.at_level(logging.INFO, "scim"):
        scores = scim.tl.score_similarity(with_some, "group", more, **by)
    assert "left out 26 of 146 cells of the atlas (17.8 %) without counts" in caplog.text
    is_empty = scores["query"] == "empty"
    pd.testing.assert_frame_equal(scores[~is_empty], scim.tl.score_similarity(cells, "group", plain, **by))
    assert np.isinf(scores.loc[is_empty, ["mean", "quantile"]]).all(axis=None)
    assert (scores.loc[is_empty, "share"] == 0).all()
    systems = {"system_key": "tissue", "sample_key": "sample", "min_cells": 1}
    ranked = scim.tl.rank_systems(with_some, "group", more, **systems)
    pd.testing.assert_frame_equal(ranked, scim.tl.rank_systems(cells, "group", plain, **systems))
    distances = scim.tl.score_similarity(with_some, "group", more)
    np.testing.assert_array_equal(distances.index, plain_ids(more))
    assert np.isinf(distances.pop("empty")).all()
    np.testing.assert_allclose(distances, scim.tl.score_similarity(cells, "group", plain), rtol=1e-5)


def test_pairs_with_them_explain_nothing(queries):
    _, with_some, _ = queries
    with pytest.warns(ScimWarning, match=f"{NO_COUNT}; pairs with them are left out"):
        scim.tl.explain(with_some, model=fakes.tiny_model(), groupby="group", n_pairs=6, n_steps=2)
    found = with_some.uns["scim_explain"]
    n_pairs = dict(zip(found["groups"], found["n_pairs"], strict=True))
    assert n_pairs["empty"] == 0 < n_pairs["B cell"] < 6
    assert set(scim.get.attribution(with_some)["group"]) == {"B cell", "T cell", "classical monocyte"}


def test_tables_and_pictures_of_cells_without_any_hit(atlases, queries):
    _, with_some, empty = queries
    none = with_some[empty].copy()
    none.obsm["X_map"] = np.zeros((none.n_obs, 2))
    for groupby in (None, "group"):
        scim.tl.search(none, atlases[1], groupby=groupby, k=3)
        assert len(scim.get.hits(none, only_similar=False)) == 0
        assert len(scim.get.composition(none, ["query", "label"])) == 0
        scim.pl.hits(none, basis="map")
        scim.pl.composition(none, "label")
        scim.pl.hits_heatmap(none, "label")
        scim.pl.hits_circles(none, ["study", "label"])
        scim.tl.enrichment(none, "label", sample_key="sample")
        assert (scim.get.enrichment(none)["reason"] == "no hits").all()
        scim.pl.enrichment(none)
    scim.tl.annotate(none, atlases[1], max_error=1.0)
    assert len(scim.get.votes(none)) == 0
    assert scim.get.annotation(none)["label"].isna().all()
    scim.pl.novelty(none)
    plt.close("all")
    with pytest.raises(ValueError, match=r"No group of obs\['group'\] has counts"):
        scim.tl.rank_systems(none, "group", atlases[1], system_key="tissue", sample_key="sample")


def test_an_atlas_of_them_alone(tmp_path):
    cells, _ = with_empty(fakes.cells(30), range(30))
    with scim.atlas.create(tmp_path / "none.scim", model=fakes.tiny_model()) as atlas:
        with pytest.warns(ScimWarning, match=r"30 \(100.0%\) of the appended cells"):
            atlas.append(cells[cells.obs_names.str.startswith("empty")].copy(), study="a", label_key="cell_type")
        atlas.build_index()
        assert (atlas.n_obs, atlas.label_radius) == (30, 2.0)
        query = fakes.cells(5)
        scim.tl.embed(query, atlas)
        with pytest.raises(ValueError, match="The atlas has no labelled cell"):
            scim.tl.annotate(query, atlas)
        with pytest.raises(ValueError, match="No cell of the atlas"):
            scim.tl.search(query, atlas)
        with pytest.raises(ValueError, match="No cell of the atlas has counts"):
            scim.tl.score_similarity(query, "cell_type", atlas)


def test_an_atlas_of_embeddings_that_is_appended_to_compacted_and_verified(tmp_path):
    rows = np.random.default_rng(0).normal(size=(90, 8))
    rows[[2, 40, 41, 89]] = 0
    rows[5] *= 1e-30  # short, but not zero
    obs = pd.DataFrame({"label": np.tile(["T cell", "B cell", "monocyte"], 30)}, index=np.arange(90).astype(str))
    adata = anndata.AnnData(obs=obs, obsm={"E": rows})
    with pytest.warns(ScimWarning, match=r"3 \(5.0%\) of the appended cells have an embedding of zeros"):
        atlas = scim.atlas.from_embedding(adata[:60].copy(), tmp_path / "a", obsm="E", study="a", label_key="label")
    with atlas:
        with pytest.warns(ScimWarning, match=r"1 \(3.3%\)"):
            atlas.append(adata[60:].copy(), obsm="E", study="b", label_key="label")
        for change in (list, lambda: atlas.remove("cell_id == '40'"), atlas.compact):
            change()
            kept = [i for i in (2, 40, 41, 89) if i in atlas.ids]
            np.testing.assert_array_equal(atlas.index.empty_ids, kept)
            assert not atlas.embeddings(kept).any()
            assert atlas.obs(kept)["label"].notna().all()
            found = atlas.index.query(rows, 90)
            assert (found.ids[[2, 40, 41, 89]] == -1).all()
            assert set(found.ids[0]) == {-1, *range(90)} - {2, 40, 41, 89}
            assert found.ids[5, 0] == 5
            assert scim.atlas.verify(atlas.path) == []


def test_an_atlas_that_is_embedded_again(tmp_path):
    cells, empty = with_empty(fakes.cells(60))
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        with pytest.warns(ScimWarning, match=NO_COUNT):
            atlas.append(cells, study="a", label_key="cell_type", counts=True)
        atlas.build_index()
        atlas.reembed(fakes.tiny_model(7))
        np.testing.assert_array_equal(atlas.index.empty_ids, np.flatnonzero(empty))
        assert scim.atlas.verify(atlas.path) == []


def test_they_do_not_train(caplog):
    plain = [fakes.cells(60, seed=seed) for seed in (1, 2)]
    more = [with_empty(cells, foreign=0)[0][:, cells.var_names].copy() for cells in plain]
    with caplog.at_level(logging.INFO, "scim"):
        models = [train(data, label_key="cell_type", rng=0, **QUICK) for data in (plain, more)]
    assert "6 of 126 labelled cells (4.8 %) have no count in the model's genes and are left out" in caplog.text
    assert models[0].uid == models[1].uid
    assert [model.metadata["n_cells_empty"] for model in models] == [0, 6]
    assert [model.metadata["n_cells"] for model in models] == [120, 120]
    one_study, _ = with_empty(plain[0], range(60), foreign=0)
    one_study.obs["study"] = np.where(one_study.obs_names.str.startswith("empty"), "a", "b")
    with pytest.raises(ValueError, match=r"and the studies \['b'\]; expected two or more of both"):
        train(one_study, label_key="cell_type", study_key="study", rng=0, **QUICK)


def test_they_are_not_evaluated():
    model = fakes.tiny_model()
    plain = {"a": fakes.cells(60, seed=1), "b": fakes.cells(60, seed=2)}
    more = {name: with_empty(cells)[0] for name, cells in plain.items()}
    found, expected = (evaluate(model, data, label_key="cell_type", rng=0, max_error=1.0) for data in (more, plain))
    assert found.studies.pop("n_cells_empty").tolist() == [3, 3]
    assert expected.studies.pop("n_cells_empty").tolist() == [0, 0]
    pd.testing.assert_frame_equal(found.studies, expected.studies)
    pd.testing.assert_frame_equal(found.confusion, expected.confusion)
    X = np.repeat(np.eye(2), 4, axis=0)
    labels, studies = ["T cell"] * 4 + ["B cell"] * 4, ["a", "b"] * 4
    scores = embedding_scores(
        np.vstack([X, np.zeros((2, 2))]), [*labels, "T cell", "B cell"], [*studies, "a", "b"], k=2
    )
    assert scores == embedding_scores(X, labels, studies, k=2)


def test_label_transfer_on_arrays():
    rng = np.random.default_rng(0)
    types, centres = rng.integers(0, 3, 150), rng.normal(size=(3, 16))
    X = centres[types] + rng.normal(scale=0.3, size=(150, 16))
    labels, studies = np.array(["T cell", "B cell", "monocyte"])[types], np.repeat(["a", "b", "c"], 50)
    plain = LabelTransfer.fit(X, labels, studies)
    more = LabelTransfer.fit(
        np.insert(X, [0, 70], 0, axis=0), np.insert(labels, [0, 70], "T cell"), np.insert(studies, [0, 70], "b")
    )
    queries = np.vstack([centres, np.zeros(16)])
    for prediction in (plain.predict(queries), more.predict(queries)):
        assert prediction.labels.tolist() == ["T cell", "B cell", "monocyte", None]
        assert np.isinf(prediction.distance[-1])
    np.testing.assert_allclose(more.predict(queries[:3]).confidence, plain.predict(queries[:3]).confidence, rtol=1e-5)
