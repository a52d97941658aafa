from __future__ import annotations

import numpy as np
import pytest

import scim


def oracle(adata, atlas, k):
    """Count the balanced, distance-weighted vote cell by cell."""
    codes, names, _ = atlas.labels
    voters = np.flatnonzero(codes >= 0)
    distances = 1 - adata.obsm["X_scim"].astype(np.float64) @ atlas.embeddings(voters).T.astype(np.float64)
    size = np.bincount(codes[voters])
    winners, shares = [], []
    for row in distances:
        nearest = np.argsort(row)[:k]
        total = np.zeros(len(names))
        for j in nearest:
            code = codes[voters[j]]
            total[code] += 1 / max(row[j], 1e-6) / np.sqrt(size[code])
        winners.append(names[total.argmax()])
        shares.append(total.max() / total.sum())
    return np.array(winners), np.array(shares)


@pytest.mark.parametrize("k", [1, 15, 1000])
def test_labels_and_confidence_are_those_of_a_plain_vote(adata, atlas_path, k):
    with scim.atlas.open(atlas_path) as atlas:
        scim.tl.annotate(adata, atlas, k=k, max_distance=2.0)
        winners, shares = oracle(adata, atlas, k)
    assert adata.obs["scim_label"].astype(str).tolist() == winners.tolist()
    np.testing.assert_allclose(adata.obs["scim_label_confidence"], shares, rtol=1e-3)


def test_toy_cells_get_their_type(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, max_distance=2.0)
    right = adata.obs["scim_label"].astype(str) == adata.obs["cell_type"].astype(str)
    assert right.mean() > 0.9
    ids = dict(zip(adata.obs["scim_label"], adata.obs["scim_label_id"], strict=True))
    assert ids["T cell"] == "CL:0000084"


def test_slots_and_votes(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, k=30, top_n=2, max_distance=2.0)
    assert adata.obsm["scim_label_codes"].dtype == np.int32
    assert adata.obsm["scim_label_shares"].shape == (45, 2)
    votes = scim.get.votes(adata)
    best = votes[votes["rank"] == 1].set_index("cell")
    assert best["label"].tolist() == adata.obs["scim_label"].astype(str).tolist()
    np.testing.assert_array_equal(best["share"], adata.obs["scim_label_confidence"])
    assert votes.groupby("cell")["share"].sum().between(0, 1.0001).all()


def test_slices_keep_their_rows(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    part = adata[[30, 2, 17]].copy()
    assert scim.get.votes(part)["cell"].unique().tolist() == part.obs_names.tolist()
    np.testing.assert_array_equal(part.obsm["scim_label_shares"], adata.obsm["scim_label_shares"][[30, 2, 17]])


def test_where_restricts_who_votes(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, where="label == 'T cell'", max_distance=2.0)
    assert adata.obs["scim_label"].cat.categories.tolist() == ["T cell"]
    assert (adata.obs["scim_label_confidence"] == 1).all()


def test_far_and_unsure_cells_are_unknown(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, max_distance=0.0)
    assert adata.obs["scim_label"].isna().all()
    assert adata.obs["scim_label_id"].isna().all()
    scim.tl.annotate(adata, atlas_path, max_distance=2.0, min_confidence=0.8)
    unsure = adata.obs["scim_label_confidence"] < 0.8
    assert unsure.any()
    np.testing.assert_array_equal(adata.obs["scim_label"].isna(), unsure)


def test_the_default_limit_is_one_and_a_half_reaches_of_the_atlas(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    with scim.atlas.open(atlas_path) as atlas:
        assert adata.uns["scim_label"]["params"]["max_distance"] == pytest.approx(1.5 * atlas.reach)
        far = adata.obs["scim_label_distance"] > 1.5 * atlas.reach
    np.testing.assert_array_equal(adata.obs["scim_label"].isna(), far)


def test_balance_lets_rare_labels_win(adata, atlas_path, tmp_path):
    from helpers import fakes

    with scim.atlas.create(tmp_path / "uneven.scim", model=fakes.tiny_model()) as atlas:
        cells = fakes.cells(120, seed=2)
        keep = (cells.obs["cell_type"] != "B cell") | (cells.obs["n"] < 10)
        atlas.append(cells[keep].copy(), study="one", label_key="cell_type")
        atlas.build_index()
        found = {}
        for balance in (True, False):
            scim.tl.annotate(adata, atlas, balance=balance, weights="uniform", k=60, max_distance=2.0)
            votes = scim.get.votes(adata)
            found[balance] = votes.loc[votes["label"] == "B cell", "share"].sum()
    assert found[True] > 1.3 * found[False]


def test_copy_leaves_the_input_alone(adata, atlas_path):
    columns = list(adata.obs)
    other = scim.tl.annotate(adata, atlas_path, key_added="mine", copy=True)
    assert list(adata.obs) == columns
    assert {"mine", "mine_id", "mine_confidence", "mine_distance"} <= set(other.obs)
    assert {"mine_codes", "mine_shares"} <= set(other.obsm)
    assert other.uns["mine"]["params"]["k"] == 50
