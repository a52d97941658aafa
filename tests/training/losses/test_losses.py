"""The value of each loss, against a few lines of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses
from scipy.special import logsumexp

from scim.training.losses import Relations
from scim.training.losses._contrastive import Contrastive
from scim.training.losses._mine import Triplets
from scim.training.losses._nca import NeighbourhoodComponents
from scim.training.losses._simclr import TwoViews
from scim.training.losses._supcon import SupervisedContrastive
from scim.training.losses._triplet import Triplet, triplet_loss

N, N_LABELS, MARGIN, TEMPERATURE = 30, 4, 0.9, 0.2


def relations(*kin):
    """Labels that are kin to themselves, and some to each other; no parents."""
    table = torch.eye(N_LABELS, dtype=torch.bool)
    for a, b in kin:
        table[a, b] = table[b, a] = True
    return Relations(table, torch.eye(N_LABELS, dtype=torch.bool), torch.zeros_like(table))


KIN, LONE = relations((0, 1)), torch.tensor([False, False, True, False])


def batch(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, rng.integers(0, N_LABELS, N), rng.integers(0, 3, N)


def partners(labels, studies):
    """Positives and negatives of each cell, as the docstrings say."""
    kin, lone = KIN.kin.numpy(), LONE.numpy()
    friends = [
        [b for b in range(N) if b != a and labels[a] == labels[b] and (studies[a] != studies[b] or lone[labels[a]])]
        for a in range(N)
    ]
    return friends, [[b for b in range(N) if not kin[labels[a], labels[b]]] for a in range(N)]


def loss_of(objective, X, labels, studies):
    given = [torch.from_numpy(np.asarray(x)) for x in (labels, studies)]
    return objective([torch.from_numpy(X).float()], *given, torch.Generator().manual_seed(0)).item()


def contrastive(X, friends, enemies):
    near = [np.sum((X[a] - X[b]) ** 2) / 2 for a in range(N) for b in friends[a]]
    far = [max(0, MARGIN - np.linalg.norm(X[a] - X[b])) ** 2 / 2 for a in range(N) for b in enemies[a]]
    return np.mean(near) + np.mean([loss for loss in far if loss > 0])


def nca(X, friends, enemies):
    S = X @ X.T / TEMPERATURE
    return np.mean(
        [logsumexp(S[a, friends[a] + enemies[a]]) - logsumexp(S[a, friends[a]]) for a in range(N) if friends[a]]
    )


def supcon(X, friends, enemies):
    S = X @ X.T / TEMPERATURE
    return np.mean(
        [np.mean(logsumexp(S[a, friends[a] + enemies[a]]) - S[a, friends[a]]) for a in range(N) if friends[a]]
    )


OBJECTIVES = {
    contrastive: Contrastive(KIN, LONE, margin=MARGIN),
    nca: NeighbourhoodComponents(KIN, LONE, temperature=TEMPERATURE),
    supcon: SupervisedContrastive(KIN, LONE, temperature=TEMPERATURE),
}


@pytest.mark.parametrize("oracle", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_values(oracle, seed):
    X, labels, studies = batch(seed)
    assert loss_of(OBJECTIVES[oracle], X, labels, studies) == pytest.approx(
        oracle(X, *partners(labels, studies)), rel=1e-4
    )


def test_contrastive_by_hand():
    X = np.array([[1, 0], [0, 1], [0.6, 0.8]])  # apart by sqrt(2), sqrt(0.8) and sqrt(0.4)
    objective = Contrastive(relations(), LONE, margin=1.0)
    far = [(1 - math.sqrt(0.8)) ** 2 / 2, (1 - math.sqrt(0.4)) ** 2 / 2]
    assert loss_of(objective, X, [0, 0, 1], [0, 1, 0]) == pytest.approx(2 / 2 + sum(far) / 2)


def test_contrastive_with_some_positives_of_each_cell():
    X, labels, studies = batch(3)
    few = Contrastive(KIN, LONE, margin=1e-9, per_anchor=1)
    near = [np.sum((X[a] - X[b]) ** 2) / 2 for a, some in enumerate(partners(labels, studies)[0]) for b in some]
    assert min(near) < loss_of(few, X, labels, studies) < max(near)
    every = Contrastive(KIN, LONE, margin=1e-9, per_anchor=N)
    assert loss_of(every, X, labels, studies) == pytest.approx(np.mean(near), rel=1e-4)


def test_soft_neighbours_are_those_of_the_package_where_nothing_is_left_out():
    X, labels, studies = batch(4)
    objective = NeighbourhoodComponents(relations(), torch.ones(N_LABELS, dtype=torch.bool), temperature=TEMPERATURE)
    package = losses.NCALoss(softmax_scale=1 / (2 * TEMPERATURE))(torch.from_numpy(X), torch.from_numpy(labels))
    assert loss_of(objective, X, labels, studies) == pytest.approx(package.item(), rel=1e-4)


def test_two_views_are_ntxent():
    X, _, _ = batch(5)
    halves = [torch.from_numpy(X[:15]).float(), torch.from_numpy(X[15:]).float()]
    loss = TwoViews(temperature=TEMPERATURE)(halves, torch.zeros(15), torch.zeros(15), torch.Generator())
    S = X @ X.T / TEMPERATURE
    np.fill_diagonal(S, -np.inf)
    other = np.roll(np.arange(N), 15)
    assert loss.item() == pytest.approx(np.mean(logsumexp(S, axis=1) - S[np.arange(N), other]), rel=1e-4)
    package = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=TEMPERATURE))(*halves)
    assert loss.item() == pytest.approx(package.item(), rel=1e-4)


def test_triplet_loss_by_hand():
    X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    near, far = Triplets(*map(torch.tensor, ([0], [1], [2]))), Triplets(*map(torch.tensor, ([0], [2], [1])))
    assert triplet_loss(X, near, 0.1).item() == pytest.approx(0)
    assert triplet_loss(X, far, 0.1).item() == pytest.approx(2 - math.sqrt(2) + 0.1)


def test_triplet_objective_by_hand():
    X = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]])
    objective = Triplet(relations(), LONE, margin=0.5, mining="hardest")
    # (0, 1) with 2, at sqrt(0.8), and (1, 0) with 2, at sqrt(0.4)
    expected = [math.sqrt(2) - math.sqrt(0.8) + 0.5, math.sqrt(2) - math.sqrt(0.4) + 0.5]
    assert loss_of(objective, X, [0, 0, 1, 2], [0, 1, 0, 0]) == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_equal_points_have_a_finite_slope():
    X = torch.ones(3, 2, requires_grad=True)
    triplet_loss(X, Triplets(*map(torch.tensor, ([0], [1], [2]))), 1.0).backward()
    assert X.grad.isfinite().all()
