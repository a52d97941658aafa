from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import oracles
from scim.training.loop._config import MINING
from scim.training.losses import Relations
from scim.training.losses._triplet import (
    TripletLoss,
    Triplets,
    choose,
    choose_on_cpu,
    squared_distances,
    triplet_loss,
)

N_LABELS = 5

# Unit vectors with squared distances of exactly 0, 1, 2, 3 or 4: many equal cells, many ties.
CORNERS = np.concatenate([np.eye(4), -np.eye(4), np.array(np.meshgrid(*[(-0.5, 0.5)] * 4)).reshape(4, -1).T])


def torch_choose(distances, negatives, anchor, positive, *, margin, farther, uniform):
    given = (distances, negatives, anchor, positive)
    given = (torch.from_numpy(np.ascontiguousarray(x)) for x in given)
    return choose(*given, margin=margin, farther=farther, uniform=torch.from_numpy(uniform)).numpy()


@pytest.fixture(params=[torch_choose, choose_on_cpu], ids=["any device", "cpu"])
def chooser(request):
    return request.param


def relations():
    related = np.eye(N_LABELS, dtype=bool)
    related[0, 1] = related[1, 0] = True
    return related, np.arange(N_LABELS) == 2


def loss_with(related, within_study, **settings):
    table = torch.from_numpy(related)
    relations = Relations(table, torch.eye(len(related), dtype=torch.bool), torch.zeros_like(table))
    return TripletLoss(relations, torch.from_numpy(within_study), **{"margin": 1.0, "mining": "random", **settings})


def batch(seed, n=40):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, rng.integers(0, N_LABELS, n), rng.integers(0, 3, n)


def tied_batch(draw):
    cell = st.tuples(st.sampled_from(range(len(CORNERS))), st.sampled_from(range(N_LABELS)), st.integers(0, 2))
    cells = np.array(draw(st.lists(cell, min_size=1, max_size=25)))
    return CORNERS[cells[:, 0]].astype(np.float32), cells[:, 1], cells[:, 2]


def mined(data, mining, margin, seed=0, **kwargs):
    loss = loss_with(*relations(), margin=margin, mining=mining, **kwargs)
    triplets = loss.mine(*map(torch.from_numpy, data), torch.Generator().manual_seed(seed))
    return list(zip(*(part.tolist() for part in triplets), strict=True))


def admitted(data, mining, margin):
    X, labels, studies = data
    return oracles.triplets(squared_distances(torch.from_numpy(X)), labels, studies, *relations(), margin, mining)


def draws(chooser, data, mining, margin):
    """Return the admissible negatives of each pair, and a function from random numbers, one per pair, to the drawn one."""
    X, labels, studies = data
    related, within_study = relations()
    distances = squared_distances(torch.from_numpy(X)).numpy()
    negatives = ~related[labels][:, labels]
    codes = map(torch.from_numpy, (labels, studies))
    pairs = loss_with(related, within_study).draw_positives(*codes, None, torch.Generator())
    anchor, positive = (x.numpy() for x in pairs)
    found = oracles.triplets(distances, labels, studies, related, within_study, margin, mining)
    expected = [found.get(pair, []) for pair in zip(anchor.tolist(), positive.tolist(), strict=True)]

    def choice(uniform):
        uniform = np.asarray(uniform, dtype=np.float32)
        farther = mining == "semihard"
        return chooser(distances, negatives, anchor, positive, margin=margin, farther=farther, uniform=uniform)

    return expected, choice


def check_drawn_evenly(chooser, data, mining, margin):
    """Check that k equal parts of the random numbers give the k admissible negatives, each once."""
    expected, choice = draws(chooser, data, mining, margin)
    sizes = np.array([len(some) for some in expected], dtype=int)
    rounds = [choice((r % np.maximum(sizes, 1) + 0.5) / np.maximum(sizes, 1)) for r in range(sizes.max(initial=1))]
    assert all(((negatives < 0) == (sizes == 0)).all() for negatives in rounds)
    for negatives, some in zip(np.transpose(rounds).tolist(), expected, strict=True):
        assert sorted(negatives[: len(some)]) == some


