from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from helpers.voting import tree_of
from scim.label_transfer import Confidence, Evidence
from scim.label_transfer._fit import fit_logistic

CURVES = Confidence((-4.0, -3.0), (0.5, 0.3, 1.0, 0.2), tuple(np.linspace(0.2, 0.0, 101)), 3)
TREE = tree_of("T cell", "CD4-positive, alpha-beta T cell", "B cell")


def evidence(**changes):
    row = {
        "share": [[0.6, 0.9]],
        "near": [[0.1, 0.1]],
        "rival": [[0.2, 0.4]],
        "n_studies": [[1, 2]],
        "distance": [0.05],
    }
    row |= changes
    return Evidence(
        *(np.array(row[name], np.int32 if name == "n_studies" else np.float32) for name in Evidence._fields)
    )


def test_the_probability_by_hand():
    found = CURVES.probabilities(evidence(), np.array([1], np.int32), TREE)
    assert found.terms.tolist() == [[1, 0]]
    known = expit(-4 - 3 * ((np.log(0.1) + np.log(0.05)) / 2 - np.log(1.5)))
    leaf = known * expit((0.5 + 0.3 * np.log(0.6 / 0.4) + np.log(2)) / 1.5)
    above = known * expit((0.5 + 0.3 * np.log(0.9 / 0.1) + np.log(4) + 0.2 * np.log(2)) / 1.5)
    np.testing.assert_allclose(found.right, [[leaf, above]], rtol=1e-5)


def test_a_term_is_at_least_as_probable_as_one_below_it():
    found = CURVES.probabilities(evidence(share=[[0.9, 0.1]], rival=[[0.4, 0.1]]), np.array([1], np.int32), TREE)
    assert found.right[0, 1] == found.right[0, 0] > 0.3


def test_without_neighbours_nothing_is_probable():
    found = CURVES.probabilities(evidence(), np.array([-1], np.int32), TREE)
    assert (found.right == 0).all()
    assert (found.terms == -1).all()


@pytest.mark.parametrize(
    ("change", "up"),
    [
        ({"near": [[0.2, 0.2]]}, False),
        ({"distance": [0.2]}, False),
        ({"share": [[0.8, 0.9]]}, True),
        ({"rival": [[0.3, 0.4]]}, True),
        ({"n_studies": [[3, 3]]}, True),
    ],
)
def test_each_kind_of_evidence_counts(change, up):
    winner = np.array([1], np.int32)
    before, after = (
        CURVES.probabilities(found, winner, TREE).right[0, 0] for found in (evidence(), evidence(**change))
    )
    assert (after > before) == up


def test_the_threshold_is_where_errors_become_few_enough():
    curves = Confidence((0.0, -1.0), (0.0,) * 4, (0.3, 0.1, 0.2, *([0.05] * 98)), 2)
    assert curves.threshold(0.3) == 0
    assert curves.threshold(0.1) == 0.03  # the dip before it does not count
    assert curves.threshold(0.04) > 1


def test_the_fit_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    X = random.normal(size=(3000, 2))
    y = random.random(3000) < expit(0.5 + X @ [1.0, 0.3])
    weights = random.random(3000)
    expected = LogisticRegression(C=1e9).fit(X, y, sample_weight=weights)
    found = fit_logistic(X, y, weights, rising=True)
    np.testing.assert_allclose(found, [expected.intercept_[0], *expected.coef_[0]], atol=0.02)


def test_slopes_keep_their_sign():
    random = np.random.default_rng(0)
    X = random.normal(size=(500, 2))
    y = random.random(500) < expit(X @ [1.0, -1.0])
    rising = fit_logistic(X, y, np.ones(500), rising=True)
    falling = fit_logistic(X, y, np.ones(500), rising=False)
    assert rising[1] > 0.5
    assert rising[2] == 0
    assert falling[1] == 0
    assert falling[2] < -0.5


def test_one_outcome_alone_leaves_a_doubt():
    found = fit_logistic(np.linspace(-1, 1, 50)[:, None], np.ones(50, bool), np.ones(50), rising=True)
    assert 0.9 < expit(found[0]) < 0.999
