from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import scim
from helpers import fakes
from scim.model import Encoder, Evaluation, Labels, Model, ModelConfig, TrainConfig, evaluate
from scim.model.net import Decoder
from scim.training.evaluation import embedding_scores

LABEL = {"label_key": "cell_type"}
BY_SAMPLE = {"label_key": "cell_type", "study_key": "sample"}


def toy(n=60, seed=0):
    return scim.datasets.toy(n, rng=seed)


def embed(model, adata):
    counts = scim.pp.find_counts(adata)
    return model.embed(counts, scim.pp.match_genes(counts.var, model.genes))


@pytest.fixture
def model():
    return fakes.tiny_model()


def constant_model():
    """A model that ignores all genes: every cell has the same embedding."""
    model = fakes.tiny_model()
    encoder = Encoder(model.config)
    torch.nn.init.zeros_(encoder.first.weight)
    torch.nn.init.ones_(encoder.first.bias)
    return Model(model.config, model.genes, Labels((), ()), encoder)


def test_every_study_is_left_out_once(model):
    found = evaluate(model, toy(90), rng=0, **BY_SAMPLE)
    assert found.studies["study"].tolist() == ["sample0", "sample1"]
    assert found.studies["n_cells"].tolist() == [45, 45]
    assert found.labels.groupby("study")["n"].sum().tolist() == [45, 45]
    assert found.confusion.groupby("study")["n"].sum().tolist() == [45, 45]
    assert found.robustness.empty
    assert found.mean["macro_f1"] == found.studies["macro_f1"].mean()
    assert repr(found).startswith("Evaluation on 2 studies left out: accuracy ")


def test_labels_are_those_of_the_nearest_cells_of_other_studies(model):
    a, b = toy(60), toy(60, 1)
    found = evaluate(model, {"a": a, "b": b}, k=1, max_error=1, leave_out=["b"], **LABEL)
    nearest = (embed(model, b).astype(float) @ embed(model, a).astype(float).T).argmax(axis=1)
    right = a.obs["cell_type"].to_numpy()[nearest] == b.obs["cell_type"].to_numpy()
    assert found.studies["study"].tolist() == ["b"]
    assert found.studies["accuracy"][0] == pytest.approx(right.mean())
    assert found.studies["unknown"][0] == 0


def test_the_embedding_is_measured_over_the_cells_left_out(model):
    adatas = [toy(60), toy(90, 1)]
    found = evaluate(model, adatas, k=9, **LABEL)
    X = np.concatenate([embed(model, adata) for adata in adatas])
    labels = np.concatenate([adata.obs["cell_type"].to_numpy(object) for adata in adatas])
    whole = embedding_scores(X, labels, ["study0"] * 60 + ["study1"] * 90, k=9)
    for name in ("ontology_silhouette", "label_silhouette"):  # means over cells
        assert np.average(found.studies[name], weights=[60, 90]) == pytest.approx(whole[name], rel=1e-5)
    assert found.studies["graph_connectivity"].between(0, 1).all()


def test_a_function_trains_without_the_study_left_out(model):
    given = []

    def train_on(others):
        given.append(others)
        return model

    adata, alone = toy(60), toy(30, 1)
    alone.obs["sample"] = "sample2"
    adata.obs.loc[adata.obs_names[:4], "cell_type"] = np.nan
    found = evaluate(train_on, {"both": adata, "alone": alone}, **BY_SAMPLE)
    assert [sorted(others) for others in given] == [["alone", "both"], ["alone", "both"], ["both"]]
    kept = [{name: set(cells.obs["sample"]) for name, cells in others.items()} for others in given]
    assert kept[0] == {"both": {"sample1"}, "alone": {"sample2"}}
    assert kept[2] == {"both": {"sample0", "sample1"}}
    fixed = evaluate(model, {"both": adata, "alone": alone}, **BY_SAMPLE)
    pd.testing.assert_frame_equal(found.labels, fixed.labels)


