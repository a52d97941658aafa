"""Test queries of groups against the formulas by hand, on a simulated atlas of known states."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from scim.tl._group_queries import contrast

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
