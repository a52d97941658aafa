"""A linear metric is an encoder like any other: it encodes, is saved, put into an atlas and searched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import scim
from helpers import fakes
from scim.model import Labels, Model, ModelConfig, load
from scim.model.net import Decoder, Encoder, FoldedEncoder, standardize
from scim.model.net._fold import fold
from scim.training.linear import LINEAR, Affine, Block, encoder_of, fit_linear


def toy_model(method="lda", *, latent_dim=8, seed=0):
    """A linear metric of the types of toy cells."""
    adata = scim.datasets.toy(150, rng=5)
    genes = scim.pp.canonical_genes(adata.var_names)
    counts = scim.pp.find_counts(adata)
    X = scim.pp.lognorm(scim.pp.align(counts.rows(0, 150), scim.pp.match_genes(counts.var, genes)))
    labels = adata.obs["cell_type"].cat.codes.to_numpy(dtype=np.int64)
    x = standardize(torch.from_numpy(X.toarray())).numpy()
    affine = fit_linear(method, lambda: [Block(x, labels)], latent_dim=latent_dim, random=np.random.default_rng(seed))
    encoder = encoder_of(affine, ModelConfig(len(genes)))
    names = tuple(adata.obs["cell_type"].cat.categories)
    model = Model(encoder.config, genes, Labels(names, (None,) * 3), encoder, name=f"toy {method}")
    return model, X, affine, x


@pytest.mark.parametrize("method", LINEAR)
def test_the_encoder_applies_the_map_to_sparse_rows(method):
    model, X, affine, x = toy_model(method)
    Z = x @ affine.weight.T + affine.bias
    expected = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(X), expected, atol=1e-5)
    np.testing.assert_allclose(FoldedEncoder(model.encoder).encode(X.toarray()), expected, atol=1e-5)
    assert model.config.hidden == ()
    assert model.latent_dim == len(affine.bias)
    assert model.decoder is None


def test_with_genes_that_were_not_measured():
    model, X, affine, _ = toy_model()
    observed = np.arange(model.n_genes) % 3 > 0
    X = X.multiply(observed[None, :]).tocsr().astype(np.float32)
    Z = standardize(torch.from_numpy(X.toarray()), torch.from_numpy(observed)).numpy() @ affine.weight.T + affine.bias
    np.testing.assert_allclose(model.encode(X, observed), Z / np.linalg.norm(Z, axis=1, keepdims=True), atol=1e-5)


def test_nothing_is_folded_but_the_map():
    encoder = toy_model()[0].encoder
    (layer,) = fold(encoder)
    assert layer.slope is None
    assert torch.equal(layer.weight, encoder.first.weight)
    assert encoder.first is encoder.head
    assert len(encoder.blocks) == 0


@pytest.mark.parametrize("method", LINEAR)
def test_it_is_saved_and_loaded(method, tmp_path):
    model, X, _, _ = toy_model(method)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.uid, loaded.config) == (model.uid, model.config)
    assert np.array_equal(loaded.encode(X), model.encode(X))
    assert loaded.decoder is None


def test_the_uid_differs_between_maps():
    a, b, c = toy_model()[0], toy_model()[0], toy_model("whitening")[0]
    assert a.uid == b.uid != c.uid


@pytest.mark.parametrize("method", LINEAR)
def test_an_atlas_of_it_annotates_and_searches(method, tmp_path):
    with scim.atlas.create(tmp_path / "a.scim", model=toy_model(method)[0]) as atlas:
        atlas.append(fakes.cells(90, seed=2), study="one", label_key="cell_type")
        atlas.append(fakes.cells(60, seed=3), study="two", label_key="cell_type")
        atlas.build_index()
    query = fakes.cells(45, seed=9)
    scim.tl.embed(query, tmp_path / "a.scim")
    scim.tl.annotate(query, tmp_path / "a.scim")
    scim.tl.search(query, tmp_path / "a.scim", k=5)
    truth = query.obs["cell_type"].astype(str)
    known = query.obs["scim_label"].notna()
    assert known.mean() > 0.8  # cells far from all are unknown
    assert (query.obs["scim_label"].astype(str) == truth)[known].mean() > 0.95
    hits = scim.get.hits(query, ["label"], only_similar=False)
    assert (hits["label"].astype(str).to_numpy() == truth[hits["query"].astype(str)].to_numpy()).mean() > 0.9


def test_sizes_come_from_the_map():
    affine = Affine(np.eye(2, 5, dtype=np.float32), np.zeros(2, dtype=np.float32))
    encoder = encoder_of(affine, ModelConfig(5, (7,), 3, standardize=False))
    assert encoder.config == ModelConfig(5, (), 2, standardize=False)
    assert not encoder.training
    x = torch.tensor([[3.0, 4, 9, 9, 9]])
    assert torch.allclose(encoder(x), torch.tensor([[0.6, 0.8]]))


def test_another_number_of_genes_is_an_error():
    affine = Affine(np.eye(2, 5, dtype=np.float32), np.zeros(2, dtype=np.float32))
    with pytest.raises(ValueError, match="The map reads 5 genes, config.n_genes is 6"):
        encoder_of(affine, ModelConfig(6))


def test_nets_without_hidden_layers_can_be_trained():
    config = ModelConfig(5, (), 2, input_dropout=0.4, dropout=0.5)
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = Encoder(config, generator).train(), Decoder(config, generator).train()
    x = torch.rand(4, 5, generator=generator)
    decoder(encoder(x)).square().sum().backward()
    assert encoder.first.weight.grad is not None
    assert decoder(encoder(x)).shape == (4, 5)
    assert torch.equal(encoder(x), encoder.eval()(x))  # without dropout
