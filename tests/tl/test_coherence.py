"""Test the coherence of groups against the formula by hand, on a simulated atlas of known states."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from scim.tl._coherence import dispersion
from scim.tl._label_spread import type_distance

TYPES, DIM = ["B cell", "T cell", "platelet", "neuron", "hepatocyte", "fibroblast"], 24


def states(n, seed, noise=0.06):
    """Cells around axes; distances within a state are about .1, between states 1."""
    rng, state = np.random.default_rng(seed), np.arange(n) % len(TYPES)
    X = np.eye(DIM)[state] + noise * rng.normal(size=(n, DIM))
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), np.array(TYPES, dtype=object)[state]


def query(X, groups):
    obs = pd.DataFrame({"group": groups}, index=[str(i) for i in range(len(X))])
    return anndata.AnnData(obs=obs, obsm={"X_scim": X})


@pytest.fixture(scope="module", params=["label", None])
def atlas(tmp_path_factory, request):
    """Two studies, with labels and without."""
    X, label = states(360, 0)
    cells = query(X, np.where(np.arange(360) // 6 % 2, "one", "two"))
    cells.obs["label"] = label
    path = tmp_path_factory.mktemp("coherence") / "states.scim"
    scim.atlas.from_embedding(cells, path, obsm="X_scim", label_key=request.param, study_key="group").close()
    with scim.atlas.open(path) as opened:
        yield opened


def coherence_of(atlas, X, groups, **how):
    adata = query(X, groups)
    scim.tl.search(adata, atlas, groupby="group", **{"k": 5} | how)
    record = adata.uns["scim_search"]
    assert record["coherence"].dtype == np.float32
    return dict(zip(record["groups"], record["coherence"], strict=True))


def by_hand(X, scale):
    centre = X.mean(axis=0) / np.linalg.norm(X.mean(axis=0))
    return 100 * 2 ** (-np.mean([((1 - x @ centre) / scale) ** 2 for x in X]) / 0.03)


def test_coherence_by_hand(atlas):
    X, label = states(120, 1, noise=0.07)
    group = np.where(label == "neuron", "B cell", label)
    group = np.where(np.isin(label, ["T cell", "fibroblast"]) & (np.arange(120) < 70), "uneven", group)
    found = coherence_of(atlas, X, group)
    scale = type_distance(atlas, atlas.label_transfer() if len(atlas.labels.names) else None)
    assert 0.8 < scale < 1.05
    for name, value in found.items():
        np.testing.assert_allclose(value, by_hand(X[group == name].astype(np.float64), scale), rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_a_state_is_coherent_whatever_its_size_and_a_mixture_is_not(atlas, n):
    X, label = states(6 * n, 2)
    group = np.where(label == "fibroblast", "mostly platelets", label)
    rows = np.concatenate([np.flatnonzero(group == name) for name in TYPES[:3]])
    few = np.r_[np.flatnonzero(label == "platelet"), np.flatnonzero(label == "fibroblast")[: n // 9]]
    found = coherence_of(atlas, X[np.r_[rows, few]], np.r_[group[rows], np.full(len(few), "mostly platelets")])
    assert min(found[name] for name in TYPES[:3]) > 80
    assert found["mostly platelets"] < 30


def test_order_duplicates_and_the_search_do_not_matter(atlas):
    X, label = states(300, 3, noise=0.07)
    order = np.random.default_rng(4).permutation(300)
    once = coherence_of(atlas, X, label)
    for rows, how in ((order, {}), (np.r_[order, order], {"k": 300}), (order, {"where": "study == 'one'"})):
        again = coherence_of(atlas, X[rows], label[rows], **how)
        np.testing.assert_allclose([again[name] for name in TYPES], [once[name] for name in TYPES], rtol=1e-4)


def test_a_type_that_the_atlas_lacks_has_no_coherence(atlas):
    X, label = states(60, 5)
    X = np.where(label[:, None] == "neuron", np.roll(X, 12, axis=1), X)
    found = coherence_of(atlas, X, label)
    assert np.isnan(found.pop("neuron"))
    assert min(found.values()) > 80


def test_an_atlas_of_one_label_compares_with_unrelated_directions(tmp_path):
    X, label = states(360, 0)
    cells = query(X[label == "B cell"], np.where(np.arange(60) % 2, "one", "two"))
    cells.obs["label"] = "B cell"
    scim.atlas.from_embedding(cells, tmp_path / "one.scim", obsm="X_scim", label_key="label", study_key="group").close()
    with scim.atlas.open(tmp_path / "one.scim") as atlas:
        assert type_distance(atlas, atlas.label_transfer()) == 1.0
        X = X[label == "B cell"]
        found = coherence_of(atlas, X, np.full(60, "B cell"))
        np.testing.assert_allclose(found["B cell"], by_hand(X.astype(np.float64), 1.0), rtol=1e-4)
        assert found["B cell"] > 75


def test_cells_without_counts_are_left_out():
    X = np.array([[2, 0], [0, 0], [0, 3]], dtype=np.float32)
    np.testing.assert_allclose(dispersion(X), (1 - np.sqrt(0.5)) ** 2)
    assert np.isnan(dispersion(np.zeros((2, 3), dtype=np.float32)))


def test_a_search_for_cells_has_no_coherence(adata, atlas_path):
    scim.tl.search(adata, atlas_path, k=3)
    assert "coherence" not in adata.uns["scim_search"]