@pytest.mark.parametrize("mining", ["semihard", "random"])
@pytest.mark.parametrize(("seed", "n", "margin"), [(0, 40, 0.4), (1, 40, 0.05), (2, 90, 0.4), (3, 2, 1.0)])
def test_admissible_negatives_are_those_of_plain_loops_and_drawn_evenly(chooser, mining, seed, n, margin):
    check_drawn_evenly(chooser, batch(seed, n), mining, margin)


@pytest.mark.parametrize("mining", ["semihard", "random"])
@given(data=st.data(), margin=st.sampled_from([0.5, 1.0, 2.0]))
def test_ties_and_duplicates(mining, data, margin):
    cells = tied_batch(data.draw)
    for chooser in (torch_choose, choose_on_cpu):
        check_drawn_evenly(chooser, cells, mining, margin)


@given(data=st.data(), margin=st.sampled_from([0.5, 1.0, 2.0]))
def test_hardest_with_ties(data, margin):
    cells = tied_batch(data.draw)
    expected = admitted(cells, "hardest", margin)
    triplets = mined(cells, "hardest", margin)
    assert [(a, p) for a, p, _ in triplets] == list(expected)
    assert all(n in expected[a, p] for a, p, n in triplets)


def test_the_ends_of_the_random_numbers(chooser):
    data = batch(5)
    last = np.float32(1) - np.finfo(np.float32).eps / 2
    expected, choice = draws(chooser, data, "random", 0.4)
    for u in (0.0, last):
        for negative, some in zip(choice(np.full(len(expected), u)).tolist(), expected, strict=True):
            assert negative in (some or [-1])


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", range(3))
def test_mine_takes_every_pair_once_with_an_admissible_negative(mining, seed):
    data = batch(seed)
    triplets, expected = mined(data, mining, 0.4, seed), admitted(data, mining, 0.4)
    assert [(a, p) for a, p, _ in triplets] == list(expected)
    assert all(n in expected[a, p] for a, p, n in triplets)


def test_only_the_given_generator_draws():
    data = batch(6)
    assert mined(data, "random", 0.4, 1) == mined(data, "random", 0.4, 1) != mined(data, "random", 0.4, 2)


def test_far_positives_have_only_farther_semihard_negatives():
    X = np.array(
        [[1, 0], [0, 1], [0.6, 0.8], [-1, 0], [-0.6, 0.8]], np.float32
    )  # at 0, 2, 0.8, 4 and 3.2 from the first
    labels, studies = np.array([3, 3, 4, 4, 4]), np.array([0, 1, 0, 0, 0])
    data = X, labels, studies
    assert (0, 1, 4) in mined(data, "semihard", 1.5)
    assert not [triplet for triplet in mined(data, "semihard", 1.0) if triplet[0] == 0]
    assert (0, 1, 2) in mined(data, "hardest", 1.0)


def test_pairs_within_a_study_are_of_labels_of_a_single_study():
    X, labels, _ = batch(7)
    triplets = mined((X, labels, np.zeros_like(labels)), "random", 2.0)
    assert {labels[a] for a, _, _ in triplets} == {2}


def test_related_labels_are_no_negatives():
    X, labels, studies = batch(8)
    pairs = {(labels[a], labels[n]) for a, _, n in mined((X, labels, studies), "random", 4.0)}
    assert not pairs & {(i, i) for i in range(N_LABELS)} | {(0, 1), (1, 0)} & pairs
    assert {(0, 2), (1, 2), (3, 4)} <= pairs


