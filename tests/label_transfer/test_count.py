from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.voting import unit, voters_of
from scim.label_transfer import count, label_weights

X = unit(np.eye(5))
NAMES = ("T cell", "B cell", "monocyte")
CODES = np.array([0, 0, 1, 1, 2])
ALIKE = np.ones(3, np.float32)
NEAR = np.ones((1, 3), np.float32)


def neighbors(distances, ids):
    return np.array(distances, np.float32), np.array(ids, np.int64)


def counted(distances, ids, *, weights="distance", top_n=3, studies=(0, 0, 0, 0, 0), near=NEAR, each=ALIKE):
    found = neighbors(distances, ids)
    near = np.broadcast_to(near, (len(found[0]), 3)).copy()
    return count(*found, voters_of(X, CODES, studies, *NAMES), each, near, weights=weights, top_n=top_n)


def test_uniform_vote_by_hand():
    votes, _ = counted([[0.1, 0.2, 0.3]], [[2, 0, 1]], weights="uniform")
    assert votes.codes.tolist() == [[0, 1, -1]]
    np.testing.assert_allclose(votes.shares, [[2 / 3, 1 / 3, 0]], rtol=1e-6)


def test_distance_vote_by_hand():
    # label 1 weighs 1 / 0.1 = 10, label 0 weighs 1 / 0.25 + 1 / 0.5 = 6
    votes, _ = counted([[0.1, 0.25, 0.5]], [[2, 0, 1]], top_n=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[10 / 16, 6 / 16]], rtol=1e-6)


def test_balanced_vote_by_hand():
    each = np.array([1 / 2, 1, 1], np.float32)  # label 0 has four times the cells
    near = np.array([[0.04, 0.01, 1]], np.float32)
    votes, _ = counted([[0.1, 0.1, 0.2]], [[0, 1, 2]], weights="balanced", each=each, near=near, top_n=2)
    first, second = (2 * 0.5 / 0.1) ** 0.65 / 0.2, (1 / 0.2) ** 0.65 / 0.1
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[second / (first + second), first / (first + second)]], rtol=1e-5)


def test_many_studies_count_more_than_one():
    same, _ = counted([[0.1] * 4], [[0, 1, 2, 3]], weights="balanced", studies=(0, 0, 0, 0, 0))
    np.testing.assert_allclose(same.shares[0, :2], [0.5, 0.5])
    votes, evidence = counted([[0.1] * 4], [[0, 1, 2, 3]], weights="balanced", studies=(0, 0, 1, 2, 0))
    assert votes.codes[0, 0] == 1
    np.testing.assert_allclose(votes.shares[0, 0] / votes.shares[0, 1], 2 / 2**0.65, rtol=1e-5)
    assert evidence.n_studies[0, 0] == 2


def test_a_label_of_many_weighs_less():
    np.testing.assert_allclose(label_weights(np.array([4, 0, 1])), [1 / 2, 1, 1])


def test_a_tie_goes_to_the_nearer_label():
    votes, _ = counted([[0.1, 0.2, 0.3, 0.4]], [[4, 2, 3, 0]], weights="uniform")
    assert votes.codes.tolist() == [[1, 2, 0]]  # two votes; then one each, 2 nearer than 0


def test_an_identical_cell_does_not_silence_the_others():
    votes, _ = counted([[0.0, 0.1]], [[2, 0]], top_n=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares[0, 1], 10 / (1e6 + 10), rtol=1e-4)


@pytest.mark.parametrize("weights", ["uniform", "distance", "balanced"])
def test_missing_neighbours_do_not_vote(weights):
    votes, evidence = counted([[0.5, np.inf], [np.inf, np.inf]], [[2, -1], [-1, -1]], weights=weights, top_n=2)
    assert votes.codes.tolist() == [[1, -1], [-1, -1]]
    np.testing.assert_array_equal(votes.shares, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(evidence.distance, [0.5, 2])


def test_evidence_by_hand():
    names = ("T cell", "CD4-positive, alpha-beta T cell", "B cell")
    voters = voters_of(X, CODES, (0, 1, 0, 1, 1), *names)
    # two cells are "T cell", two CD4, one B: T cells say nothing for or against CD4
    near = np.array([[0.3, 0.1, 0.5]], np.float32)
    votes, evidence = count(
        *neighbors([[0.1, 0.1, 0.2, 0.2, 0.4]], [[2, 3, 0, 1, 4]]), voters, ALIKE, near, weights="uniform", top_n=3
    )
    assert votes.codes[0].tolist() == [1, 0, 2]
    path = [voters.tree.names[term] for term in voters.tree.paths[1] if term >= 0]
    assert path == ["CD4-positive, alpha-beta T cell", "T cell"]
    np.testing.assert_allclose(evidence.share[0], [2 / 3, 4 / 5])
    np.testing.assert_allclose(evidence.near[0], [0.1, 0.1])
    np.testing.assert_allclose(evidence.rival[0], [0.5, 0.5])
    assert evidence.n_studies[0].tolist() == [2, 2]
    np.testing.assert_allclose(evidence.distance, [0.2])


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 12), st.integers(1, 6), st.booleans())
def test_equal_to_a_plain_count(seed, n, k, n_labels, balanced):
    random = np.random.default_rng(seed)
    codes, studies = random.integers(0, n_labels, 40), random.integers(0, 3, 40)
    ids = random.integers(0, 40, (n, k))
    distances = np.sort(random.random((n, k)).astype(np.float32), axis=1)
    each = random.random(n_labels).astype(np.float32) + 0.1
    near = random.random((n, n_labels)).astype(np.float32) + 0.01
    voters = voters_of(unit(random.normal(size=(40, 3))), codes, studies, *(f"label {i}" for i in range(n_labels)))
    votes, _ = count(distances, ids, voters, each, near, weights="balanced" if balanced else "distance", top_n=n_labels)
    for i in range(n):
        sums = np.zeros((n_labels, 3))
        for j in range(k):
            code, study = codes[ids[i, j]], studies[ids[i, j]]
            sums[code, study] += (each[code] if balanced else 1) / max(distances[i, j], 1e-6)
        expected = (sums**0.65).sum(axis=1) / np.sqrt(near[i]) if balanced else sums.sum(axis=1)
        expected /= expected.sum()
        got = votes.codes[i] >= 0
        np.testing.assert_allclose(votes.shares[i, got], np.sort(expected[expected > 0])[::-1], rtol=1e-4)
        np.testing.assert_allclose(votes.shares[i, got], expected[votes.codes[i, got]], rtol=1e-4)
