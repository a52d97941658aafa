from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import ScimWarning
from scim.model.explain import attributions, draw_pairs
from scim.model.net import DenseEncoder

OPTIONS = {"groupby": "cell_type", "n_pairs": 12, "n_steps": 8}


@pytest.fixture
def model():
    return fakes.tiny_model()


@pytest.fixture
def toy():
    return fakes.cells(45, seed=9)


def test_values_are_those_of_the_pairs(toy, model):
    scim.tl.explain(toy, model=model, **OPTIONS)
    found = toy.uns["scim_explain"]
    assert found["groups"].tolist() == ["B cell", "T cell", "classical monocyte"]
    X = scim.pp.lognorm(scim.pp.align(toy.X.copy(), scim.pp.match_genes(toy.var, model.genes)))
    codes, rng, encoder = (
        toy.obs["cell_type"].cat.codes.to_numpy(),
        np.random.default_rng(0),
        DenseEncoder(model.encoder),
    )
    for i in range(3):
        pairs = draw_pairs(codes, i, [j for j in range(3) if j != i], 12, rng)
        values = attributions(encoder, X[pairs.anchors], X[pairs.negatives], n_steps=8)
        np.testing.assert_allclose(found["mean"][i], values.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found["std"][i], values.std(axis=0, ddof=1), atol=1e-5)
    assert found["mean"].dtype == found["std"].dtype == found["ci"].dtype == np.float32
    assert found["n_pairs"].tolist() == [12, 12, 12]
    assert found["model"] == model.uid


