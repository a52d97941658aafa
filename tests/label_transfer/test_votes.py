from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.published_label_transfer import published_label_transfer
from helpers.references import reference_of, unit
from scim.label_transfer._neighbour_statistics import count_labels
from scim.label_transfer._reference import label_weights
from scim.label_transfer._votes import count_votes, divide_votes, weigh_votes

X = unit(np.eye(5))
NAMES = ("T cell", "B cell", "monocyte")
CODES = np.array([0, 0, 1, 1, 2])
ALIKE = np.ones(3, np.float32)
NEAR = np.ones((1, 3), np.float32)


def neighbors(distances, ids):
    return np.array(distances, np.float32), np.array(ids, np.int64)


def counted(distances, ids, *, weights="distance", top=3, studies=(0, 0, 0, 0, 0), near=NEAR, each=ALIKE):
    found = neighbors(distances, ids)
    near = np.broadcast_to(near, (len(found[0]), 3)).copy()
    reference = replace(reference_of(X, CODES, studies, *NAMES), label_weights=each)
    return count_votes(*found, reference, near, weights=weights, top=top)


def test_uniform_vote_by_hand():
    votes = counted([[0.1, 0.2, 0.3]], [[2, 0, 1]], weights="uniform")
    assert votes.codes.tolist() == [[0, 1, -1]]
    np.testing.assert_allclose(votes.shares, [[2 / 3, 1 / 3, 0]], rtol=1e-6)


def test_distance_vote_by_hand():
    # label 1 weighs 1 / 0.1 = 10, label 0 weighs 1 / 0.25 + 1 / 0.5 = 6
    votes = counted([[0.1, 0.25, 0.5]], [[2, 0, 1]], top=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[10 / 16, 6 / 16]], rtol=1e-6)


def test_balanced_vote_by_hand():
    each = np.array([1 / 2, 1, 1], np.float32)  # label 0 has four times as many cells
    near = np.array([[0.04, 0.01, 1]], np.float32)
    votes = counted([[0.1, 0.1, 0.2]], [[0, 1, 2]], weights="balanced", each=each, near=near, top=2)
    first, second = (2 * 0.5 / 0.1) ** 0.65 / 0.2, (1 / 0.2) ** 0.65 / 0.1
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares, [[second / (first + second), first / (first + second)]], rtol=1e-5)


def test_several_studies_weigh_more_than_one():
    same = counted([[0.1] * 4], [[0, 1, 2, 3]], weights="balanced", studies=(0, 0, 0, 0, 0))
    np.testing.assert_allclose(same.shares[0, :2], [0.5, 0.5])
    votes = counted([[0.1] * 4], [[0, 1, 2, 3]], weights="balanced", studies=(0, 0, 1, 2, 0))
    assert votes.codes[0, 0] == 1
    np.testing.assert_allclose(votes.shares[0, 0] / votes.shares[0, 1], 2 / 2**0.65, rtol=1e-5)
    assert votes.n_studies[0, 0] == 2


def test_a_frequent_label_weighs_less():
    np.testing.assert_allclose(label_weights(np.array([0, 0, 2, 0, -1, 0]), 3), [1 / 2, 1, 1])


def test_a_tie_goes_to_the_nearer_label():
    votes = counted([[0.1, 0.2, 0.3, 0.4]], [[4, 2, 3, 0]], weights="uniform")
    assert votes.codes.tolist() == [[1, 2, 0]]  # two neighbours; then one each, 2 nearer than 0


def test_an_identical_cell_does_not_outweigh_all_others():
    votes = counted([[0.0, 0.1]], [[2, 0]], top=2)
    assert votes.codes.tolist() == [[1, 0]]
    np.testing.assert_allclose(votes.shares[0, 1], 10 / (1e6 + 10), rtol=1e-4)


