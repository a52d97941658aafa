from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.packaged_vote import packaged_vote
from helpers.voting import unit, voters_of
from scim.label_transfer import count, totals


def test_totals_by_hand():
    found = totals(np.array([[0.1, 0.25, 0.5, np.inf]], np.float32), np.array([[2, 0, 2, -1]], np.int32))
    assert found.codes.tolist() == [[2, 0]]
    assert found.counts.tolist() == [[2, 1]]
    np.testing.assert_allclose(found.sums, [[10 + 2, 4]], rtol=1e-7)


def test_no_neighbours_no_labels():
    found = totals(np.full((2, 3), np.inf, np.float32), np.full((2, 3), -1, np.int32))
    assert found.codes.tolist() == [[-1], [-1]]
    assert not found.counts.any()
    assert not found.sums.any()


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 60), st.integers(1, 6), st.booleans())
def test_labels_and_shares_are_those_of_a_count_in_double_precision(seed, n, k, n_labels, weighting):
    random = np.random.default_rng(seed)
    # Few distances, some of them zero: ties of counts, and of sums of equal weights, are everywhere.
    distances = np.sort(random.choice(np.array([0, 1e-7, 1e-6, 0.01, 0.02, 0.04], np.float32), (n, k)), axis=1)
    names = [f"label {i}" for i in range(n_labels)]
    codes = random.integers(0, n_labels, (n, k)).astype(np.int32)
    each = voters_of(unit(np.eye(n_labels)), np.arange(n_labels), np.zeros(n_labels), *names)
    alike, near = np.ones(n_labels, np.float32), np.ones((n, n_labels), np.float32)
    weights = "distance" if weighting else "uniform"
    votes, _ = count(distances, codes.astype(np.int64), each, alike, near, weights=weights, top_n=n_labels)
    found = totals(distances, codes)
    chosen = found.sums if weighting else found.counts
    for i in range(n):
        expected = packaged_vote([names[code] for code in codes[i]], distances[i].tolist(), weighting=weighting)
        assert names[votes.codes[i, 0]] == expected["label"]
        assert names[found.codes[i, chosen[i].argmax()]] == expected["label"]
        shares = votes.shares[i]
        suffix = "_weighted" if weighting else ""
        assert shares[0] == pytest.approx(expected[f"vsAll{suffix}"], abs=1e-6)
        assert shares[0] / shares[:2].sum() == pytest.approx(expected[f"vs2nd{suffix}"], abs=1e-6)
        hits = json.loads(expected["hits_weighted"])
        assert [names[code] for code in found.codes[i] if code >= 0] == list(hits)
        np.testing.assert_allclose(found.sums[i, : len(hits)], list(hits.values()), rtol=1e-7)


def test_a_tie_of_thousands_of_votes_is_one():
    # In single precision 2,000 votes of 1 / 3e-4 and two thousand others come out unlike by their order alone.
    k = 4000
    distances = np.full((1, k), 3e-4, np.float32)
    codes = (np.arange(k) % 2).astype(np.int32)[None]
    found = totals(distances, codes)
    assert found.sums[0, 0] == found.sums[0, 1]
    each = voters_of(unit(np.eye(2)), [0, 1], [0, 0], "a", "b")
    near = np.ones((1, 2), np.float32)
    for order in (codes, 1 - codes):
        votes, _ = count(
            distances, order.astype(np.int64), each, np.ones(2, np.float32), near, weights="distance", top_n=2
        )
        assert votes.codes[0, 0] == order[0, 0]
