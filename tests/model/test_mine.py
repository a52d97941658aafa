from __future__ import annotations

import numpy as np
import pytest
import torch

from scim.model.objectives._mine import mine, positive_pairs
from scim.model.training._config import MINING

N, N_LABELS, MARGIN = 40, 5, 0.4


def batch(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    kin = np.eye(N_LABELS, dtype=bool)
    kin[0, 1] = kin[1, 0] = True
    lone = np.arange(N_LABELS) == 2
    return (
        torch.from_numpy(X),
        torch.from_numpy(rng.integers(0, N_LABELS, N)),
        torch.from_numpy(rng.integers(0, 3, N)),
        torch.from_numpy(kin),
        torch.from_numpy(lone),
    )


def oracle(X, labels, studies, kin, lone, mining):
    """For each pair the set of negatives that the rule allows, with Python loops, as the paper words it."""
    found = {}
    d2 = ((X[:, None] - X[None]).double() ** 2).sum(-1).numpy()
    for a in range(N):
        for p in range(N):
            if a == p or labels[a] != labels[p] or (studies[a] == studies[p] and not lone[labels[a]]):
                continue
            violation = {n: d2[a, p] - d2[a, n] + MARGIN for n in range(N) if not kin[labels[a], labels[n]]}
            allowed = {n for n, v in violation.items() if v > 0 and (mining != "semihard" or v < MARGIN)}
            if mining == "hardest" and allowed:
                allowed = {max(allowed, key=violation.__getitem__)}
            if allowed:
                found[a, p] = allowed
    return found


def draw(data, mining, seed, **kwargs):
    X, labels, studies, kin, lone = data
    generator = torch.Generator().manual_seed(seed)
    return mine(X, labels, studies, kin, lone=lone, margin=MARGIN, mining=mining, generator=generator, **kwargs)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", range(3))
def test_admissible_triplets_are_those_of_plain_loops(mining, seed):
    data = batch(seed)
    expected = oracle(*data, mining)
    found = {}
    for draws in range(150):
        for a, p, n in zip(*(part.tolist() for part in draw(data, mining, draws)), strict=True):
            found.setdefault((a, p), set()).add(n)
    assert found.keys() == expected.keys()
    drawn = sum(len(found[pair]) for pair in expected)
    assert all(found[pair] <= expected[pair] for pair in expected)
    # with up to 30 negatives a pair and 150 draws, one in 160 is missed by chance
    assert drawn > 0.98 * sum(map(len, expected.values()))


def test_every_pair_appears_once():
    data = batch(0)
    triplets = draw(data, "random", 0)
    pairs = list(zip(triplets.anchor.tolist(), triplets.positive.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == len(oracle(*data, "random"))


def test_negatives_are_drawn_alike():
    X, labels, studies, kin, lone = batch(4)
    data = (X, labels, studies, kin, lone)
    pair, allowed = max(oracle(*data, "random").items(), key=lambda item: len(item[1]))
    n_draws = 800
    times = dict.fromkeys(allowed, 0)
    for seed in range(n_draws):
        triplets = draw(data, "random", seed)
        row = ((triplets.anchor == pair[0]) & (triplets.positive == pair[1])).nonzero()[0, 0]
        times[int(triplets.negative[row])] += 1
    expected = n_draws / len(allowed)
    chi2 = sum((n - expected) ** 2 / expected for n in times.values())
    assert chi2 < len(allowed) + 4 * np.sqrt(2 * len(allowed))  # four standard deviations above its mean


def test_chunks_change_nothing_about_the_pairs(monkeypatch):
    data = batch(1)
    whole = draw(data, "hardest", 0)
    monkeypatch.setattr("scim.model.objectives._mine._CHUNK_BYTES", 16 * N * 7)
    parts = draw(data, "hardest", 0)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_positives_per_anchor():
    _, labels, studies, _, lone = batch(2)
    every = set(zip(*(part.tolist() for part in positive_pairs(labels, studies, lone)), strict=True))
    generator = torch.Generator().manual_seed(0)
    anchor, positive = positive_pairs(labels, studies, lone, per_anchor=3, generator=generator)
    assert set(zip(anchor.tolist(), positive.tolist(), strict=True)) <= every
    available = np.bincount([a for a, _ in every], minlength=N)
    assert np.bincount(anchor, minlength=N).tolist() == np.minimum(available, 3).tolist()


def test_no_positive_no_triplet():
    X = torch.eye(4)
    triplets = mine(
        X,
        torch.arange(4),
        torch.zeros(4, dtype=torch.int64),
        torch.eye(4, dtype=torch.bool),
        lone=torch.zeros(4, dtype=torch.bool),
        margin=1.0,
        mining="random",
        generator=torch.Generator().manual_seed(0),
    )
    assert [len(part) for part in triplets] == [0, 0, 0]
