from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from scipy.special import logsumexp

from scim.model import Encoder, ModelConfig
from scim.model.net import Dropout
from scim.training.losses import View
from scim.training.losses._two_views import MoCoLoss, SimCLRLoss

TEMPERATURE, SIZE, MOMENTUM = 0.5, 5, 0.75
NOTHING = torch.zeros(2, dtype=torch.int64)


def build(**changes):
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(ModelConfig(20, hidden=(8,), latent_dim=2), generator).train()
    given = {"temperature": TEMPERATURE, "queue_size": SIZE, "momentum": MOMENTUM} | changes
    return MoCoLoss(encoder, generator=generator, **given), encoder


def rows(*angles):
    return torch.tensor([[np.cos(a), np.sin(a)] for a in angles], dtype=torch.float32)


def loss_of(objective, query, key):
    return objective([query, key], NOTHING, NOTHING, torch.Generator())


def expected(query, key, queue):
    positive = (query * key).sum(1, keepdim=True).numpy() / TEMPERATURE
    negatives = (query @ queue.T).numpy() / TEMPERATURE
    return np.mean(logsumexp(np.hstack([positive, negatives]), axis=1) - positive[:, 0])


def test_two_steps_by_hand():
    objective, _ = build()
    start = objective.queue.clone()
    assert torch.allclose(start.norm(dim=1), torch.ones(SIZE))
    queries, keys = [rows(0, 1), rows(2, 3)], [rows(0.5, 1.5), rows(2.5, 3.5)]
    assert loss_of(objective, queries[0], keys[0]).item() == pytest.approx(expected(queries[0], keys[0], start))
    queue = torch.cat([keys[0], start[2:]])
    assert torch.equal(objective.queue, queue)
    assert loss_of(objective, queries[1], keys[1]).item() == pytest.approx(expected(queries[1], keys[1], queue))
    assert torch.equal(objective.queue, torch.cat([keys[0], keys[1], start[4:]]))
    assert objective.oldest == 4


def test_the_oldest_keys_are_replaced_first():
    objective, _ = build()
    for angle in range(3):
        loss_of(objective, rows(0, 0), rows(angle, angle + 0.5))
    # six keys in five rows: the last one overwrites the first
    assert torch.equal(objective.queue, torch.cat([rows(2.5), rows(0.5), rows(1, 1.5), rows(2)]))
    assert objective.oldest == 1


def test_a_batch_larger_than_the_queue_leaves_its_last_keys():
    objective, _ = build(queue_size=2)
    loss_of(objective, rows(0, 1, 2), rows(0, 1, 2))
    assert torch.equal(objective.queue, rows(1, 2))


def test_a_loss_may_be_differentiated_after_the_queue_has_moved_on():
    objective, _ = build()
    query = rows(0, 1).requires_grad_()
    losses = [loss_of(objective, query, rows(1, 2)) for _ in range(2)]
    sum(losses).backward()
    assert query.grad.abs().sum() > 0


def test_the_momentum_encoder_is_a_moving_average():
    objective, encoder = build()
    before = [p.clone() for p in objective.follower.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1)
    objective.after_step(encoder)
    objective.after_step(encoder)
    for old, new in zip(before, objective.follower.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25 + 0.75 * 0.25)


def test_keys_have_no_gradient_and_are_normalised_in_parts():
    objective, encoder = build()
    generator = torch.Generator().manual_seed(1)
    pair = [View(torch.rand(32, 20, generator=generator), torch.ones(32, 20)) for _ in range(2)]
    for net in (encoder, objective.follower):
        for module in net.modules():
            if isinstance(module, Dropout):
                module.p = 0.0
    alone = copy.deepcopy(objective.follower)
    query, keys = objective.embed(encoder, pair)
    assert query.requires_grad
    assert not keys.requires_grad
    for group in range(4):
        part = slice(group, None, 4)
        torch.testing.assert_close(keys[part], alone(pair[1].x[part], pair[1].seen[part]))
    assert not torch.allclose(keys, alone(*pair[1]))


def test_a_small_batch_is_one_part():
    objective, encoder = build()
    pair = [View(torch.rand(4, 20, generator=torch.Generator().manual_seed(1)), torch.ones(4, 20))] * 2
    assert objective.embed(encoder, pair)[1].isfinite().all()


def test_the_momentum_encoder_has_no_gradient():
    objective, _ = build()
    assert not any(p.requires_grad for p in objective.parameters())
    assert objective.follower.training


def test_the_copy_draws_its_dropout_from_the_same_generator():
    objective, encoder = build()
    generators = {
        id(module.generator)
        for net in (encoder, objective.follower)
        for module in net.modules()
        if isinstance(module, Dropout)
    }
    assert len(generators) == 1


def test_simclr_is_ntxent():
    X = np.random.default_rng(5).normal(size=(30, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    halves = [torch.from_numpy(X[:15]).float(), torch.from_numpy(X[15:]).float()]
    loss = SimCLRLoss(temperature=TEMPERATURE)(halves, torch.zeros(15), torch.zeros(15), torch.Generator())
    S = X @ X.T / TEMPERATURE
    np.fill_diagonal(S, -np.inf)
    other = np.roll(np.arange(30), 15)
    assert loss.item() == pytest.approx(np.mean(logsumexp(S, axis=1) - S[np.arange(30), other]), rel=1e-4)
    package = pml.SelfSupervisedLoss(pml.NTXentLoss(temperature=TEMPERATURE))(*halves)
    assert loss.item() == pytest.approx(package.item(), rel=1e-4)
