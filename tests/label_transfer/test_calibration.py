from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from helpers.references import Rows, reference_of, tree_of, unit
from scim.label_transfer import Calibration, LabelReference, LabelTransfer
from scim.label_transfer._calibration import calibrate, fit_logistic
from scim.label_transfer._votes import Votes

NAMES = ("T cell", "B cell", "monocyte", "platelet")


def studies_of_clusters(n_studies, n=60, *, noise=0.5, dim=24, seed=0):
    """Four types around fixed points; each study moves them a little, and gives one label in ten wrong."""
    random = np.random.default_rng(seed)
    centroids = np.random.default_rng(99).normal(size=(4, dim))
    X, codes, studies = [], [], []
    for study in range(n_studies):
        moved = centroids + random.normal(scale=0.3, size=centroids.shape)
        true = random.integers(0, 4, n)
        X.append(moved[true] + random.normal(scale=noise, size=(n, dim)))
        codes.append(np.where(random.random(n) < 0.1, random.integers(0, 4, n), true))
        studies.append(np.full(n, study))
    return unit(np.concatenate(X)), np.concatenate(codes), np.concatenate(studies)


def fitted(X, codes, studies):
    reference = reference_of(X, codes, studies, *NAMES)
    return LabelTransfer(reference, calibrate(reference, Rows(X)), Rows(X))


def surest(transfer, queries):
    """Return the label of each query at any confidence, and the confidence."""
    prediction = transfer.predict(queries, k=20, level="label", max_error=1)
    return prediction.terms, prediction.confidence


@pytest.fixture(scope="module")
def four():
    X, codes, studies = studies_of_clusters(4)
    return fitted(X, codes, studies)


def test_the_confidence_of_a_new_study_is_its_share_of_right_labels(four):
    queries, truth, _ = studies_of_clusters(8, seed=5)
    labels, confidence = surest(four, queries)
    right = labels == truth
    assert four.calibration.n_studies == 4
    assert 0.8 < right.mean() < 0.98
    assert abs(confidence.mean() - right.mean()) < 0.08


def test_novel_cells_are_unknown(four):
    queries = unit(np.random.default_rng(1).normal(size=(50, 24)))
    known, _, _ = studies_of_clusters(2, seed=5)
    assert (four.predict(known, k=20, max_error=0.2).terms < 0).mean() < 0.1
    assert (four.predict(queries, k=20, max_error=0.2).terms < 0).mean() > 0.5


def test_errors_fall_with_the_confidence(four):
    errors = np.array(four.calibration.errors)
    assert errors.shape == (101,)
    assert 0.15 < errors[0] < 0.4  # one cell in five is of a new type, one label in ten is wrong
    assert errors[80] < 0.8 * errors[0]
    assert four.calibration.known[1] < 0
    assert min(four.calibration.right[1:]) >= 0


def test_the_same_input_gives_the_same_calibration(four):
    assert fitted(*studies_of_clusters(4)).calibration == four.calibration


def test_one_study_is_held_out_in_parts():
    calibration = fitted(*studies_of_clusters(1, n=200)).calibration
    assert calibration.n_studies == 0
    assert np.isfinite([*calibration.known, *calibration.right]).all()


def test_a_single_label():
    random = np.random.default_rng(0)
    X = unit(random.normal(size=24) + random.normal(scale=0.3, size=(80, 24)))
    transfer = fitted(X, np.zeros(80, int), np.arange(80) % 2)
    assert (surest(transfer, X[:5])[1] > 0.5).all()
    novel = unit(random.normal(size=(20, 24)))
    assert (surest(transfer, novel)[1] < transfer.calibration.threshold(0.1)).mean() > 0.9


def test_a_type_of_one_study_is_new_to_the_others():
    X, codes, studies = studies_of_clusters(3, noise=0.25)
    only = np.where((codes == 3) & (studies > 0), -1, codes)
    transfer = fitted(X, only, studies)
    novel = transfer.predict(X[only == 3], k=20, block="platelet", level="label", max_error=1).confidence
    queries, _, _ = studies_of_clusters(2, noise=0.25, seed=5)
    assert np.median(novel) < 0.7 < np.median(surest(transfer, queries)[1])


def test_a_single_cell_gives_no_calibration():
    calibration = fitted(*studies_of_clusters(1, n=1)).calibration
    assert calibration.threshold(0.9) > 1
    assert calibration.threshold(1.0) == 0


