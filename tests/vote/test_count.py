from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scim._core.vote import label_weights, vote


def neighbors(distances: list[list[float]], ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(distances, np.float32), np.array(ids, np.int64)


ALIKE = np.ones(3, np.float32)
CODES = np.array([0, 0, 1, 1, 2], np.int32)


def test_uniform_vote_by_hand():
    votes = vote(*neighbors([[0.1, 0.2, 0.3]], [[2, 0, 1]]), CODES, ALIKE, weights="uniform", top_n=3)
    assert votes.codes.tolist() == [[0, 1, -1]]
    np.testing.assert_allclose(votes.shares, [[2 / 3, 1 / 3, 0]], rtol=1e-6)


def test_distance_vote_by_hand():
    # label 1 weighs 1 / 0.1 = 10, label 0 weighs 1 / 0.25 + 1 / 0.5 = 6
    votes = vote(*neighbors([[0.1, 0.25, 0.5]], [[2, 0, 1]]), CODES, ALIKE, weights="distance", top_n=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[10 / 16, 6 / 16]], rtol=1e-6)


def test_weights_of_labels_count():
    weights = np.array([1 / 4, 1, 1], np.float32)  # label 0 has four times the cells
    votes = vote(*neighbors([[0.1, 0.1, 0.1]], [[0, 1, 2]]), CODES, weights, weights="uniform", top_n=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[2 / 3, 1 / 3]], rtol=1e-6)


def test_a_label_of_many_weighs_less():
    np.testing.assert_allclose(label_weights(np.array([0, 0, 0, 0, 2]), 3), [1 / 2, 1, 1])
    assert label_weights(np.array([0, 0]), 2, balance=False).tolist() == [1, 1]


def test_a_tie_goes_to_the_nearer_label():
    votes = vote(*neighbors([[0.1, 0.2, 0.3, 0.4]], [[4, 2, 3, 0]]), CODES, ALIKE, weights="uniform", top_n=3)
    assert votes.codes.tolist() == [[1, 2, 0]]  # two votes; then one each, 2 nearer than 0


def test_an_identical_cell_does_not_silence_the_others():
    votes = vote(*neighbors([[0.0, 0.1]], [[2, 0]]), CODES, ALIKE, weights="distance", top_n=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares[0, 1], 10 / (1e6 + 10), rtol=1e-4)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_missing_neighbours_do_not_vote(weights):
    votes = vote(
        *neighbors([[0.5, np.inf], [np.inf, np.inf]], [[2, -1], [-1, -1]]), CODES, ALIKE, weights=weights, top_n=2
    )
    assert votes.codes.tolist() == [[1, -1], [-1, -1]]
    np.testing.assert_array_equal(votes.shares, [[1, 0], [0, 0]])


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 12), st.integers(1, 6))
def test_equal_to_a_plain_count(seed, n, k, n_labels):
    random = np.random.default_rng(seed)
    codes = random.integers(0, n_labels, 40).astype(np.int32)
    ids = random.integers(0, 40, (n, k))
    distances = np.sort(random.random((n, k)).astype(np.float32), axis=1)
    each = random.random(n_labels).astype(np.float32) + 0.1
    votes = vote(distances, ids, codes, each, weights="distance", top_n=n_labels)
    for i in range(n):
        expected = np.zeros(n_labels)
        for j in range(k):
            expected[codes[ids[i, j]]] += each[codes[ids[i, j]]] / max(distances[i, j], 1e-6)
        expected /= expected.sum()
        got = votes.codes[i] >= 0
        np.testing.assert_allclose(votes.shares[i, got], np.sort(expected[expected > 0])[::-1], rtol=1e-4)
        np.testing.assert_allclose(votes.shares[i, got], expected[votes.codes[i, got]], rtol=1e-4)
