from __future__ import annotations

import math

import pytest
import torch

from scim.model.objectives._loss import l1_loss, prototype_loss, reconstruction_loss, triplet_loss
from scim.model.objectives._mine import Triplets


def test_triplet_loss_by_hand():
    X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    near, far = Triplets(*map(torch.tensor, ([0], [1], [2]))), Triplets(*map(torch.tensor, ([0], [2], [1])))
    assert triplet_loss(X, near, 0.1).item() == pytest.approx(0)
    assert triplet_loss(X, far, 0.1).item() == pytest.approx(2 - math.sqrt(2) + 0.1)


def test_no_triplets_no_loss_and_no_nan():
    X = torch.ones(3, 2, requires_grad=True)
    none = torch.empty(0, dtype=torch.int64)
    loss = triplet_loss(X, Triplets(none, none, none), 1.0)
    loss.backward()
    assert loss.item() == 0
    assert X.grad.abs().sum() == 0


def test_equal_points_have_a_finite_slope():
    X = torch.ones(3, 2, requires_grad=True)
    triplet_loss(X, Triplets(*map(torch.tensor, ([0], [1], [2]))), 1.0).backward()
    assert X.grad.isfinite().all()


def test_reconstruction_counts_observed_genes_only():
    decoded, target = torch.tensor([[1.0, 5.0], [0.0, 2.0]]), torch.zeros(2, 2)
    observed = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert reconstruction_loss(decoded, target, observed).item() == pytest.approx((1 + 0 + 4) / 3)


def test_prototypes_sum_what_is_below_and_leave_out_what_is_above():
    prototypes = torch.eye(3)
    X = torch.tensor([[1.0, 0.0, 0.0]])
    below = torch.eye(3, dtype=torch.bool)
    below[0, 1] = True  # 1 is a kind of 0
    e = math.exp(1)
    coarse = prototype_loss(X, prototypes, torch.tensor([0]), below, 1.0)
    assert coarse.item() == pytest.approx(math.log((e + 2) / (e + 1)))
    fine = prototype_loss(X, prototypes, torch.tensor([1]), below, 1.0)
    assert fine.item() == pytest.approx(math.log(2))


def test_l1():
    assert l1_loss(torch.tensor([[1.0, -2.0]])).item() == 3
