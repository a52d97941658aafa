"""The loss of a batch, the average of the weights, and the ensemble merged into one network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scim.model import Encoder, ModelConfig, TrainConfig
from scim.training.loop._learner import WeightAverage, merge_encoders, reconstruction_loss
from scim.training.losses import View

N, N_GENES = 50, 20


def encoders(hidden, latent_dim=6, n=3):
    made = []
    for seed in range(n):
        generator = torch.Generator().manual_seed(seed)
        encoder = Encoder(ModelConfig(N_GENES, hidden, latent_dim, 0.0, 0.0), generator)
        encoder.train()
        for _ in range(3):  # so that normalisation has statistics of its own
            encoder(torch.rand(N, N_GENES, generator=generator) * (1 + seed))
        for name, tensor in encoder.named_parameters():
            if tensor.ndim == 1 and "head" not in name:
                torch.nn.init.uniform_(tensor, 0.2, 1.0, generator=generator)
        made.append(encoder.eval())
    return made


def cells(seed=9):
    generator = torch.Generator().manual_seed(seed)
    return View(torch.rand(N, N_GENES, generator=generator), torch.ones(N, N_GENES))


def raw(encoder, view):
    return encoder.head(encoder.blocks(encoder.scale(view.x, view.seen))).detach().numpy().astype(np.float64)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)])
def test_it_gives_the_members_side_by_side_in_their_main_directions(hidden):
    members, view = encoders(hidden), cells()
    weights = torch.rand(N, generator=torch.Generator().manual_seed(0))
    joined = np.concatenate([z / np.linalg.norm(z, axis=1).mean() for z in (raw(m, view) for m in members)], axis=1)
    _, _, Vh = np.linalg.svd(joined * np.sqrt(weights.numpy())[:, None], full_matrices=False)
    expected = joined @ Vh[:6].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    one = merge_encoders(members, view, weights)
    assert one.config.hidden == tuple(3 * width for width in hidden)
    found = one(view.x, view.seen).detach().numpy()
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-5)  # directions have no sign


def test_equal_members_change_nothing():
    (member,) = encoders((8,), n=1)
    view = cells()
    one = merge_encoders([member, member], view, torch.ones(N))
    alone, found = member(view.x).detach(), one(view.x).detach()
    torch.testing.assert_close(found @ found.T, alone @ alone.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_few_cells_lose_nothing(hidden):
    """Of fewer cells than dimensions all cosines are kept."""
    members, view = encoders(hidden), View(*(part[:4] for part in cells()))
    found = merge_encoders(members, view, torch.ones(4))(view.x, view.seen).detach()
    joined = np.concatenate([z / np.linalg.norm(z, axis=1).mean() for z in (raw(m, view) for m in members)], axis=1)
    joined /= np.linalg.norm(joined, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, joined @ joined.T, atol=1e-5)


def test_the_global_generator_is_not_used():
    before = torch.random.get_rng_state()
    merge_encoders(encoders((8,)), cells(), torch.ones(N))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_only_one_member_has_a_decoder():
    with pytest.raises(ValueError, match="reconstruction_weight needs n_members=1, got 2"):
        TrainConfig(n_members=2, reconstruction_weight=0.1)


def test_the_average_of_weights_by_hand():
    net = torch.nn.Linear(1, 1, bias=False)
    weights = [2.0, 4.0, 8.0]
    with torch.no_grad():
        net.weight.fill_(weights[0])
        average = WeightAverage(net, 0.15)
        for step, value in enumerate(weights[1:]):
            net.weight.fill_(value)
            average.update(net, step)
    first = 0.1 * 2 + 0.9 * 4  # decay min(0.15, 1 / 10)
    second = 0.15 * first + 0.85 * 8  # decay min(0.15, 2 / 11)
    assert average.tensors["weight"].item() == pytest.approx(second)
    with average.put_into(net):
        assert net.weight.item() == pytest.approx(second)
    assert net.weight.item() == 8.0


def test_reconstruction_counts_observed_genes_only():
    decoded, target = torch.tensor([[1.0, 5.0], [0.0, 2.0]]), torch.zeros(2, 2)
    observed = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert reconstruction_loss(decoded, target, observed).item() == pytest.approx((1 + 0 + 4) / 3)
