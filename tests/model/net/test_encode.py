from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from scim.model._config import ModelConfig
from scim.model.net import Encoder
from scim.model.net._encode import FoldedEncoder

N_GENES = 40


def make_net(hidden=(24, 16), latent=6, *, standardize=False):
    """An encoder with normalisation and slopes unlike those of a new one."""
    generator = torch.Generator().manual_seed(0)
    net = Encoder(ModelConfig(N_GENES, hidden=hidden, latent_dim=latent, standardize=standardize), generator)
    for block in net.blocks:
        norm, prelu = block[2], block[3]
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.2, 3, generator=generator)
        nn.init.normal_(norm.weight, generator=generator)
        nn.init.normal_(norm.bias, generator=generator)
        nn.init.uniform_(prelu.weight, -0.5, 0.5, generator=generator)
    return net


def dense(net, X, observed=None):
    observed = np.ones(N_GENES, dtype=bool) if observed is None else observed
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(X), torch.from_numpy(observed)).numpy()


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    dense = np.log1p(rng.poisson(1, (23, N_GENES)) * rng.random((23, 1)) * 10)
    return dense.astype(np.float32)


@pytest.fixture
def observed(X):
    """Six genes that the data do not measure."""
    mask = np.ones(N_GENES, dtype=bool)
    mask[[0, 3, 17, 18, 30, 39]] = False
    X[:, ~mask] = 0
    return mask


KINDS = [
    sparse.csr_matrix,
    sparse.csr_array,
    np.asarray,
    lambda X: sparse.csr_matrix(X.astype(np.float64)),
    lambda X: sparse.csc_matrix(X).tocsr()[np.arange(X.shape[0])],
]


@pytest.mark.parametrize("kind", KINDS, ids=["csr_matrix", "csr_array", "ndarray", "float64", "from csc"])
@pytest.mark.parametrize("standardize", [False, True])
def test_it_is_the_dense_forward(X, observed, standardize, kind):
    net = make_net(standardize=standardize)
    got = FoldedEncoder(net).encode(kind(X), observed=observed)
    assert (got.dtype, got.shape) == (np.float32, (23, 6))
    np.testing.assert_allclose(got, dense(net, X, observed), atol=1e-5)


@pytest.mark.parametrize("hidden", [(), (7,), (300, 12, 5)])
def test_nets_of_any_size(X, hidden):
    net = make_net(hidden, 4)
    np.testing.assert_allclose(FoldedEncoder(net).encode(sparse.csr_matrix(X)), dense(net, X), atol=1e-5)


@pytest.mark.parametrize("standardize", [False, True])
def test_a_cell_is_the_same_in_any_batch(X, standardize):
    folded, X = FoldedEncoder(make_net(standardize=standardize)), sparse.csr_matrix(X)
    together = folded.encode(X)
    for batch_size, n_threads in [(1, 1), (7, 2), (23, 1), (100, 2)]:
        again = folded.encode(X, batch_size=batch_size, n_threads=n_threads)
        np.testing.assert_allclose(again, together, atol=1e-6)


def test_the_same_call_gives_the_same_bits(X):
    folded, X = FoldedEncoder(make_net()), sparse.csr_matrix(X)
    np.testing.assert_array_equal(folded.encode(X), folded.encode(X))


@pytest.mark.parametrize("standardize", [False, True])
def test_a_cell_without_values_is_a_row_of_zeros(X, standardize):
    X[[0, 9]] = 0
    stored = sparse.csr_matrix(X)
    stored = sparse.vstack([stored, sparse.csr_matrix(([0.0], [4], [0, 1]), shape=(1, N_GENES))], format="csr")
    got = FoldedEncoder(make_net(standardize=standardize)).encode(stored.astype(np.float32))
    np.testing.assert_array_equal(np.flatnonzero(~got.any(axis=1)), [0, 9, 23])
    np.testing.assert_allclose(np.linalg.norm(np.delete(got, [0, 9, 23], axis=0), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("standardize", [False, True])
def test_no_cells_and_a_flat_cell(standardize):
    net = make_net(standardize=standardize)
    assert FoldedEncoder(net).encode(sparse.csr_matrix((0, N_GENES), dtype=np.float32)).shape == (0, 6)
    flat = np.full((1, N_GENES), 1.1, dtype=np.float32)
    expected = dense(net, np.zeros_like(flat) if standardize else flat)
    np.testing.assert_allclose(FoldedEncoder(net).encode(flat), expected, atol=1e-5)


def test_the_network_and_the_rows_are_unchanged(X):
    net, rows = make_net(standardize=True).train(), sparse.csr_matrix(X)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    n_threads = torch.get_num_threads()
    FoldedEncoder(net).encode(rows, n_threads=1)
    assert net.training
    assert torch.get_num_threads() == n_threads
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(rows.toarray(), X)


def test_values_in_genes_that_are_not_observed_are_an_error(X, observed):
    X[2, 3] = 1
    with pytest.raises(ValueError, match="1 values lie in genes that `observed` marks as not measured"):
        FoldedEncoder(make_net(standardize=True)).encode(sparse.csr_matrix(X), observed=observed)


def test_the_wrong_number_of_genes_is_an_error(X):
    with pytest.raises(ValueError, match="Expected 40 columns, one for each gene of the model; got 39"):
        FoldedEncoder(make_net()).encode(sparse.csr_matrix(X[:, 1:]))