def test_a_file_hides_the_labels_of_the_study_left_out(model, tmp_path):
    toy(60).write_h5ad(tmp_path / "both.h5ad")
    seen = []

    def train_on(others):
        (cells,) = others.values()
        seen.append(cells.obs.loc[cells.obs["cell_type"].notna(), "sample"].unique().tolist())
        return model

    found = evaluate(train_on, tmp_path / "both.h5ad", **BY_SAMPLE)
    assert seen == [["sample1"], ["sample0"]]
    pd.testing.assert_frame_equal(found.studies, evaluate(model, toy(60), **BY_SAMPLE).studies)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_data_set_without_labels_but_those_left_out_does_not_train(model, tmp_path, on_disk):
    a, b = toy(), toy(seed=1)
    a.obs["cell_type"] = a.obs["cell_type"].astype(object).where(a.obs["sample"] == "sample0")
    a.write_h5ad(tmp_path / "a.h5ad")
    given = []

    def train_on(others):
        given.append(list(others))
        return model

    data = {"a": tmp_path / "a.h5ad" if on_disk else a, "b": b}
    scim.model.evaluate(train_on, data, label_key="cell_type", study_key="sample", rng=0)
    assert given == [["b"], ["a", "b"]]


def test_training_and_evaluating_is_one_call():
    """Three trainings of a few steps on toy cells, as an integration test."""
    config = TrainConfig(n_members=1, n_steps=3, batch_size=30, reconstruction_weight=0.1)

    def train_on(others):
        sizes = ModelConfig(hidden=(8,), latent_dim=4)
        return scim.model.train(others, model=sizes, config=config, rng=0, **LABEL)

    found = evaluate(train_on, {"a": toy(), "b": toy(seed=1), "c": toy(seed=2)}, **LABEL)
    assert found.studies["macro_f1"].notna().all()
    assert found.studies["nmse"].gt(0).all()


def test_the_same_seed_gives_the_same_figures(model):
    adata = toy(90)
    first, same, other = (
        evaluate(model, adata, robustness=True, max_cells=40, rng=seed, **BY_SAMPLE) for seed in (0, 0, 1)
    )
    for name in ("studies", "labels", "confusion", "robustness"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(same, name))
    assert not first.studies.equals(other.studies)


def test_the_input_stays_as_it_is(model):
    adata = toy()
    before = adata.copy()
    evaluate(model, adata, robustness=True, **BY_SAMPLE)
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_cells_without_a_label_are_left_out(model):
    adata = toy()
    adata.obs.loc[adata.obs_names[:10], "cell_type"] = np.nan
    found = evaluate(model, adata, **BY_SAMPLE)
    assert found.studies["n_cells"].sum() == 50


def test_a_label_of_one_study_is_reported_and_not_counted(model):
    a, b = toy(60), toy(60, 1)
    b.obs["cell_type"] = b.obs["cell_type"].astype(str).replace("B cell", "natural killer cell")
    found = evaluate(model, {"a": a, "b": b}, max_error=1, **LABEL)
    row = found.studies.set_index("study").loc["b"]
    assert (row["n_labels_seen"], row["n_labels_unseen"], row["n_cells_unseen"]) == (2, 1, 20)
    labels = found.labels[found.labels["study"] == "b"].set_index("label")
    assert labels.index[~labels["seen"]].tolist() == ["natural killer cell"]
    assert row["macro_f1"] == pytest.approx(labels.loc[labels["seen"], "f1"].mean())
    assert labels.loc["natural killer cell", "recall"] == 0
    assert row["macro_f1_all"] < row["macro_f1"]


def test_labels_are_compared_at_levels(model):
    a, b = toy(60), toy(60, 1)
    b.obs["cell_type"] = b.obs["cell_type"].astype(str).replace("T cell", "CD4-positive, alpha-beta T cell")
    plain = evaluate(model, {"a": a, "b": b}, leave_out=["b"], **LABEL)
    found = evaluate(model, {"a": a, "b": b}, leave_out=["b"], max_error=1, levels=["T cell", "monocyte"], **LABEL)
    assert plain.labels["label"].tolist() == ["B cell", "CD4-positive, alpha-beta T cell", "classical monocyte"]
    assert found.labels["label"].tolist() == ["B cell", "T cell", "monocyte"]
    assert (plain.studies["n_labels_unseen"][0], found.studies["n_labels_unseen"][0]) == (1, 0)
    assert found.labels["n"].tolist() == plain.labels["n"].tolist()
    same = evaluate(model, {"a": a, "b": toy(60, 1)}, leave_out=["b"], max_error=1, **LABEL)
    # the predictions are the same; only the names differ
    np.testing.assert_allclose(found.labels["f1"], same.labels["f1"])


