"""Test the coherence of groups against a count by hand, on a simulated atlas of known states."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

import scim
from scim.tl._group_queries import _centres, _kmeans, contrast

N_STATES, DIM = 6, 24


def states(n, rng, noise=0.06):
    """Cells around axes; distances within a state are about .1, between states 1."""
    state = np.arange(n) % N_STATES
    X = np.eye(DIM)[state] + noise * rng.normal(size=(n, DIM))
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), state


def query(X, groups):
    obs = pd.DataFrame({"group": groups}, index=[str(i) for i in range(len(X))])
    return anndata.AnnData(obs=obs, obsm={"X_scim": X})


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """Two studies with 60, 60, 60, 60, 60 and, of the last state, 6 cells each."""
    X, state = states(600, np.random.default_rng(0))
    kept = (state < 5) | (np.arange(600) < 72)
    study = np.where(np.arange(600) // 6 % 2, "one", "two")
    cells = query(X, study)[kept].copy()
    cells.obs["label"] = np.array(list("abcdef"))[state[kept]]
    path = tmp_path_factory.mktemp("coherence") / "states.scim"
    scim.atlas.from_embedding(cells, path, obsm="X_scim", label_key="label", study_key="group").close()
    with scim.atlas.open(path) as opened:
        yield opened


def search_groups(atlas, X, groups, **how):
    adata = query(X, groups)
    scim.tl.search(adata, atlas, groupby="group", **{"k": 5} | how)
    return adata.uns["scim_search"]


def by_hand(atlas, cells, allowed):
    """Count for cells that are all centroids."""
    ids = np.flatnonzero(allowed)
    base = atlas.embeddings(ids)
    centre = cells.mean(axis=0) / np.linalg.norm(cells.mean(axis=0))
    hit = 1 - base @ centre <= 0.85 * atlas.label_radius
    shares = []
    for cell in cells:
        distance = 1 - base @ cell
        near = np.argsort(distance, kind="stable")[:100]
        near = near[distance[near] <= atlas.label_radius]
        shares.append(100 * hit[near].mean() if near.size else 0)
    return np.mean(shares)


@pytest.mark.parametrize("where", [None, "study == 'one'", "label != 'b'"])
def test_few_cells_are_counted_by_hand(atlas, where):
    X, state = states(48, np.random.default_rng(1), noise=0.12)
    groups = np.where(state == 1, "b", np.where(state == 2, "c", "mix"))
    keep = np.r_[np.flatnonzero(groups == "b"), np.flatnonzero(groups == "c"), np.flatnonzero(groups == "mix")[:9]]
    record = search_groups(atlas, X[keep], groups[keep], where=where)
    allowed = np.isin(np.arange(atlas.n_obs), np.arange(atlas.n_obs) if where is None else atlas.select(where))
    expected = [by_hand(atlas, X[keep][groups[keep] == name], allowed) for name in record["groups"]]
    assert record["coherence"].dtype == np.float32
    missing = where is not None and "!=" in where
    np.testing.assert_allclose(record["coherence"], [np.nan, *expected[1:]] if missing else expected, atol=1e-3)


@pytest.mark.parametrize("k", [1, 50, 400])
def test_a_state_is_coherent_whatever_its_size_and_a_mixture_is_not(atlas, k):
    X, state = states(600, np.random.default_rng(2))
    groups = np.array(list("abcdef"), dtype=object)[state]
    groups[state >= 3] = "mix"
    groups[(state == 5) & (np.arange(600) < 300)] = "f"
    record = search_groups(atlas, X, groups, k=k)
    of = dict(zip(record["groups"], record["coherence"], strict=True))
    assert min(of[name] for name in "abcf") > 95
    assert of["mix"] < 10


def test_the_order_of_cells_and_duplicates_do_not_matter(atlas):
    X, state = states(300, np.random.default_rng(3), noise=0.3)
    order = np.random.default_rng(4).permutation(300)
    once, again, doubled = (
        search_groups(atlas, X[rows], state[rows].astype(str))["coherence"]
        for rows in (np.arange(300), order, np.r_[order, order])
    )
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, doubled)


def test_duplicates_are_counted_as_the_search_counts_them(tmp_path):
    X, state = states(120, np.random.default_rng(5))
    twice = query(np.concatenate([X, X]), np.repeat(["one", "two"], 120))
    twice.obs["label"] = np.tile(np.array(list("abcdef"))[state], 2)
    twice.obs_names_make_unique()
    path = tmp_path / "twice.scim"
    scim.atlas.from_embedding(twice, path, obsm="X_scim", label_key="label", study_key="group").close()
    query_arguments = []
    with scim.atlas.open(path) as atlas:
        plain = type(atlas.index).query
        atlas.index.query = lambda *a, **how: query_arguments.append(how) or plain(atlas.index, *a, **how)
        for duplicates in ("collapse", "keep"):
            search_groups(atlas, X[:60], state[:60].astype(str), duplicates=duplicates)
    assert [how["distinct"] for how in query_arguments] == [True] * 7 + [False] * 7


def test_there_are_ten_centroids_or_the_cells():
    X, _ = states(40, np.random.default_rng(6))
    np.testing.assert_array_equal(_centres(X[:10]), np.unique(X[:10], axis=0))
    np.testing.assert_array_equal(_centres(np.repeat(X[:3], 20, axis=0)), np.unique(X[:3], axis=0))
    assert _centres(X).shape == (50, DIM)
    assert _centres(X).dtype == np.float32
    many = np.repeat(X, 200, axis=0) + np.float32(1e-3) * np.arange(8000, dtype=np.float32)[:, None]
    assert _centres(many).shape == (50, DIM)


def test_kmeans_fits_as_well_as_scikit_learn():
    X = states(900, np.random.default_rng(7), noise=0.3)[0].astype(np.float64)
    rng = np.random.default_rng(0)
    runs = [_kmeans(X, rng) for _ in range(10)]
    for centres, squares in runs:
        distances = ((X[:, None] - centres) ** 2).sum(axis=2)
        np.testing.assert_allclose(squares, distances.min(axis=1).sum())
    expected = KMeans(10, n_init=10, random_state=0).fit(X).inertia_
    assert min(squares for _, squares in runs) < 1.01 * expected


def test_kmeans_of_cells_that_hardly_differ():
    X = np.float32(0.2) + np.float32(1e-7) * np.arange(24, dtype=np.float32)[:, None] * np.ones((1, DIM), np.float32)
    centres, squares = _kmeans(X.astype(np.float64), np.random.default_rng(0))
    assert centres.shape == (10, DIM)
    assert squares < 1e-3


def test_a_search_for_cells_has_no_coherence(adata, atlas_path):
    scim.tl.search(adata, atlas_path, k=3)
    assert "coherence" not in adata.uns["scim_search"]


def contrasted(centroids):
    """Subtract half of the weighted mean of the other centroids, group by group."""
    rows = []
    for i, centroid in enumerate(centroids):
        others = np.delete(centroids, i, axis=0)
        weights = np.exp(others @ centroid / 0.1)
        mean = weights @ others / weights.sum()
        row = centroid - 0.5 * mean / np.linalg.norm(mean)
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def test_contrast_by_hand():
    centroids = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    expected = np.array([[0.7, -0.4], [0.1, 0.8]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(contrast(centroids), expected, atol=1e-6)


def test_contrast_of_many_groups_does_not_change_the_centroids():
    centroids = states(7, np.random.default_rng(1), noise=0.3)[0]
    given = centroids.copy()
    np.testing.assert_allclose(contrast(centroids), contrasted(given.astype(np.float64)), atol=1e-6)
    np.testing.assert_array_equal(centroids, given)


def test_a_group_without_counts_stays_zero():
    centroids = np.vstack([np.eye(3, dtype=np.float32)[:2], np.zeros((1, 3), dtype=np.float32)])
    assert not contrast(centroids)[2].any()


def test_a_search_by_contrast(atlas):
    """Cells of a state that resemble the next state rank behind those that do not; marks and coherence stay."""
    X, state = states(60, np.random.default_rng(3))
    names = np.array(list("abcdef"))[state]
    adata = query(X, names)
    plain, found = (search_groups(atlas, X, names, k=300, centroid=c) for c in ("embedding", "contrast"))
    means = np.array([X[names == name].mean(axis=0) for name in "abcdef"], dtype=np.float64)
    queries = contrasted(means / np.linalg.norm(means, axis=1, keepdims=True))
    distances = 1 - queries @ atlas.embeddings(atlas.ids).T
    np.testing.assert_allclose(found["distances"], np.sort(distances, axis=1)[:, :300], atol=1e-6)
    scores = scim.tl.score_similarity(adata, "group", atlas, centroid="contrast")
    np.testing.assert_allclose(scores.to_numpy().T, distances, atol=1e-6)
    np.testing.assert_array_equal(found["coherence"], plain["coherence"])
    for i in range(N_STATES):
        assert set(found["ids"][i][found["similar"][i]]) == set(plain["ids"][i][plain["similar"][i]])


@pytest.mark.parametrize("call", [scim.tl.search, scim.tl.score_similarity])
def test_one_group_has_no_contrast(atlas, call):
    adata = query(states(6, np.random.default_rng(0))[0], "a")
    with pytest.raises(ValueError, match="needs at least two groups"):
        call(adata, groupby="group", atlas=atlas, centroid="contrast")


def test_samples_by_contrast_need_a_distance(atlas):
    adata = query(*states(6, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="has no label radius: pass max_distance"):
        scim.tl.score_similarity(adata, "group", atlas, centroid="contrast", sample_key="study")
