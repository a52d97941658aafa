"""The terms beside the objective."""

from __future__ import annotations

import math

import pytest
import torch

from scim.training.losses import Prototypes, Relations, l1_loss, reconstruction_loss, relations
from scim.training.losses._prototype import prototype_loss


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


def prototypes(found, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    term = Prototypes(
        found, torch.ones(len(found.kin), dtype=torch.bool), latent_dim=dim, temperature=0.1, generator=generator
    )
    return lambda X, labels: term([X], labels, torch.zeros_like(labels), generator), term


def test_prototypes_learn_and_are_saved():
    found = relations(["T cell", "B cell"])
    (first_of, one), (other_of, other) = (prototypes(found, 3, seed) for seed in (0, 1))
    embedding = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    labels = torch.tensor([0, 0, 1, 1, 0])
    first = first_of(embedding, labels)
    assert first.item() != pytest.approx(other_of(embedding, labels).item())
    assert list(one.state_dict()) == ["prototypes"]
    other.load_state_dict(one.state_dict())
    assert first.item() == other_of(embedding, labels).item()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    first.backward()
    optimizer.step()
    assert first_of(embedding, labels).item() < first.item()


def test_prototypes_are_not_rounded_in_mixed_precision():
    unrelated = torch.eye(4, dtype=torch.bool)
    term, _ = prototypes(Relations(unrelated, unrelated, ~unrelated), 16, 0)
    embedding = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(1)))
    labels = torch.arange(8) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = term(embedding, labels)
    assert mixed.item() == term(embedding, labels).item()


def test_l1():
    assert l1_loss(torch.tensor([[1.0, -2.0]])).item() == 3
