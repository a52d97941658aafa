"""Test which hits are like their query against brute force, and on simulated atlases of known states."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from scim.label_transfer import LabelTree
from scim.tl._label_spread import label_spread
from scim.tl._similar_hits import LabelVotes, group_votes, like_labels, sample_groups

NAMES = ["CD4-positive, alpha-beta T cell", "naive thymus-derived CD4-positive, alpha-beta T cell",
         "CD4-positive, alpha-beta memory T cell", "CD8-positive, alpha-beta T cell", "B cell", "T cell"]  # fmt: skip
TREE = LabelTree.of(NAMES, [scim.ontology.term_id(name) for name in NAMES])


def like_by_hand(shares, tree):
    """Compare each label with each rival, by all terms that tell them apart."""
    votes = tree.inside @ shares
    like = np.zeros(len(shares), dtype=bool)
    for label in np.flatnonzero(shares):
        rivals = [rival for rival in np.flatnonzero(shares) if not tree.related[label, rival]]
        mine = [votes[tree.inside[:, label] & ~tree.inside[:, rival]].max() for rival in rivals]
        other = [votes[tree.inside[:, rival] & ~tree.inside[:, label]].max() for rival in rivals]
        if all(a >= 0.9 * b for a, b in zip(mine, other, strict=True)):
            like |= tree.related[label]
    return like


@pytest.mark.parametrize("seed", range(20))
def test_like_labels_are_those_without_a_stronger_rival(seed):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(len(NAMES), 0.5), size=3) * (rng.random((3, len(NAMES))) < 0.8)
    codes = np.argsort(-shares, axis=1).astype(np.int32)
    ordered = np.take_along_axis(shares, codes, axis=1)
    found = like_labels(np.where(ordered > 0, codes, -1), ordered.astype(np.float32), TREE)
    np.testing.assert_array_equal(found, [like_by_hand(row.astype(np.float32), TREE) for row in shares])


def test_subtypes_are_joined_against_a_rival():
    """CD4 T cells have .6 of the votes, each subtype less than CD8 T cells: CD8 T cells are not like the query."""
    codes, shares = np.array([[3, 1, 2]], dtype=np.int32), np.array([[0.4, 0.31, 0.29]], dtype=np.float32)
    like = like_labels(codes, shares, TREE)[0]
    assert [name for name, is_like in zip(NAMES, like, strict=True) if is_like] == [*NAMES[:3], "T cell"]


def test_votes_of_a_group_are_the_mean_of_its_cells():
    votes = LabelVotes(
        np.array([[0, 1], [0, -1], [2, 1]], dtype=np.int32),
        np.array([[0.75, 0.25], [1, 0], [0.6, 0.4]], dtype=np.float32),
        np.array([0.1, 0.3, 0.5], dtype=np.float32),
    )
    group = group_votes(votes, np.array([0, 0, 1]), 2, 3)
    np.testing.assert_array_equal(group.codes, [[0, 1, -1], [2, 1, -1]])
    np.testing.assert_allclose(group.shares[:, :2], [[0.875, 0.125], [0.6, 0.4]])
    np.testing.assert_allclose(group.novelty, [0.2, 0.5])


def test_the_sample_of_a_group_depends_neither_on_order_nor_on_duplicates():
    X = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    groups = scim._core.adata.group_values(np.where(np.arange(500) < 30, "small", "large"), "groups")
    rows, codes = sample_groups(X, groups)
    assert np.bincount(codes).tolist() == [100, 30]
    order = np.random.default_rng(1).permutation(500)
    again = np.r_[order, order]
    other, _ = sample_groups(X[again], groups._replace(codes=groups.codes[again]))
    np.testing.assert_array_equal(X[rows], X[again][other])


TYPES = ["B cell", "T cell", "platelet", "neuron"]


def cells(n, seed, noise=0.05):
    """Cells around four axes; B and T cells are near each other."""
    rng, state = np.random.default_rng(seed), np.arange(n) % 4
    centres = np.eye(16)[:4]
    centres[1] = 0.9 * centres[0] + 0.44 * centres[1]
    X = (centres[state] + noise * rng.normal(size=(n, 16))).astype(np.float32)
    obs = pd.DataFrame({"label": np.array(TYPES)[state]}, index=[f"c{i}" for i in range(n)])
    return anndata.AnnData(obs=obs, obsm={"X_scim": X / np.linalg.norm(X, axis=1, keepdims=True)})


def atlas_of(adata, path, label_key="label"):
    adata.obs["study"] = np.array(list("abc"))[np.arange(adata.n_obs) // 4 % 3]
    names = {"label_key": label_key, "study_key": "study", "columns": ["true"] if "true" in adata.obs else []}
    scim.atlas.from_embedding(adata, path, obsm="X_scim", **names).close()
    return path


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    adata = cells(480, 0)
    adata.obs["true"] = adata.obs["label"]
    return atlas_of(adata, tmp_path_factory.mktemp("similar") / "labelled.scim")


@pytest.mark.parametrize("groupby", [None, "label"])
def test_hits_of_other_types_are_marked(labelled, groupby):
    query = cells(40, 1)
    scim.tl.search(query, labelled, groupby=groupby, k=200)
    frame = scim.get.hits(query, ["label"], only_similar=False)
    true = frame["query"] if groupby else query.obs["label"].loc[frame["query"]].reset_index(drop=True)
    is_true = frame["label"].to_numpy() == true.to_numpy()
    assert is_true.sum() == 120 * (4 if groupby else 40)
    assert (frame["similar"] & ~is_true).sum() == 0
    assert (frame["similar"] & is_true).sum() > 0.95 * is_true.sum()
    assert len(scim.get.hits(query)) == frame["similar"].sum()


def test_a_filter_that_leaves_no_cell_of_the_type_leaves_no_similar_hit(labelled, caplog):
    query = cells(40, 1)
    query = query[query.obs["label"] == "B cell"].copy()
    caplog.set_level("INFO", logger="scim")
    scim.tl.search(query, labelled, groupby="label", k=50, where="label != 'B cell'")
    assert not query.uns["scim_search"]["similar"].any()
    frame = scim.get.hits(query, ["true"])
    assert frame.empty
    assert frame.columns.tolist() == ["query", "rank", "id", "distance", "similar", "true"]
    assert "50 of 50 hits of uns['scim_search'] are not like their query" in caplog.text
    counted = scim.get.composition(query, ["query", "label"])
    assert counted.empty
    assert counted.columns.tolist() == ["query", "label", "n_hits", "share", "median_distance"]
    assert scim.get.composition(query, "label", only_similar=False)["n_hits"].sum() == 50


def test_a_type_that_the_atlas_lacks_has_no_similar_hits(labelled):
    query = cells(12, 2)
    query.obsm["X_scim"] = np.roll(query.obsm["X_scim"], 8, axis=1)
    scim.tl.search(query, labelled, k=5)
    assert not query.obsm["scim_search_similar"].any()


def test_without_labels_the_radius_decides(tmp_path):
    reference = cells(240, 0)
    reference.obs = reference.obs.drop(columns="label").assign(none="unknown")
    path, query = atlas_of(reference, tmp_path / "plain.scim", "none"), cells(8, 1)
    scim.tl.search(query, path, k=100)
    with scim.atlas.open(path) as atlas:
        expected = query.obsm["scim_search_distances"] <= atlas.label_radius
    np.testing.assert_array_equal(query.obsm["scim_search_similar"], expected)
    assert expected.any()
    assert not expected.all()


def test_a_hit_without_a_label_has_that_of_the_cells_around_it(tmp_path):
    reference = cells(480, 0)
    reference.obs["true"] = reference.obs["label"]
    reference.obs["label"] = reference.obs["label"].where(np.arange(480) % 12 >= 4, "unknown")
    path, query = atlas_of(reference, tmp_path / "partly.scim"), cells(40, 1)
    scim.tl.search(query, path, groupby="label", k=200)
    frame = scim.get.hits(query, ["true", "label"], only_similar=False)
    unlabelled = frame[frame["label"].isin(["unknown"]) | frame["label"].isna()]
    assert len(unlabelled) > 100
    assert (unlabelled["similar"] == (unlabelled["true"] == unlabelled["query"])).mean() > 0.95


def test_a_search_of_an_earlier_version_counts_all_hits(labelled):
    query = cells(8, 1)
    scim.tl.search(query, labelled, groupby="label", k=200)
    del query.uns["scim_search"]["similar"]
    assert len(scim.get.hits(query, ["label"])) == 800
    scim.tl.search(query, labelled, k=200)
    del query.uns["scim_search"]["similar_key"]
    assert len(scim.get.hits(query, ["label"])) == 1600


def test_the_spread_of_a_label_is_that_of_its_cells_in_two_studies(labelled):
    with scim.atlas.open(labelled) as atlas:
        transfer = atlas.label_transfer()
        spread = label_spread(atlas, transfer)
        obs, X = atlas.obs(columns=["label", "study"]), atlas.embeddings()
        assert label_spread(atlas, transfer) is spread
    for name, value in zip(transfer.labels, spread, strict=True):
        rows = np.flatnonzero(obs["label"] == name)  # 40 cells of each label in each study
        other = obs["study"].to_numpy()[rows][:, None] != obs["study"].to_numpy()[rows]
        np.testing.assert_allclose(value, np.quantile((1 - X[rows] @ X[rows].T)[other], 0.99), rtol=0.1)