@pytest.mark.parametrize("weights", ["uniform", "distance", "balanced"])
def test_missing_neighbours_do_not_count(weights):
    votes = counted([[0.5, np.inf], [np.inf, np.inf]], [[2, -1], [-1, -1]], weights=weights, top=2)
    assert votes.codes.tolist() == [[1, -1], [-1, -1]]
    np.testing.assert_array_equal(votes.shares, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(votes.neighbour_distance, [0.5, 2])


def test_features_by_hand():
    names = ("T cell", "CD4-positive, alpha-beta T cell", "B cell")
    reference = replace(reference_of(X, CODES, (0, 1, 0, 1, 1), *names), label_weights=ALIKE)
    # two cells are "T cell", two CD4, one B: T cells count neither for nor against CD4
    near = np.array([[0.3, 0.1, 0.5]], np.float32)
    found = neighbors([[0.1, 0.1, 0.2, 0.2, 0.4]], [[2, 3, 0, 1, 4]])
    votes = count_votes(*found, reference, near, weights="uniform", top=3)
    assert votes.codes[0].tolist() == [1, 0, 2]
    path = [reference.tree.names[term] for term in reference.tree.paths[1] if term >= 0]
    assert path == ["CD4-positive, alpha-beta T cell", "T cell"]
    np.testing.assert_allclose(votes.term_share[0], [2 / 3, 4 / 5])
    np.testing.assert_allclose(votes.centroid_distance[0], [0.1, 0.1])
    np.testing.assert_allclose(votes.rival_distance[0], [0.5, 0.5])
    assert votes.n_studies[0].tolist() == [2, 2]
    np.testing.assert_allclose(votes.neighbour_distance, [0.2])


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 12), st.integers(1, 6), st.booleans())
def test_balanced_votes_are_those_of_a_plain_count(seed, n, k, n_labels, balanced):
    random = np.random.default_rng(seed)
    codes, studies = random.integers(0, n_labels, 40), random.integers(0, 3, 40)
    ids = random.integers(0, 40, (n, k))
    distances = np.sort(random.random((n, k)).astype(np.float32), axis=1)
    each = random.random(n_labels).astype(np.float32) + 0.1
    near = random.random((n, n_labels)).astype(np.float32) + 0.01
    names = [f"label {i}" for i in range(n_labels)]
    reference = replace(reference_of(unit(random.normal(size=(40, 3))), codes, studies, *names), label_weights=each)
    weights = "balanced" if balanced else "distance"
    votes = count_votes(distances, ids, reference, near, weights=weights, top=n_labels)
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


def test_all_labels_by_hand():
    found_codes, counts, weights = count_labels(
        np.array([[0.1, 0.25, 0.5, np.inf]], np.float32), np.array([[2, 0, 2, -1]], np.int32)
    )
    assert found_codes.tolist() == [[2, 0]]
    assert counts.tolist() == [[2, 1]]
    np.testing.assert_allclose(weights, [[10 + 2, 4]], rtol=1e-7)


def test_without_neighbours_there_are_no_labels():
    none = np.full((2, 3), -1, np.int32)
    found_codes, counts, weights = count_labels(np.full((2, 3), np.inf, np.float32), none)
    assert found_codes.tolist() == [[-1], [-1]]
    assert not counts.any()
    assert not weights.any()


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 60), st.integers(1, 6), st.booleans())
def test_labels_and_shares_are_those_of_a_count_in_double_precision(seed, n, k, n_labels, weighting):
    random = np.random.default_rng(seed)
    # Few distances, some of them zero: ties of counts, and of sums of equal weights, are everywhere.
    distances = np.sort(random.choice(np.array([0, 1e-7, 1e-6, 0.01, 0.02, 0.04], np.float32), (n, k)), axis=1)
    names = [f"label {i}" for i in range(n_labels)]
    codes = random.integers(0, n_labels, (n, k)).astype(np.int32)
    reference = reference_of(unit(np.eye(n_labels)), np.arange(n_labels), np.zeros(n_labels), *names)
    near, kind = np.ones((n, n_labels), np.float32), "distance" if weighting else "uniform"
    votes = count_votes(distances, codes.astype(np.int64), reference, near, weights=kind, top=n_labels)
    found_codes, counts, weights = count_labels(distances, codes)
    chosen = weights if weighting else counts
    for i in range(n):
        expected = published_label_transfer(
            [names[code] for code in codes[i]], distances[i].tolist(), weighting=weighting
        )
        assert names[votes.codes[i, 0]] == expected["label"]
        assert names[found_codes[i, chosen[i].argmax()]] == expected["label"]
        shares = votes.shares[i]
        suffix = "_weighted" if weighting else ""
        assert shares[0] == pytest.approx(expected[f"vsAll{suffix}"], abs=1e-6)
        assert shares[0] / shares[:2].sum() == pytest.approx(expected[f"vs2nd{suffix}"], abs=1e-6)
        hits = json.loads(expected["hits_weighted"])
        assert [names[code] for code in found_codes[i] if code >= 0] == list(hits)
        np.testing.assert_allclose(weights[i, : len(hits)], list(hits.values()), rtol=1e-7)


def test_equal_sums_of_thousands_of_weights_are_a_tie():
    # In single precision the sum of 2,000 weights of 1 / 3e-4 depends on the order of the neighbours.
    k = 4000
    distances = np.full((1, k), 3e-4, np.float32)
    codes = (np.arange(k) % 2).astype(np.int32)[None]
    _, _, weights = count_labels(distances, codes)
    assert weights[0, 0] == weights[0, 1]
    reference = reference_of(unit(np.eye(2)), [0, 1], [0, 0], "a", "b")
    near = np.ones((1, 2), np.float32)
    for order in (codes, 1 - codes):
        votes = count_votes(distances, order.astype(np.int64), reference, near, weights="distance", top=2)
        assert votes.codes[0, 0] == order[0, 0]


def weighed(seen, total, factors, near=None):
    """Labels and votes after the factors."""
    factors = np.array(factors, np.float32)
    near = np.ones(factors.size, np.float32) if near is None else np.array(near, np.float32)
    room = np.zeros(len(seen) + factors.size)
    labels, votes = room.astype(np.int32), room
    labels[: len(seen)], votes[: len(seen)] = seen, total
    n = weigh_votes(factors, near, len(seen), labels, votes)
    return labels[:n].tolist(), votes[:n].tolist()


