from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes


def oracle(adata, atlas, k, *, balanced):
    """Sum the weights of the labels cell by cell."""
    codes, names, _ = atlas.labels
    studies = pd.factorize(atlas.obs(columns=["study"])["study"])[0]
    labelled = np.flatnonzero(codes >= 0)
    X, rows = adata.obsm["X_scim"].astype(np.float64), atlas.embeddings(labelled).astype(np.float64)
    distances = np.clip(1 - X @ rows.T, 0, 2)
    size = np.bincount(codes[labelled])
    near = np.full((len(X), len(names)), 2.0)
    for code in range(len(names)):
        for study in np.unique(studies):
            mine = (codes[labelled] == code) & (studies[labelled] == study)
            centroid = rows[mine].mean(axis=0)
            near[:, code] = np.minimum(near[:, code], 1 - X @ centroid / np.linalg.norm(centroid))
    winners, shares = [], []
    for row, close in zip(distances, near, strict=True):
        total = np.zeros((len(names), studies.max() + 1))
        for j in np.argsort(row)[:k]:
            code = codes[labelled[j]]
            total[code, studies[labelled[j]]] += 1 / max(row[j], 1e-6) / (np.sqrt(size[code]) if balanced else 1)
        votes = (total**0.65).sum(axis=1) / np.sqrt(close) if balanced else total.sum(axis=1)
        winners.append(names[votes.argmax()])
        shares.append(votes.max() / votes.sum())
    return np.array(winners), np.array(shares)


@pytest.mark.parametrize("k", [1, 15, 1000])
@pytest.mark.parametrize("weights", ["balanced", "distance"])
def test_labels_and_shares_are_those_of_a_plain_vote(adata, atlas_path, k, weights):
    with scim.atlas.open(atlas_path) as atlas:
        scim.tl.annotate(adata, atlas, k=k, max_error=1, weights=weights, expression=False)
        winners, shares = oracle(adata, atlas, k, balanced=weights == "balanced")
    assert adata.obs["scim_label"].astype(str).tolist() == winners.tolist()
    np.testing.assert_allclose(adata.obsm["scim_label_shares"][:, 0], shares, rtol=2e-3)


def test_toy_cells_get_their_type(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, max_error=1)
    right = adata.obs["scim_label"].astype(str) == adata.obs["cell_type"].astype(str)
    assert right.mean() > 0.9
    assert abs(adata.obs["scim_label_confidence"].mean() - right.mean()) < 0.1
    ids = dict(zip(adata.obs["scim_label"], adata.obs["scim_label_id"], strict=True))
    assert ids["T cell"] == "CL:0000084"


def test_slots_and_votes(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, k=30, top=2, max_error=1)
    assert adata.obsm["scim_label_codes"].dtype == np.int32
    assert adata.obsm["scim_label_shares"].shape == (45, 2)
    assert adata.obs["scim_label_confidence"].dtype == np.float32
    assert set(adata.obs["scim_label_studies"]) <= {1, 2}
    votes = scim.get.votes(adata)
    best = votes[votes["rank"] == 1].set_index("cell")
    assert best["label"].tolist() == adata.obs["scim_label"].astype(str).tolist()
    np.testing.assert_array_equal(best["share"], adata.obsm["scim_label_shares"][:, 0])
    assert votes.groupby("cell")["share"].sum().between(0, 1.0001).all()


def test_slices_keep_their_rows(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, groupby="sample")
    part = adata[[30, 2, 17]].copy()
    assert scim.get.votes(part)["cell"].unique().tolist() == part.obs_names.tolist()
    np.testing.assert_array_equal(part.obsm["scim_label_shares"], adata.obsm["scim_label_shares"][[30, 2, 17]])


def test_one_cell_is_labelled_as_among_others(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path)
    alone = adata[[7]].copy()
    scim.tl.annotate(alone, atlas_path, key_added="alone")
    assert alone.obs["alone"].astype(str).tolist() == alone.obs["scim_label"].astype(str).tolist()
    np.testing.assert_allclose(alone.obs["alone_confidence"], alone.obs["scim_label_confidence"], rtol=1e-4)


