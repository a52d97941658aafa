from __future__ import annotations

import numpy as np
import pytest
import torch

from scim.model import Decoder, Encoder, ModelConfig
from scim.model.net import Dropout, FoldedEncoder, standardize

CONFIG = ModelConfig(30, (16, 8), 4, input_dropout=0.4, dropout=0.5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_network_of_the_paper_has_its_number_of_parameters():
    # Encoders are linear in the number of genes: 1,024 weights each.
    n = sum(p.numel() for p in Encoder(ModelConfig.paper(n_genes=100), generator()).parameters())
    assert n + (28_231 - 100) * 1024 == 31_146_115


def test_the_layers_of_the_paper_in_order():
    """Dropout, linear, normalisation and PReLU with one slope a layer; the decoder has no dropout before its first."""
    config = ModelConfig.paper(n_genes=50)
    encoder, decoder = Encoder(config, generator()), Decoder(config, generator())
    kinds = [Dropout, torch.nn.Linear, torch.nn.BatchNorm1d, torch.nn.PReLU]
    for net, rates, sizes in (
        (encoder, [0.4, 0.5, 0.5], [(50, 1024), (1024, 1024), (1024, 1024)]),
        (decoder, [0.0, 0.5, 0.5], [(128, 1024), (1024, 1024), (1024, 1024)]),
    ):
        assert [[type(layer) for layer in block] for block in net.blocks] == [kinds] * 3
        assert [block[0].p for block in net.blocks] == rates
        assert [(block[1].in_features, block[1].out_features) for block in net.blocks] == sizes
        assert [block[3].num_parameters for block in net.blocks] == [1] * 3
    assert (encoder.head.in_features, encoder.head.out_features) == (1024, 128)
    assert (decoder.head.in_features, decoder.head.out_features) == (1024, 50)
    assert not config.standardize
    assert config.target_sum == 1e4


def test_rows_have_length_one():
    Z = Encoder(CONFIG, generator()).eval()(torch.rand(5, 30))
    assert Z.shape == (5, 4)
    assert torch.allclose(Z.norm(dim=1), torch.ones(5))


def test_the_sparse_encoder_equals_the_dense_one():
    rng = np.random.default_rng(0)
    X = np.log1p(rng.poisson(1.0, (20, 30))).astype(np.float32)
    observed = np.arange(30) % 5 > 0
    X[:, ~observed] = 0
    encoder = Encoder(CONFIG, generator()).train()
    encoder(torch.from_numpy(X), torch.from_numpy(observed))  # moves the running statistics
    expected = encoder.eval()(torch.from_numpy(X), torch.from_numpy(observed)).detach().numpy()
    assert np.allclose(FoldedEncoder(encoder).encode(X, observed=observed), expected, atol=1e-5)


def test_standardize_by_hand():
    x = torch.tensor([[1.0, 3.0, 9.0], [2.0, 2.0, 5.0]])
    observed = torch.tensor([True, True, False])
    assert standardize(x, observed).tolist() == [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert torch.allclose(standardize(x).mean(1), torch.zeros(2), atol=1e-6)


def test_without_standardize_the_input_is_taken_as_it_is():
    encoder = Encoder(ModelConfig(3, (2,), 2, standardize=False), generator())
    x = torch.rand(2, 3)
    assert encoder.scale(x) is x


def test_weights_are_drawn_from_the_given_generator_only():
    before = torch.get_rng_state()
    a, b, c = Encoder(CONFIG, generator()), Encoder(CONFIG, generator()), Encoder(CONFIG, generator(1))
    a.train()(torch.rand(5, 30, generator=generator()))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.head.weight, b.head.weight)
    assert not torch.equal(a.head.weight, c.head.weight)


def test_dropout_keeps_the_mean_and_stops_at_evaluation():
    dropout = Dropout(0.4, generator())
    x = torch.ones(200, 200)
    out = dropout(x)
    assert (out == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert dropout.eval()(x) is x


def test_decoder_mirrors_the_encoder():
    decoder = Decoder(CONFIG, generator())
    assert decoder.eval()(torch.rand(3, 4)).shape == (3, 30)
    assert [block[1].out_features for block in decoder.blocks] == [8, 16]
    assert decoder.blocks[0][0].p == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_genes": 0}, "n_genes must lie between 1"),
        ({"n_genes": 2.5}, "n_genes must be a whole number"),
        ({"hidden": [4]}, "must be a tuple"),
        ({"hidden": (4, -1)}, "hidden must lie"),
        ({"dropout": 1.0}, "dropout must lie between"),
        ({"dropout": "a lot"}, "dropout must be a number"),
        ({"target_sum": 0}, "target_sum must lie"),
    ],
)
def test_bad_sizes_are_named(change, match):
    with pytest.raises((ValueError, TypeError), match=match):
        ModelConfig(**({"n_genes": 10} | change))
