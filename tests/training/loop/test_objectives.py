"""Every objective gives a model that can be saved, loaded, put into an atlas and searched."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import trainings
from scim.training.linear import LINEAR
from scim.training.loop._config import OBJECTIVES


def embed(model, adata):
    counts = scim.pp.find_counts(adata)
    return model.embed(counts, scim.pp.match_genes(counts.var, model.genes))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_trained_saved_loaded_and_searched(objective, tmp_path):
    """An atlas for each: about a second."""
    first, second = trainings.toy(60), trainings.toy(60, 1)
    model = scim.model.train(
        {"a": first, "b": second}, label_key="cell_type", rng=0,
        config=trainings.config_of(n_steps=5, objective=objective), **trainings.SIZES,
    )  # fmt: skip
    assert model.metadata["objective"] == objective
    assert model.metadata["studies"] == {"a": 60, "b": 60}
    assert (len(model.config.hidden) == 0) == (objective in LINEAR)
    model.save(tmp_path / "model")
    loaded = scim.model.load(tmp_path / "model")
    assert loaded.uid == model.uid
    Z = embed(loaded, first)
    assert np.array_equal(Z, embed(model, first))
    assert np.allclose(np.linalg.norm(Z, axis=1), 1, atol=1e-5)
    assert Z.std(axis=0).max() > 0.01
    path = tmp_path / "my.scim"
    with scim.atlas.create(path, model=tmp_path / "model") as atlas:
        atlas.append(first, study="a", label_key="cell_type")
        atlas.build_index()
    query = first[::7].copy()
    scim.tl.embed(query, path)
    np.testing.assert_allclose(query.obsm["X_scim"], Z[::7], atol=1e-6)
    scim.tl.search(query, path, k=3)
    np.testing.assert_allclose(query.obsm["scim_search_distances"][:, 0], 0, atol=1e-5)
    nearest = np.sort(1 - Z[::7] @ Z.T, axis=1)[:, :3]
    np.testing.assert_allclose(query.obsm["scim_search_distances"], nearest, atol=1e-4)


@pytest.mark.parametrize("objective", ["lda", "whitening"])
def test_a_linear_model_is_that_of_its_seed(objective):
    data = [trainings.toy(), trainings.toy(60, 1)]
    config, net = scim.model.TrainConfig(objective=objective), scim.model.ModelConfig(latent_dim=4)
    options = {"label_key": "cell_type", "config": config, "model": net}
    assert scim.model.train(data, rng=0, **options).uid == scim.model.train(data, rng=0, **options).uid


def test_an_objective_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"objective must be one of .*'triplet'.*'itml'.*got 'lmnm'"):
        scim.model.TrainConfig(objective="lmnm")