def test_positives_per_anchor():
    _, labels, studies = map(torch.from_numpy, batch(2))
    loss, generator = loss_with(*relations()), torch.Generator().manual_seed(0)
    every = set(zip(*(part.tolist() for part in loss.draw_positives(labels, studies, None, generator)), strict=True))
    anchor, positive = loss.draw_positives(labels, studies, 3, generator)
    assert set(zip(anchor.tolist(), positive.tolist(), strict=True)) <= every
    available = np.bincount([a for a, _ in every], minlength=40)
    assert np.bincount(anchor, minlength=40).tolist() == np.minimum(available, 3).tolist()
    assert len(mined(batch(2), "random", 4.0, per_anchor=3)) == len(anchor)


@pytest.mark.parametrize("mining", MINING)
def test_without_a_positive_there_is_no_triplet(mining):
    data = np.eye(4, dtype=np.float32), np.array([0, 1, 3, 4]), np.zeros(4, dtype=np.int64)
    assert mined(data, mining, 1.0) == []


@pytest.mark.parametrize("mining", MINING)
def test_without_a_negative_there_is_no_triplet(mining):
    data = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), np.arange(4)  # 0 and 1 are related
    assert mined(data, mining, 1.0) == []


def test_triplet_loss_by_hand():
    X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    near, far = Triplets(*map(torch.tensor, ([0], [1], [2]))), Triplets(*map(torch.tensor, ([0], [2], [1])))
    assert triplet_loss(X, near, 0.1).item() == pytest.approx(0)
    assert triplet_loss(X, far, 0.1).item() == pytest.approx(2 - math.sqrt(2) + 0.1)


@pytest.mark.parametrize(
    ("negative", "squared", "plain"),
    [((0.8, 0.9), 0.0, 0.0), ((0.3, 0.5), 0.02 - 0.01 + 0.2, math.sqrt(0.02) - 0.1 + 0.2)],
)
def test_squared_and_plain_distances_by_hand(negative, squared, plain):
    """As FaceNet writes the loss, and as the paper of SCimilarity does."""
    X = torch.tensor([(0.2, 0.5), (0.3, 0.4), negative])
    one = Triplets(*map(torch.tensor, ([0], [1], [2])))
    assert triplet_loss(X, one, 0.2, distance="squared").item() == pytest.approx(squared, abs=1e-6)
    assert triplet_loss(X, one, 0.2).item() == pytest.approx(plain, abs=1e-6)


def test_semihard_triplets_with_squared_distances_lose_less_than_the_margin():
    cells = tuple(map(torch.from_numpy, batch(9)))
    loss = loss_with(*relations(), margin=0.3, mining="semihard", distance="squared")
    triplets = loss.mine(*cells, torch.Generator().manual_seed(0))
    X = cells[0]
    near, far = ((X[triplets.anchor] - X[rows]).square().sum(1) for rows in triplets[1:])
    assert len(near) > 0
    assert ((near < far + 1e-6) & (near - far + 0.3 > -1e-6)).all()
    value = loss([X], *cells[1:], torch.Generator().manual_seed(0)).item()
    assert value == pytest.approx((near - far + 0.3).mean().item(), abs=1e-6)


def test_squared_distances_of_rows_of_any_length():
    X = torch.tensor([[3.0, 0], [0, 4], [3, 1]])
    assert squared_distances(X).tolist() == [[0, 25, 1], [25, 0, 18], [1, 18, 0]]


def test_triplet_objective_by_hand():
    X = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]])
    loss = loss_with(np.eye(4, dtype=bool), np.zeros(4, dtype=bool), margin=0.5, mining="hardest")
    labels, studies = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 0])
    value = loss([torch.from_numpy(X).float()], labels, studies, torch.Generator()).item()
    # (0, 1) with 2, at sqrt(0.8), and (1, 0) with 2, at sqrt(0.4)
    expected = [math.sqrt(2) - math.sqrt(0.8) + 0.5, math.sqrt(2) - math.sqrt(0.4) + 0.5]
    assert value == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_equal_points_have_a_finite_slope():
    X = torch.ones(3, 2, requires_grad=True)
    triplet_loss(X, Triplets(*map(torch.tensor, ([0], [1], [2]))), 1.0).backward()
    assert X.grad.isfinite().all()