def test_the_same_seed_gives_the_same(toy, model):
    one, same, other = (
        scim.tl.explain(toy, model=model, rng=rng, copy=True, **OPTIONS).uns["scim_explain"]["mean"]
        for rng in (5, np.random.default_rng(5), 6)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_copy_leaves_the_input_unchanged(toy, model):
    before = toy.copy()
    other = scim.tl.explain(toy, model=model, copy=True, **OPTIONS)
    assert "scim_explain" in other.uns
    assert set(toy.uns) == set(before.uns)
    assert (toy.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(toy.obs, before.obs)


# toy cells have a hundred genes, and the packaged model warns of few genes
@pytest.mark.filterwarnings("ignore::scim._core.errors.ScimWarning")
def test_markers_rank_first_for_a_trained_model(toy):
    scim.tl.explain(toy, groupby="cell_type", n_pairs=60)
    for group, genes in {"B cell": {"MS4A1", "CD79A", "CD79B"}, "T cell": {"CD3D", "CD3E", "IL7R", "IL32"}}.items():
        first = scim.get.attribution(toy, group, top=15)["gene"]
        assert len(genes & set(first)) >= 2


def test_genes_that_were_not_measured_have_no_value(toy, model):
    part = toy[:, toy.n_vars // 5 :].copy()
    scim.tl.explain(part, model=model, **OPTIONS)
    found = part.uns["scim_explain"]
    missing = ~np.isin(model.genes, scim.pp.canonical_genes(part.var_names))
    assert 0 < missing.sum() < 50
    for name in ("mean", "std", "ci"):
        np.testing.assert_array_equal(np.isnan(found[name]), np.tile(missing, (3, 1)))
    frame = scim.get.attribution(part, "B cell")
    assert len(frame) == (~missing).sum()
    assert not frame["mean"].isna().any()


def test_only_the_reference_is_compared_with(toy, model):
    scim.tl.explain(toy, model=model, reference="B cell", **OPTIONS)
    both = toy.uns["scim_explain"]
    assert both["groups"].tolist() == ["T cell", "classical monocyte"]
    part = toy[toy.obs["cell_type"] != "T cell"].copy()
    scim.tl.explain(part, model=model, groups="classical monocyte", **OPTIONS)
    assert part.uns["scim_explain"]["groups"].tolist() == ["classical monocyte"]
    correlated = np.corrcoef(both["mean"][1], part.uns["scim_explain"]["mean"][0])[0, 1]
    assert correlated > 0.7


def test_cells_without_a_group_are_ignored(toy, model):
    part = toy[toy.obs["n"] % 5 != 0].copy()
    toy.obs["cell_type"] = toy.obs["cell_type"].where(toy.obs["n"] % 5 != 0)
    for adata in (part, toy):
        scim.tl.explain(adata, model=model, **OPTIONS)
    np.testing.assert_array_equal(part.uns["scim_explain"]["mean"], toy.uns["scim_explain"]["mean"])


def test_pairs_with_empty_cells_are_left_out(toy, model):
    X = toy.X.toarray()
    X[toy.obs["cell_type"] == "B cell"] = 0
    X[np.flatnonzero(toy.obs["cell_type"] == "T cell")[:2]] = 0
    toy.X = sparse.csr_matrix(X)
    with pytest.warns(
        ScimWarning, match="cells have no count in any of the model's genes; pairs with them are left out"
    ):
        scim.tl.explain(toy, model=model, **OPTIONS)
    found = toy.uns["scim_explain"]
    assert found["n_pairs"][0] == 0
    assert 0 < found["n_pairs"][1] < 12
    assert np.isnan(found["mean"][0]).all()
    assert np.isfinite(found["mean"][1:]).all()
    assert set(scim.get.attribution(toy)["group"]) == {"T cell", "classical monocyte"}


def test_another_model_than_that_of_the_embedding_warns(adata, atlas_path):
    scim.tl.explain(adata, atlas_path, **OPTIONS)
    with pytest.warns(ScimWarning, match=r"made by model .* Pass the atlas= or model= that embedded the cells"):
        scim.tl.explain(adata, model=fakes.tiny_model(7), **OPTIONS)


def test_data_on_disk_is_read_in_part(toy, model, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.pp._align._BLOCK_ROWS", 7)
    toy.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for adata in (toy, backed):
        scim.tl.explain(adata, model=model, **OPTIONS)
    np.testing.assert_array_equal(toy.uns["scim_explain"]["mean"], backed.uns["scim_explain"]["mean"])
    backed.file.close()


def test_frame(toy, model):
    scim.tl.explain(toy, model=model, **OPTIONS)
    found, record = scim.get.attribution(toy), toy.uns["scim_explain"]
    columns = ["group", "rank", "gene", "gene_id", "mean", "std", "low", "high", "n_pairs"]
    assert found.columns.tolist() == columns
    one = found[found["group"] == "T cell"].set_index("gene_id").loc[model.genes]
    np.testing.assert_array_equal(one["mean"], record["mean"][1])
    np.testing.assert_array_equal(one["std"], record["std"][1])
    np.testing.assert_allclose(one["high"] - one["mean"], record["ci"][1], atol=1e-6)
    assert (one["low"] >= 0).all()
    for _, rows in found.groupby("group"):
        assert rows["mean"].is_monotonic_decreasing
        assert rows["rank"].tolist() == list(range(1, len(model.genes) + 1))
    pd.testing.assert_frame_equal(scim.get.attribution(toy, ["T cell"], top=3), one_top(found, "T cell", 3))


def one_top(frame, group, n):
    return frame[frame["group"] == group].head(n).reset_index(drop=True)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"groupby": "leiden"}, KeyError, r"obs\['leiden'\] not found; run scim.tl.annotate\(adata\) first, or name"),
        (
            {"groups": ["NK cell"]},
            KeyError,
            r"groups \['NK cell'\] are no values of obs\['cell_type'\]. Present: \['B cell'",
        ),
        ({"groups": "T cell", "reference": "T cell"}, ValueError, "other than reference='T cell', got"),
        ({"groups": []}, ValueError, "Expected groups of obs"),
        ({"groups": [3]}, TypeError, r"groups must be names, got \[3\]"),
        ({"reference": "NK cell"}, KeyError, "reference='NK cell' is neither 'rest' nor a value of"),
        ({"n_pairs": 1}, ValueError, "n_pairs must be at least 2, got 1"),
        ({"n_pairs": 2.5}, TypeError, "n_pairs must be a whole number"),
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1"),
        ({"layer": "raw_counts"}, KeyError, "layer='raw_counts' not found"),
        ({"gene_key": "symbol"}, KeyError, "gene_key='symbol' is not a column of var"),
        ({"key_added": "scim_label"}, ValueError, "scim keeps something else there"),
        ({"atlas": "somewhere"}, ValueError, "Expected atlas= or model=, got both"),
        ({"groupby": "one"}, ValueError, r"Nothing to compare \['T cell'\] with.* name a group with reference="),
        ({"groupby": "family"}, ValueError, r"Nothing to compare \['CD4-positive, alpha-beta T cell', 'T cell'\]"),
    ],
)
def test_bad_input(toy, model, how, error, message):
    toy.obs["one"] = "T cell"
    toy.obs["family"] = np.where(toy.obs["n"] % 2, "T cell", "CD4-positive, alpha-beta T cell")
    with pytest.raises(error, match=message):
        scim.tl.explain(toy, **{"model": model, **OPTIONS, **how})
    assert "scim_explain" not in toy.uns


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda a: scim.get.attribution(a, key="none"),
            KeyError,
            r"uns\['none'\] holds no explanation; run scim.tl.explain",
        ),
        (
            lambda a: scim.get.attribution(a, "NK cell"),
            KeyError,
            r"\['NK cell'\] were not explained in.* Present: \['B cell'",
        ),
        (lambda a: scim.get.attribution(a, top=0), ValueError, "top must be at least 1"),
        (lambda a: scim.pl.attribution(a, top=0), ValueError, "top must be at least 1"),
        (lambda a: scim.pl.attribution(a, ax=[None]), ValueError, "has 3 panels: expected ax with 3 axes, got 1"),
        (lambda a: scim.get.attribution("a.h5ad"), TypeError, "Expected an AnnData, got str"),
    ],
)
def test_bad_arguments_of_the_frame(toy, model, call, error, message):
    scim.tl.explain(toy, model=model, **OPTIONS)
    with pytest.raises(error, match=message):
        call(toy)
