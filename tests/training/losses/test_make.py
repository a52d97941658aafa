"""Properties of every loss, and the table of losses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from scim.model import Encoder, ModelConfig, TrainConfig
from scim.training.linear import LINEAR
from scim.training.loop._config import OBJECTIVES
from scim.training.losses import LOSSES, LabelledLoss, View, make_loss, relations

LABELS = ("T cell", "CD4-positive, alpha-beta T cell", "B cell", "monocyte")
CONFIG = TrainConfig(queue_size=50, margin=1.0, temperature=0.2)
N, N_GENES, LATENT = 24, 30, 6
LABELLED = tuple(name for name, (loss, _) in LOSSES.items() if issubclass(loss, LabelledLoss))
PAIRED = tuple(name for name in LABELLED if name not in {"prototypes", "arcface"})


def build(name, *, within_study=False, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    encoder = Encoder(ModelConfig(N_GENES, hidden=(16,), latent_dim=LATENT, input_dropout=0), generator).train()
    config = dataclasses.replace(CONFIG, objective=name, **changes)
    flags = torch.full((len(LABELS),), within_study)
    return make_loss(config, relations(LABELS), flags, encoder, generator), encoder


def views(n_views, seed=0, n=N):
    generator = torch.Generator().manual_seed(seed)
    return [View(torch.rand(n, N_GENES, generator=generator), torch.ones(n, N_GENES)) for _ in range(n_views)]


def codes(seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, len(LABELS), N)), torch.from_numpy(rng.integers(0, 3, N))


def loss_of(objective, embeddings, labels=None, studies=None, seed=0):
    labels, studies = (x if y is None else y for x, y in zip(codes(), (labels, studies), strict=True))
    return objective(embeddings, labels, studies, torch.Generator().manual_seed(seed))


def points(seed=0, n=N):
    X = torch.randn(n, LATENT, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(X).requires_grad_()


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_makes_the_loss_smaller(name):
    objective, encoder = build(name)
    seen = views(objective.n_views)
    optimizer = torch.optim.SGD([*encoder.parameters(), *objective.parameters()], lr=0.02)
    values = []
    for _ in range(4):
        objective.load_state_dict(build(name)[0].state_dict())  # the queue of moco as it was, and its keys
        embeddings = objective.embed(encoder, seen)
        assert len(embeddings) == objective.n_views
        for embedding in embeddings:
            assert embedding.shape == (N, LATENT)
            assert torch.allclose(embedding.norm(dim=1), torch.ones(N), atol=1e-5)
        loss = loss_of(objective, embeddings)
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in encoder.parameters())
        assert encoder.first.weight.grad.abs().sum() > 0
        optimizer.step()
        objective.after_step(encoder)
    assert values[-1] < values[0]


@pytest.mark.parametrize("name", LOSSES)
def test_the_state_dict_is_complete(name):
    (one, encoder), (other, _) = build(name), build(name, seed=1)
    with torch.no_grad():
        one.forward([points(), points(1)][: one.n_views], *codes(), torch.Generator().manual_seed(0))
        one.after_step(encoder)
    other.load_state_dict(one.state_dict())
    embeddings = [points(2), points(3)][: one.n_views]
    assert loss_of(one, embeddings).item() == loss_of(other, embeddings).item()
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_random_numbers_give_the_same_loss(name):
    embeddings = [points(), points(1)][: build(name)[0].n_views]
    values = {loss_of(build(name, label_perturbation=0.5)[0], embeddings).item() for _ in range(3)}
    assert len(values) == 1


@pytest.mark.parametrize("name", LOSSES)
def test_mixed_precision_changes_nothing(name):
    embeddings = [points(), points(1)][: build(name)[0].n_views]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss_of(build(name)[0], embeddings)
    assert mixed.dtype == torch.float32
    assert mixed.item() == loss_of(build(name)[0], embeddings).item()


@pytest.mark.parametrize("name", PAIRED)
def test_related_labels_have_no_gradient(name):
    objective, _ = build(name)
    X = points(n=4)
    loss = objective([X], torch.tensor([1, 1, 1, 0]), torch.arange(4), torch.Generator())
    loss.backward()
    assert (X.grad[3] == 0).all()  # the T cell is related to the CD4 T cells
    without = objective([X[:3]], torch.tensor([1, 1, 1]), torch.arange(3), torch.Generator())
    assert loss.item() == pytest.approx(without.item())


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("within_study", [False, True])
def test_positives_are_of_other_studies_unless_those_within_a_study_count(name, within_study):
    objective, _ = build(name, within_study=within_study)
    X = torch.eye(LATENT)[[0, 1, 2, 3]].requires_grad_()
    labels, studies = torch.tensor([0, 0, 2, 2]), torch.tensor([0, 0, 1, 1])
    objective([X], labels, studies, torch.Generator().manual_seed(0)).backward()
    pulled = -(X.grad @ X.T.detach())  # how far each cell goes towards each other one
    assert bool(pulled[0, 1] > 0) == bool(pulled[2, 3] > 0) == within_study


@pytest.mark.parametrize("name", PAIRED)
def test_without_positives_the_loss_is_zero_and_has_a_gradient(name):
    objective, _ = build(name)
    X = torch.eye(LATENT)[:4].requires_grad_()
    loss = objective([X], torch.tensor([0, 2, 3, 3]), torch.zeros(4, dtype=torch.int64), torch.Generator())
    assert loss.item() == 0
    loss.backward()
    assert (X.grad == 0).all()


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_perturbed(name):
    labels, studies = torch.tensor([1] * 6 + [0] * 6 + [2] * 12), torch.arange(N)
    embedding = points()
    objective, _ = build(name, label_perturbation=1.0, per_anchor=N, mining="hardest")
    as_it_is, _ = build(name, per_anchor=N, mining="hardest")
    coarse = torch.tensor([0] * 12 + [2] * 12)
    assert loss_of(objective, [embedding], labels, studies).item() == pytest.approx(
        loss_of(as_it_is, [embedding], coarse, studies).item()
    )
    assert loss_of(objective, [embedding], labels, studies).item() != pytest.approx(
        loss_of(as_it_is, [embedding], labels, studies).item()
    )


@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_two_views_need_no_labels(name):
    embeddings = [points(), points(1)]
    values = {loss_of(build(name)[0], embeddings, *codes(seed)).item() for seed in range(3)}
    assert len(values) == 1
    assert not isinstance(build(name)[0], LabelledLoss)


def test_settings_reach_the_losses():
    changes = {"distance": "squared", "average": "active", "angle": 0.25, "sub_centers": 5, "per_anchor": None}
    triplet, contrastive, arcface = (build(name, **changes)[0] for name in ("triplet", "contrastive", "arcface"))
    assert triplet.distance == "squared"
    assert contrastive.average == "active"
    assert arcface.centers.margin == pytest.approx(0.25)
    assert arcface.centers.W.shape == (LATENT, 5 * len(LABELS))
    assert build("triplet")[0].distance == "plain"
    assert build("contrastive")[0].average == "all"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"distance": "cosine"}, "distance must be one of .*'plain', 'squared'.* got 'cosine'"),
        ({"average": "some"}, "average must be one of .*'all', 'active'.* got 'some'"),
        ({"angle": 2.0}, "angle must lie between 0.0 and 1.57"),
        ({"sub_centers": 0}, "sub_centers must lie between 1 and inf, got 0"),
        ({"push_weight": 1.5}, "push_weight must lie between 0.0 and 1, got 1.5"),
    ],
)
def test_settings_that_no_loss_takes(changes, match):
    with pytest.raises(ValueError, match=match):
        TrainConfig(**changes)


def test_within_study_has_an_entry_for_each_label():
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(ModelConfig(N_GENES, hidden=(16,), latent_dim=LATENT), generator)
    with pytest.raises(ValueError, match="within_study must have one entry for each of the 4 labels, got 2"):
        make_loss(CONFIG, relations(LABELS), torch.zeros(2, dtype=torch.bool), encoder, generator)


def test_a_loss_that_does_not_exist():
    config = dataclasses.replace(CONFIG)
    object.__setattr__(config, "objective", "magic")
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(ModelConfig(N_GENES, hidden=(16,), latent_dim=LATENT), generator)
    with pytest.raises(ValueError, match="There is no loss 'magic'; expected one of"):
        make_loss(config, relations(LABELS), torch.zeros(4, dtype=torch.bool), encoder, generator)


def test_every_objective_is_a_loss_or_a_linear_map():
    assert (*LOSSES, *LINEAR) == OBJECTIVES


def test_embedding_does_not_import_the_losses():
    # in a new process, because this one has imported them: a second or two
    code = "import sys, scim.model; print('pytorch_metric_learning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
