"""The terms beside the objective."""

from __future__ import annotations

import math

import pytest
import torch

from scim.model.objectives import Prototypes, Relations, l1_loss, reconstruction_loss, relations
from scim.model.objectives._prototype import prototype_loss


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


def test_prototypes_learn_and_are_saved():
    found = relations(["T cell", "B cell"])
    terms = [Prototypes(found, 3, 0.1, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    embedding = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    labels = torch.tensor([0, 0, 1, 1, 0])
    first = terms[0](embedding, labels)
    assert first.item() != pytest.approx(terms[1](embedding, labels).item())
    assert list(terms[0].state_dict()) == ["prototypes"]
    terms[1].load_state_dict(terms[0].state_dict())
    assert first.item() == terms[1](embedding, labels).item()
    optimizer = torch.optim.SGD(terms[0].parameters(), lr=0.1)
    first.backward()
    optimizer.step()
    assert terms[0](embedding, labels).item() < first.item()


def test_prototypes_are_not_rounded_in_mixed_precision():
    unrelated = torch.eye(4, dtype=torch.bool)
    term = Prototypes(Relations(unrelated, unrelated, ~unrelated), 16, 0.1, torch.Generator().manual_seed(0))
    embedding = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(1)))
    labels = torch.arange(8) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = term(embedding, labels)
    assert mixed.item() == term(embedding, labels).item()


def test_l1():
    assert l1_loss(torch.tensor([[1.0, -2.0]])).item() == 3