def test_where_restricts_the_eligible_cells(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, where="label == 'T cell'", max_error=1, expression=False)
    assert adata.obs["scim_label"].cat.categories.tolist() == ["T cell"]
    assert (adata.obsm["scim_label_shares"][:, 0] == 1).all()
    others = adata.obs["cell_type"].astype(str) != "T cell"
    assert adata.obs.groupby(others)["scim_label_confidence"].median().is_monotonic_decreasing


def test_allow_and_block_act_inside_the_search(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, allow=["T cell", "CL:0000236"], max_error=1, k=20, level="label", top=3)
    assert set(adata.obs["scim_label"].cat.categories) == {"T cell", "B cell"}
    allowed = adata.copy()
    scim.tl.annotate(adata, atlas_path, block="monocyte", max_error=1, k=20, level="label", top=3)
    np.testing.assert_array_equal(allowed.obsm["scim_label_shares"], adata.obsm["scim_label_shares"])
    assert adata.uns["scim_label"]["params"]["block"] == "monocyte"


def test_a_term_includes_its_descendants(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, allow="lymphocyte", max_error=1)
    assert "monocyte" not in set(adata.obs["scim_label"].cat.categories)


@pytest.mark.filterwarnings("ignore:max_error=:scim._core.errors.ScimWarning")  # few cells: low limits are not kept
def test_unknown_by_error_rate_and_by_distance(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, max_distance=0.0)
    assert adata.obs["scim_label"].isna().all()
    assert adata.obs["scim_label_id"].isna().all()
    shares = []
    for max_error in (1.0, 0.1, 0.0):
        scim.tl.annotate(adata, atlas_path, max_error=max_error, level="label")
        unsure = adata.obs["scim_label_confidence"] < adata.uns["scim_label"]["params"]["threshold"]
        np.testing.assert_array_equal(adata.obs["scim_label"].isna(), unsure)
        shares.append(1 - unsure.mean())
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def test_novel_cells_are_unknown(atlas_path):
    X = np.random.default_rng(0).normal(size=(40, 16))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X[0] = 0  # a cell without counts
    cells = anndata.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(40)]), obsm={"X_scim": X})
    scim.tl.annotate(cells, atlas_path)
    assert cells.obs["scim_label"].isna().mean() > 0.9
    assert cells.obs["scim_label_confidence"].iloc[0] == 0


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """An atlas with T cells that are CD4 or CD8 T cells at random: neighbours cannot separate them."""
    path = tmp_path_factory.mktemp("fine") / "fine.scim"
    with scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        for study, seed in (("one", 2), ("two", 3), ("three", 4)):
            cells = fakes.cells(120, seed=seed)
            words = np.array(["CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"])
            random = words[np.random.default_rng(seed).integers(0, 2, cells.n_obs)]
            types = cells.obs["cell_type"].astype(str).to_numpy()
            cells.obs["fine"] = np.where(types == "T cell", random, types)
            cells.obs["coarse"] = types
            atlas.append(cells, study=study, label_key="fine", obs_columns=["coarse", "age"])
        atlas.build_index()
    return path


def test_undecided_children_roll_up_to_their_parent(adata, fine):
    scim.tl.annotate(adata, fine, max_error=0.1)
    t_cells = adata.obs["cell_type"] == "T cell"
    found = adata.obs.loc[t_cells, "scim_label"].astype(str)
    assert (found == "mature alpha-beta T cell").mean() > 0.5
    assert set(adata.obs.loc[t_cells, "scim_label_id"].dropna()) <= {
        "CL:0000791",
        "CL:0000624",
        "CL:0000625",
        "CL:0000542",
    }
    assert (adata.obs.loc[found.index[found == "mature alpha-beta T cell"], "scim_label_confidence"] > 0.5).all()


def test_levels_do_not_contradict_each_other(adata, fine):
    predicted, confidences = {}, []
    for level in ("label", ["T cell", "B cell", "monocyte"], ["leukocyte"], 5):
        scim.tl.annotate(adata, fine, max_error=1, level=level)
        predicted[str(level)] = adata.obs["scim_label"].astype(str)
        confidences.append(adata.obs["scim_label_confidence"].to_numpy())
    assert (np.diff(confidences[:3], axis=0) >= -1e-6).all()  # less and less specific labels
    label, types, leukocyte, depth = predicted.values()
    assert set(types) == {"T cell", "B cell", "monocyte"}
    assert set(leukocyte) == {"leukocyte"}
    is_t = label.str.contains("T cell")
    np.testing.assert_array_equal(is_t, types == "T cell")
    np.testing.assert_array_equal(is_t, depth == "T cell")  # five steps below the root