def test_a_cell_published_twice_is_not_predicted_from_its_copy():
    X, codes, studies = studies_of_clusters(3)
    twice = np.concatenate([X, X]), np.concatenate([codes, codes]), np.concatenate([studies, studies + 3])
    alone, copied = fitted(X, codes, studies).calibration, fitted(*twice).calibration
    at = [np.interp(0.3, [-c.known[0] / c.known[1] - 1, -c.known[0] / c.known[1] + 1], [0, 1]) for c in (alone, copied)]
    assert abs(at[0] - at[1]) < 0.3
    assert copied.errors[0] > 0.7 * alone.errors[0]


def test_marked_duplicates_are_not_held_out(four):
    X, codes, studies = studies_of_clusters(4)
    rows = Rows(np.concatenate([X, X]))
    codes, studies = np.tile(codes, 2).astype(np.int32), np.concatenate([studies, studies + 4]).astype(np.int32)
    reference = LabelReference.of(rows, codes, studies, tree_of(*NAMES), np.arange(len(codes)) >= len(X))
    assert calibrate(reference, rows) == four.calibration


CURVES = Calibration((-4.0, -3.0), (0.5, 0.3, 1.0, 0.2), tuple(np.linspace(0.2, 0.0, 101)), 3)
TREE = tree_of("T cell", "CD4-positive, alpha-beta T cell", "B cell")


def votes_with(winner=1, **changes):
    row = {
        "codes": [[winner]],
        "shares": [[0.6]],
        "term_share": [[0.6, 0.9]],
        "centroid_distance": [[0.1, 0.1]],
        "rival_distance": [[0.2, 0.4]],
        "n_studies": [[1, 2]],
        "neighbour_distance": [0.05],
    }
    row |= changes
    whole = ("codes", "n_studies")
    return Votes(*(np.array(row[name], np.int32 if name in whole else np.float32) for name in Votes._fields))


def test_the_probability_by_hand():
    terms, right, novelty = CURVES.probabilities(votes_with(), TREE)
    assert terms.tolist() == [[1, 0]]
    known = expit(-4 - 3 * ((np.log(0.1) + np.log(0.05)) / 2 - np.log(1.5)))
    leaf = known * expit((0.5 + 0.3 * np.log(0.6 / 0.4) + np.log(2)) / 1.5)
    above = known * expit((0.5 + 0.3 * np.log(0.9 / 0.1) + np.log(4) + 0.2 * np.log(2)) / 1.5)
    np.testing.assert_allclose(right, [[leaf, above]], rtol=1e-5)
    np.testing.assert_allclose(novelty, [1 - known], rtol=1e-5)


def test_a_term_is_at_least_as_probable_as_its_descendants():
    _, right, _ = CURVES.probabilities(votes_with(term_share=[[0.9, 0.1]], rival_distance=[[0.4, 0.1]]), TREE)
    assert right[0, 1] == right[0, 0] > 0.3


def test_without_neighbours_the_probability_is_zero():
    terms, right, novelty = CURVES.probabilities(votes_with(winner=-1), TREE)
    assert (right == 0).all()
    assert novelty.tolist() == [1]
    assert (terms == -1).all()


@pytest.mark.parametrize(
    ("change", "up"),
    [
        ({"centroid_distance": [[0.2, 0.2]]}, False),
        ({"neighbour_distance": [0.2]}, False),
        ({"term_share": [[0.8, 0.9]]}, True),
        ({"rival_distance": [[0.3, 0.4]]}, True),
        ({"n_studies": [[3, 3]]}, True),
    ],
)
def test_each_feature_counts(change, up):
    before, after = (CURVES.probabilities(votes, TREE)[1][0, 0] for votes in (votes_with(), votes_with(**change)))
    assert (after > before) == up


def test_the_threshold_is_the_lowest_within_the_error_limit():
    curves = Calibration((0.0, -1.0), (0.0,) * 4, (0.3, 0.1, 0.2, *([0.05] * 97), 1 + 4e-16), 2)
    assert curves.threshold(0.3) == 0
    assert curves.threshold(0.1) == 0.01  # higher ones, of fewer cells, do not count
    assert curves.threshold(0.05) == 0.03
    assert curves.threshold(0.04) > 1
    assert curves.threshold(1) == 0


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


def test_one_outcome_alone_gives_no_certainty():
    found = fit_logistic(np.linspace(-1, 1, 50)[:, None], np.ones(50, bool), np.ones(50), rising=True)
    assert 0.9 < expit(found[0]) < 0.999