def test_a_model_that_ignores_all_genes():
    found = evaluate(constant_model(), toy(90), max_error=1, robustness=True, genes=(70,), counts=(0.5,), **BY_SAMPLE)
    assert found.studies["accuracy"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert found.studies["ontology_silhouette"].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert found.robustness["ratio"].tolist() == pytest.approx([1] * 8)


def test_reconstruction_is_measured_over_the_genes_observed():
    source = fakes.tiny_model()
    config = ModelConfig(n_genes=source.n_genes, hidden=(8,), latent_dim=4)
    random = torch.Generator().manual_seed(0)
    model = Model(config, source.genes, Labels((), ()), Encoder(config, random), Decoder(config, random))
    adata = toy()[:, ::2].copy()
    found = evaluate(model, adata, leave_out=["sample1"], **BY_SAMPLE)
    held_out = adata[adata.obs["sample"] == "sample1"]
    values = held_out[:, scim.pp.match_genes(adata.var, model.genes).columns.argsort()].X.toarray()
    logged = np.log1p(values / values.sum(1, keepdims=True) * config.target_sum)
    logged = (logged - logged.mean(1, keepdims=True)) / logged.std(1, keepdims=True)
    observed = np.isin(model.genes, scim.pp.canonical_genes(adata.var_names))
    decoded = model.decode(embed(model, held_out))[:, observed]
    assert found.studies["nmse"][0] == pytest.approx(((decoded - logged) ** 2).sum() / (logged**2).sum(), rel=1e-4)
    assert evaluate(source, adata, leave_out=["sample1"], **BY_SAMPLE).studies["nmse"].isna().all()


def test_robustness_has_a_row_for_every_change(model):
    found = evaluate(
        model, toy(90), robustness=True, genes=(100, 60), counts=(0.5, 0.0), max_error=1, rng=0, **BY_SAMPLE
    ).robustness
    first = found[found["study"] == "sample0"]
    assert first["change"].tolist() == ["none", "genes", "genes", "counts", "counts", "lognorm"]
    assert first["level"].tolist()[1:5] == [100, 60, 0.5, 0]
    assert first["ratio"].iloc[0] == 1
    assert first["unknown"].iloc[4] == 1  # no counts are left
    assert first["macro_f1"].iloc[4] == 0
    assert first["ratio"].iloc[5] == pytest.approx(1)
    np.testing.assert_allclose(first["ratio"], first["macro_f1_ontology"] / first["macro_f1_ontology"].iloc[0])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": "a model"}, TypeError, "model must be a scim.model.Model, or a function that trains one; got str"),
        ({"model": lambda _others: None}, TypeError, "it returned NoneType"),
        ({"data": "nowhere.h5ad"}, FileNotFoundError, "nowhere.h5ad"),
        ({"label_key": "type"}, KeyError, "label_key='type' is not a column"),
        ({"study_key": None}, ValueError, "there must be another; got only"),
        ({"leave_out": ["sample7"]}, ValueError, r"not among them: \['sample7'\]. Present: \['sample0'"),
        ({"leave_out": []}, ValueError, "leave_out must be 'study' or a list"),
        ({"levels": ["T cell", "my cell"]}, ValueError, r"levels must be ids or names.*unknown: \['my cell'\]"),
        ({"k": 0}, ValueError, "k must be at least 1"),
        ({"max_error": 3}, ValueError, "max_error must be between 0 and 1"),
        ({"max_cells": 1}, ValueError, "max_cells must be at least 2"),
        ({"robustness": True, "genes": (0,)}, ValueError, "genes must be at least 1"),
        ({"robustness": True, "counts": (2,)}, ValueError, "counts must be between 0 and 1"),
    ],
)
def test_bad_input_is_named(model, change, error, match):
    arguments = {"model": model, "data": toy(), **BY_SAMPLE} | change
    with pytest.raises(error, match=match):
        evaluate(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_the_result_is_an_evaluation(model):
    assert isinstance(evaluate(model, toy(), **BY_SAMPLE), Evaluation)