def test_another_column_as_labels(adata, fine):
    with scim.atlas.open(fine) as atlas:
        scim.tl.annotate(adata, atlas, label_key="coarse", max_error=1)
        right = adata.obs["scim_label"].astype(str) == adata.obs["cell_type"].astype(str)
        assert right.mean() > 0.9
        assert adata.obs["scim_label_id"].notna().all()
        assert atlas.label_transfer("coarse") is atlas.label_transfer("coarse")
        with pytest.raises(KeyError, match=r"no column \['organ'\]. Present: .*'coarse'"):
            scim.tl.annotate(adata, atlas, label_key="organ")
        with pytest.raises(ValueError, match="label_key='age' must be a column of text"):
            scim.tl.annotate(adata, atlas, label_key="age")


def test_groups_have_a_consensus(adata, atlas_path):
    adata.obs["cluster"] = adata.obs["cell_type"].astype(str)
    adata.obs.loc[adata.obs_names[:2], "cluster"] = np.nan
    adata.obs["mixture"] = "all"
    scim.tl.annotate(adata, atlas_path, groupby="cluster", max_error=0.5)
    table = adata.uns["scim_label"]["groups"].set_index("group")
    assert table["label"].astype(str).tolist() == table.index.tolist()
    assert (table["confidence"] > 0.5).all()
    assert not table["mixed"].any()
    assert table["n_cells"].sum() == 43
    assert adata.obs["scim_label_group"].isna().tolist() == [True] * 2 + [False] * 43
    for group, row in table.iterrows():
        inside = adata.obs["cluster"] == group
        assert (adata.obs.loc[inside, "scim_label_group_confidence"] == row["confidence"]).all()
    scim.tl.annotate(adata, atlas_path, groupby="mixture", max_error=1)
    assert adata.uns["scim_label"]["groups"]["mixed"].tolist() == [True]
    assert adata.uns["scim_label"]["groups"]["runner_up_share"].iloc[0] >= 0.25


def test_copy_leaves_the_input_unchanged(adata, atlas_path):
    columns = list(adata.obs)
    other = scim.tl.annotate(adata, atlas_path, key_added="mine", copy=True, groupby="sample")
    assert list(adata.obs) == columns
    assert {"mine", "mine_id", "mine_confidence", "mine_distance", "mine_studies", "mine_group"} <= set(other.obs)
    assert {"mine_codes", "mine_shares"} <= set(other.obsm)
    assert other.uns["mine"]["params"]["k"] == 50


def test_confidence_is_kept_in_the_atlas(atlas_path, tmp_path):
    with scim.atlas.open(atlas_path) as atlas:
        stored = atlas.snapshot.embedding.index.confidence
        assert stored is atlas.label_transfer().calibration
        assert stored.n_studies == 2
    with scim.atlas.create(tmp_path / "unlabelled.scim", model=fakes.tiny_model()) as atlas:
        atlas.append(fakes.cells(30), study="one")
        atlas.build_index()
        assert atlas.snapshot.embedding.index.confidence is None
        cells = fakes.cells(30)
        scim.tl.embed(cells, atlas)
        with pytest.raises(ValueError, match="The atlas has no labelled cell: no cell has a value of"):
            scim.tl.annotate(cells, atlas)


def test_new_labels_and_cells_are_eligible_at_once(adata, tmp_path):
    with scim.atlas.create(tmp_path / "grown.scim", model=fakes.tiny_model()) as atlas:
        first = fakes.cells(90, seed=2)
        atlas.append(first[first.obs["cell_type"] != "B cell"].copy(), study="one", label_key="cell_type")
        atlas.build_index()
        atlas.append(fakes.cells(90, seed=3), study="two", label_key="cell_type")
        scim.tl.annotate(adata, atlas, max_error=1)
    right = adata.obs["scim_label"].astype(str) == adata.obs["cell_type"].astype(str)
    assert right.mean() > 0.9
    assert (adata.obs.loc[adata.obs["cell_type"] == "B cell", "scim_label_confidence"] > 0.3).all()


