"""The value of each loss of labelled cells, against a few lines of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from scipy.special import logsumexp

from scim.training.losses import Relations
from scim.training.losses import relations as labels_relations
from scim.training.losses._labelled import (
    ArcFaceLoss,
    ContrastiveLoss,
    NCALoss,
    PrototypeLoss,
    SupConLoss,
    prototype_loss,
)

N, N_LABELS, MARGIN, TEMPERATURE = 30, 4, 0.9, 0.2


def relations(*related):
    """Labels that are related to themselves, and some to each other; no parents."""
    table = torch.eye(N_LABELS, dtype=torch.bool)
    for a, b in related:
        table[a, b] = table[b, a] = True
    return Relations(table, torch.eye(N_LABELS, dtype=torch.bool), torch.zeros_like(table))


RELATIONS, WITHIN = relations((0, 1)), torch.tensor([False, False, True, False])


def batch(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, rng.integers(0, N_LABELS, N), rng.integers(0, 3, N)


def partners(labels, studies):
    """Return positives and negatives of each cell, by the definition in the docstrings."""
    related, within = RELATIONS.related.numpy(), WITHIN.numpy()
    positives = [
        [b for b in range(N) if b != a and labels[a] == labels[b] and (studies[a] != studies[b] or within[labels[a]])]
        for a in range(N)
    ]
    return positives, [[b for b in range(N) if not related[labels[a], labels[b]]] for a in range(N)]


def loss_of(objective, X, labels, studies):
    given = [torch.from_numpy(np.asarray(x)) for x in (labels, studies)]
    return objective([torch.from_numpy(X).float()], *given, torch.Generator().manual_seed(0)).item()


def pair_losses(X, positives, negatives):
    near = [np.sum((X[a] - X[b]) ** 2) / 2 for a in range(N) for b in positives[a]]
    far = [max(0, MARGIN - np.linalg.norm(X[a] - X[b])) ** 2 / 2 for a in range(N) for b in negatives[a]]
    return near, far


def contrastive(*cells):
    near, far = pair_losses(*cells)
    return np.mean(near + far)


def contrastive_of_active(*cells):
    near, far = pair_losses(*cells)
    return np.mean(near) + np.mean([loss for loss in far if loss > 0])


def nca(X, positives, negatives):
    S = X @ X.T / TEMPERATURE
    return np.mean(
        [logsumexp(S[a, positives[a] + negatives[a]]) - logsumexp(S[a, positives[a]]) for a in range(N) if positives[a]]
    )


def supcon(X, positives, negatives):
    S = X @ X.T / TEMPERATURE
    return np.mean(
        [np.mean(logsumexp(S[a, positives[a] + negatives[a]]) - S[a, positives[a]]) for a in range(N) if positives[a]]
    )


OBJECTIVES = {
    contrastive: ContrastiveLoss(RELATIONS, WITHIN, margin=MARGIN),
    contrastive_of_active: ContrastiveLoss(RELATIONS, WITHIN, margin=MARGIN, average="active"),
    nca: NCALoss(RELATIONS, WITHIN, temperature=TEMPERATURE),
    supcon: SupConLoss(RELATIONS, WITHIN, temperature=TEMPERATURE),
}


@pytest.mark.parametrize("oracle", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_values(oracle, seed):
    X, labels, studies = batch(seed)
    assert loss_of(OBJECTIVES[oracle], X, labels, studies) == pytest.approx(
        oracle(X, *partners(labels, studies)), rel=1e-4
    )


def test_contrastive_by_hand():
    X = np.array([[1, 0], [0, 1], [0.6, 0.8], [-0.6, -0.8]])  # the first three apart by sqrt(2), sqrt(0.8), sqrt(0.4)
    near, far = (
        2 / 2,
        [(1 - math.sqrt(0.8)) ** 2 / 2, (1 - math.sqrt(0.4)) ** 2 / 2, 0, 0, 0],
    )  # the last is far from all
    given = X, [0, 0, 1, 3], [0, 1, 0, 0]
    assert loss_of(ContrastiveLoss(relations(), WITHIN, margin=1.0), *given) == pytest.approx((near + sum(far)) / 6)
    active = ContrastiveLoss(relations(), WITHIN, margin=1.0, average="active")
    assert loss_of(active, *given) == pytest.approx(near + sum(far) / 2)


def test_contrastive_of_rows_that_are_not_of_length_one():
    X = np.array([[3.0, 0], [0, 4], [3, 0.5]])  # apart by 5; 0.5; sqrt(9 + 3.5 ** 2), beyond the margin
    objective = ContrastiveLoss(relations(), WITHIN, margin=1.0)
    assert loss_of(objective, X, [0, 0, 1], [0, 1, 0]) == pytest.approx((25 / 2 + 0.5**2 / 2 + 0) / 3)


def test_contrastive_with_some_positives_of_each_cell():
    X, labels, studies = batch(3)
    few = ContrastiveLoss(RELATIONS, WITHIN, margin=1e-9, per_anchor=1, average="active")
    positives, negatives = partners(labels, studies)
    near, _ = pair_losses(X, positives, negatives)
    assert min(near) < loss_of(few, X, labels, studies) < max(near)
    every = ContrastiveLoss(RELATIONS, WITHIN, margin=1e-9, per_anchor=N)
    n_pairs = len(near) + sum(map(len, negatives))
    assert loss_of(every, X, labels, studies) == pytest.approx(sum(near) / n_pairs, rel=1e-4)


def test_soft_neighbours_are_those_of_the_package_where_nothing_is_left_out():
    X, labels, studies = batch(4)
    objective = NCALoss(relations(), torch.ones(N_LABELS, dtype=torch.bool), temperature=TEMPERATURE)
    package = pml.NCALoss(softmax_scale=1 / (2 * TEMPERATURE))(torch.from_numpy(X), torch.from_numpy(labels))
    assert loss_of(objective, X, labels, studies) == pytest.approx(package.item(), rel=1e-4)


def test_prototypes_sum_descendants_and_leave_out_ancestors():
    prototypes = torch.eye(3)
    X = torch.tensor([[1.0, 0.0, 0.0]])
    descendants = torch.eye(3, dtype=torch.bool)
    descendants[0, 1] = True  # 1 is a kind of 0
    e = math.exp(1)
    coarse = prototype_loss(X, prototypes, torch.tensor([0]), descendants, 1.0)
    assert coarse.item() == pytest.approx(math.log((e + 2) / (e + 1)))
    fine = prototype_loss(X, prototypes, torch.tensor([1]), descendants, 1.0)
    assert fine.item() == pytest.approx(math.log(2))


def prototypes(tables, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    term = PrototypeLoss(
        tables, torch.ones(len(tables.related), dtype=torch.bool), latent_dim=dim, temperature=0.1, generator=generator
    )
    return lambda X, labels: term([X], labels, torch.zeros_like(labels), generator), term


def test_prototypes_learn_and_are_saved():
    tables = labels_relations(["T cell", "B cell"])
    (first_of, one), (other_of, other) = (prototypes(tables, 3, seed) for seed in (0, 1))
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


def arcface(tables, centers, *, angle=0.5, temperature=1.0):
    """Make the loss with given directions, (n_labels, sub_centers, latent_dim)."""
    n_labels, sub_centers, latent_dim = centers.shape
    sizes = {"latent_dim": latent_dim, "sub_centers": sub_centers}
    within = torch.ones(n_labels, dtype=torch.bool)
    loss = ArcFaceLoss(tables, within, temperature=temperature, angle=angle, **sizes, generator=torch.Generator())
    loss.centers.W.data.copy_(centers.reshape(-1, latent_dim).T)
    return loss


def unrelated(n_labels):
    same = torch.eye(n_labels, dtype=torch.bool)
    return Relations(same, same, torch.zeros_like(same))


def at(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def test_arcface_by_hand():
    centers = torch.stack(
        [3 * at(90.0, 30.0), at(-60.0, 180.0)]
    )  # a cell at 0 degrees is 30 from the first label, 60 from the other
    loss = arcface(unrelated(2), centers, angle=math.radians(15), temperature=0.5)
    right, wrong = math.cos(math.radians(30 + 15)) / 0.5, math.cos(math.radians(60)) / 0.5
    assert loss_of(loss, at(0.0).numpy(), [0], [0]) == pytest.approx(math.log(1 + math.exp(wrong - right)), rel=1e-5)
    right, wrong = math.cos(math.radians(60 + 15)) / 0.5, math.cos(math.radians(30)) / 0.5
    assert loss_of(loss, at(0.0).numpy(), [1], [0]) == pytest.approx(math.log(1 + math.exp(wrong - right)), rel=1e-5)


def test_arcface_adds_the_margin_to_descendants_and_leaves_out_ancestors():
    descendants = torch.eye(3, dtype=torch.bool)
    descendants[0, 1] = True  # 1 is a kind of 0
    tables = Relations(descendants | descendants.T, descendants, torch.zeros_like(descendants))
    loss = arcface(tables, at(10.0, 20.0, 60.0)[:, None], angle=math.radians(5))
    own, child, other = (math.cos(math.radians(x)) for x in (15, 25, 60))
    total = math.exp(own) + math.exp(child)
    assert loss_of(loss, at(0.0).numpy(), [0], [0]) == pytest.approx(math.log(1 + math.exp(other) / total), rel=1e-5)
    assert loss_of(loss, at(0.0).numpy(), [1], [0]) == pytest.approx(math.log(1 + math.exp(other - child)), rel=1e-5)


def test_arcface_is_that_of_the_package_without_related_labels():
    X, labels, studies = batch(6)
    centers = torch.randn(N_LABELS, 3, 3, generator=torch.Generator().manual_seed(0))
    loss = arcface(unrelated(N_LABELS), centers, temperature=1 / 64)
    sizes = {"num_classes": N_LABELS, "embedding_size": 3, "sub_centers": 3}
    package = pml.SubCenterArcFaceLoss(**sizes, margin=math.degrees(0.5), scale=64)
    package.W.data.copy_(loss.centers.W)
    expected = package(torch.from_numpy(X).float(), torch.from_numpy(labels)).item()
    assert loss_of(loss, X, labels, studies) == pytest.approx(expected, rel=1e-4)


def test_a_cell_on_its_direction_has_a_finite_slope():
    X = at(0.0).requires_grad_()
    codes = torch.zeros(1, dtype=torch.int64)
    arcface(unrelated(2), at(0.0, 180.0)[:, None])([X], codes, codes, torch.Generator()).backward()
    assert X.grad.isfinite().all()


def test_arcface_draws_its_directions_from_the_generator():
    before = torch.random.get_rng_state()
    settings = {"latent_dim": 3, "temperature": 1.0, "angle": 0.5, "sub_centers": 2}
    made = [
        ArcFaceLoss(
            unrelated(2), torch.ones(2, dtype=torch.bool), **settings, generator=torch.Generator().manual_seed(s)
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(made[0].centers.W, made[1].centers.W)
    assert not torch.equal(made[0].centers.W, made[2].centers.W)
    assert torch.equal(torch.random.get_rng_state(), before)