def test_evidence_multiplies_the_shares_by_hand():
    labels, votes = weighed([2, 0], [3.0, 1.0], [0.5, 1.0, 0.25, 0.0])
    assert labels == [2, 0, 1]  # label 1 has no neighbour; label 3 has neither a neighbour nor evidence
    np.testing.assert_allclose(votes, [(0.75 + 0.01) * 0.25, (0.25 + 0.01) * 0.5, 0.01])


def test_evidence_adds_no_label_without_a_centroid():
    labels, votes = weighed([0], [5.0], [0.001, 1.0, 1.0], near=[2, 2, 0.4])  # distance 2: it has none
    assert labels == [0, 2]
    np.testing.assert_allclose(votes, [1.01 * 0.001, 0.01], rtol=1e-6)


def divided(names, total):
    tree = reference_of(unit(np.eye(len(names))), range(len(names)), [0] * len(names), *names).tree
    votes = np.array(total, np.float64)
    divide_votes(np.arange(len(names), dtype=np.int32), votes, tree.inside)
    return votes.tolist()


CD4, CD8 = "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell"


def test_votes_of_a_term_are_divided_among_the_labels_below_it():
    # T cell has 4: CD4 gets 3 / 4 of them, CD8 1 / 4; B cell is not below it
    np.testing.assert_allclose(divided(("T cell", CD4, "B cell", CD8), [4, 3, 2, 1]), [0, 6, 2, 2])


def test_a_term_keeps_its_votes_where_those_below_it_have_less_than_a_quarter():
    np.testing.assert_allclose(divided(("T cell", CD4, CD8), [4, 0.5, 0.4]), [4, 0.5, 0.4])
    np.testing.assert_allclose(divided(("T cell", CD4, CD8), [4, 0.5, 0.5]), [0, 2.5, 2.5])


def test_the_most_general_term_is_divided_first():
    # lymphocyte has 2: T cell gets 2 * 2 / 4, CD4 as much; then T cell has 3, all of which CD4 gets
    np.testing.assert_allclose(divided(("T cell", "lymphocyte", CD4), [2, 2, 2]), [0, 0, 6])
    assert divided(("T cell", CD4), [0, 0]) == [0, 0]
    assert divided(("T cell", CD4), [2, 0]) == [2, 0]


def with_evidence(evidence, *, weights="distance", top=3, near=1.0, names=NAMES):
    reference = replace(reference_of(X, CODES, (0,) * 5, *names), label_weights=ALIKE)
    found = neighbors([[0.1, 0.25, 0.5]], [[2, 0, 1]])
    evidence = None if evidence is None else np.array([evidence], np.float32)
    return count_votes(*found, reference, np.full((1, 3), near, np.float32), weights=weights, top=top, factors=evidence)


def test_votes_with_evidence_by_hand():
    # shares are 6 / 16 of label 0 and 10 / 16 of label 1; label 2 has no neighbour
    votes = with_evidence([1, 0.1, 0.5])
    expected = np.array([6 / 16 + 0.01, 0.1 * (10 / 16 + 0.01), 0.5 * 0.01])
    assert votes.codes.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(votes.shares[0], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(votes.term_share[0, 0], expected[0] / expected.sum(), rtol=1e-5)
    alone = with_evidence([0, 0, 1])
    assert alone.codes[0, 0] == 2
    assert alone.shares[0].tolist() == [1, 0, 0]
    assert alone.n_studies[0, 0] == 0


def test_equal_evidence_changes_little_and_none_changes_nothing():
    before, after = with_evidence(None), with_evidence([1, 1, 1])
    np.testing.assert_allclose(after.shares, before.shares, atol=0.02)
    np.testing.assert_array_equal(after.codes[:, :2], before.codes[:, :2])
    near = np.ones((1, 3), np.float32)
    for part, other in zip(before, counted([[0.1, 0.25, 0.5]], [[2, 0, 1]], near=near), strict=True):
        np.testing.assert_array_equal(part, other)


def test_without_neighbours_evidence_chooses_no_label():
    reference = reference_of(X, CODES, (0,) * 5, *NAMES)
    votes = count_votes(*neighbors([[np.inf]], [[-1]]), reference, NEAR, factors=np.ones((1, 3), np.float32))
    assert votes.codes.tolist() == [[-1]]


def test_balanced_votes_of_nested_labels_are_divided():
    names = ("T cell", CD4, "B cell")
    votes = with_evidence(None, weights="balanced", names=names)
    assert votes.codes[0, 0] == 1
    assert votes.shares[0, 0] == 1  # neighbours are of CD4 and of T cell
    plain = with_evidence(None, weights="balanced")
    np.testing.assert_allclose(plain.shares[0, :2], np.array([10, 6]) ** 0.65 / (10**0.65 + 6**0.65), rtol=1e-5)