def test_a_small_study_has_centroids_too(adata, tmp_path):
    with scim.atlas.create(tmp_path / "many.scim", model=fakes.tiny_model()) as atlas:
        for i in range(8):
            atlas.append(fakes.cells(60 if i < 7 else 30, seed=20 + i), study=f"s{i}", label_key="cell_type")
        atlas.build_index()
        scim.tl.annotate(adata, atlas, where="study == 's7'", key_added="one", expression=False)
        scim.tl.annotate(adata, atlas, where="study == 's1'", key_added="other", expression=False)
    assert adata.obs["one_confidence"].mean() > 0.4
    assert abs(adata.obs["one_confidence"].mean() - adata.obs["other_confidence"].mean()) < 0.15


def test_duplicates_do_not_change_the_confidence(tmp_path):
    learned = []
    for copies in (False, True):
        with scim.atlas.create(tmp_path / f"{copies}.scim", model=fakes.tiny_model()) as atlas:
            for study, seed in (("one", 2), ("two", 3)):
                cells = fakes.cells(90, seed=seed)
                cells.obs["is_primary_data"] = True
                atlas.append(cells, study=study, label_key="cell_type", obs_columns=["is_primary_data"])
                if copies:
                    cells.obs["is_primary_data"] = False
                    atlas.append(cells, study=f"{study} again", label_key="cell_type", obs_columns=["is_primary_data"])
            atlas.build_index()
            learned.append(atlas.label_transfer().calibration)
    assert learned[0].n_studies == learned[1].n_studies == 2
    np.testing.assert_allclose(learned[0].known, learned[1].known, rtol=0.05)
    np.testing.assert_allclose(learned[0].right, learned[1].right, rtol=0.2, atol=0.1)


def test_groups_do_not_count_cells_that_are_too_far(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, groupby="sample", max_distance=0.0)
    table = adata.uns["scim_label"]["groups"]
    assert table["label"].isna().all()
    assert (table["unknown"] == 1).all()
    assert (table[["share", "runner_up_share", "confidence"]] == 0).all(axis=None)


def test_shares_of_a_group_add_up_to_one_at_most(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, groupby="sample")
    table = adata.uns["scim_label"]["groups"]
    assert (table["share"] + table["runner_up_share"] + table["unknown"] <= 1 + 1e-6).all()


def test_the_word_unknown_is_no_label(adata, tmp_path):
    with scim.atlas.create(tmp_path / "words.scim", model=fakes.tiny_model()) as atlas:
        for study, seed in (("one", 2), ("two", 3)):
            cells = fakes.cells(60, seed=seed)
            types = cells.obs["cell_type"].astype(str)
            cells.obs["mine"] = types.where(types != "B cell", "unknown")
            cells.obs["class"] = types.replace({"T cell": "a || b", "B cell": "a"})
            cells.obs.loc[cells.obs_names[0], "class"] = None
            atlas.append(cells, study=study, label_key="mine", obs_columns=["class"])
        atlas.build_index()
        assert "unknown" not in atlas.labels.names
        scim.tl.annotate(adata, atlas, max_error=1)
        assert "unknown" not in adata.obs["scim_label"].cat.categories
        scim.tl.annotate(adata, atlas, label_key="class", allow="a", max_error=1, k=5)
        assert set(adata.obs["scim_label"]) == {"a"}  # not the cells of "a || b", and a column named as a keyword


def test_levels_of_any_type(adata, atlas_path):
    scim.tl.annotate(adata, atlas_path, level=5, key_added="plain")
    scim.tl.annotate(adata, atlas_path, level=np.int64(5), key_added="numpy")
    assert adata.obs["plain"].equals(adata.obs["numpy"])
    scim.tl.annotate(adata, atlas_path, level=np.array(["T cell", "B cell"]))
    assert adata.uns["scim_label"]["params"]["level"] == "T cell, B cell"
