from __future__ import annotations

import numpy as np
import pytest

from helpers import oracles
from helpers.voting import unit, voters_of
from scim.label_transfer import answer, calibrate, count, label_weights, near_labels

NAMES = ("T cell", "B cell", "monocyte", "platelet")


def studies_of_clusters(n_studies, n=60, *, noise=0.5, dim=24, seed=0):
    """Four types around fixed points; each study moves them a little, and gives one label in ten wrong."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(4, dim))
    X, codes, studies = [], [], []
    for study in range(n_studies):
        moved = middles + random.normal(scale=0.3, size=middles.shape)
        true = random.integers(0, 4, n)
        X.append(moved[true] + random.normal(scale=noise, size=(n, dim)))
        codes.append(np.where(random.random(n) < 0.1, random.integers(0, 4, n), true))
        studies.append(np.full(n, study))
    return unit(np.concatenate(X)), np.concatenate(codes), np.concatenate(studies)


def learned(X, codes, studies, k=20):
    voters = voters_of(X, codes, studies, *NAMES)

    def search(queries, k, allowed):
        return oracles.neighbors(queries, X, k, allowed=allowed)

    return voters, calibrate(lambda ids: X[ids], voters, search)


def asked(queries, X, voters, confidence, k=20):
    near = near_labels(queries, voters.centroids, 4)
    may = np.flatnonzero(voters.codes >= 0)
    each = label_weights(np.bincount(voters.codes[may], minlength=4))
    votes, evidence = count(*oracles.neighbors(queries, X, k, allowed=may), voters, each, near, weights="balanced")
    return votes.codes[:, 0], confidence.probabilities(evidence, votes.codes[:, 0], voters.tree)


@pytest.fixture(scope="module")
def four():
    X, codes, studies = studies_of_clusters(4)
    return (X, *learned(X, codes, studies))


def test_a_new_study_is_right_as_often_as_it_is_said(four):
    X, voters, confidence = four
    queries, truth, _ = studies_of_clusters(8, seed=5)
    winners, found = asked(queries, X, voters, confidence)
    right = winners == truth
    assert confidence.n_studies == 4
    assert 0.8 < right.mean() < 0.98
    assert abs(found.right[:, 0].mean() - right.mean()) < 0.08


def test_cells_of_nowhere_are_unknown(four):
    X, voters, confidence = four
    queries = unit(np.random.default_rng(1).normal(size=(50, 24)))
    _, found = asked(queries, X, voters, confidence)
    said = answer(found, confidence.threshold(0.1), np.ones(len(voters.tree.names), bool))
    assert (said.terms < 0).mean() > 0.8


def test_errors_fall_with_the_confidence(four):
    _, _, confidence = four
    errors = np.array(confidence.errors)
    assert errors.shape == (101,)
    assert 0.15 < errors[0] < 0.4  # one cell in five is of a new type, one label in ten is wrong
    assert errors[80] < 0.8 * errors[0]
    assert confidence.known[1] < 0
    assert min(confidence.right[1:]) >= 0


def test_the_same_again(four):
    X, codes, studies = studies_of_clusters(4)
    assert learned(X, codes, studies)[1] == four[2]


def test_one_study_is_held_out_in_parts():
    X, codes, studies = studies_of_clusters(1, n=200)
    _, confidence = learned(X, codes, studies)
    assert confidence.n_studies == 0
    assert np.isfinite([*confidence.known, *confidence.right]).all()


def test_one_label_alone():
    random = np.random.default_rng(0)
    X = unit(random.normal(size=24) + random.normal(scale=0.3, size=(80, 24)))
    voters, confidence = learned(X, np.zeros(80, int), np.arange(80) % 2)
    _, found = asked(X[:5], X, voters, confidence)
    assert (found.right[:, 0] > 0.5).all()
    _, found = asked(unit(random.normal(size=(20, 24))), X, voters, confidence)
    assert (found.right[:, 0] < confidence.threshold(0.1)).mean() > 0.9


def test_a_type_of_one_study_is_new_to_the_others():
    X, codes, studies = studies_of_clusters(3, noise=0.25)
    only = np.where((codes == 3) & (studies > 0), -1, codes)
    voters, confidence = learned(X, only, studies)
    mine = np.flatnonzero(only == 3)
    others = voters._replace(codes=np.where(only == 3, -1, only).astype(np.int32))
    keep = others.centroids.labels != 3
    near = near_labels(X[mine], others.centroids, 4, keep)
    votes, evidence = count(
        *oracles.neighbors(X[mine], X, 20, allowed=np.flatnonzero(others.codes >= 0)),
        others,
        label_weights(np.bincount(others.codes[others.codes >= 0], minlength=4)),
        near,
        weights="balanced",
    )
    p = confidence.probabilities(evidence, votes.codes[:, 0], others.tree).right[:, 0]
    queries, _, _ = studies_of_clusters(2, noise=0.25, seed=5)
    _, known = asked(queries, X, voters, confidence)
    assert np.median(p) < 0.7 < np.median(known.right[:, 0])


def test_a_cell_alone_teaches_nothing():
    X, codes, studies = studies_of_clusters(1, n=1)
    _, confidence = learned(X, codes, studies)
    assert confidence.threshold(0.9) > 1
    assert confidence.threshold(1.0) == 0


def test_a_cell_published_twice_is_not_asked_of_itself():
    X, codes, studies = studies_of_clusters(3)
    twice = np.concatenate([X, X]), np.concatenate([codes, codes]), np.concatenate([studies, studies + 3])
    alone, copied = learned(X, codes, studies)[1], learned(*twice)[1]
    at = [np.interp(0.3, [-c.known[0] / c.known[1] - 1, -c.known[0] / c.known[1] + 1], [0, 1]) for c in (alone, copied)]
    assert abs(at[0] - at[1]) < 0.3
    assert copied.errors[0] > 0.7 * alone.errors[0]
