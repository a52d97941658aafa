"""References of few cells, wrong labels, one study, or labels that no other study has: what `max_error` keeps."""

from __future__ import annotations

import itertools
import warnings
from typing import NamedTuple

import numpy as np
import pytest

import scim
from helpers import fakes
from helpers.references import unit
from scim._core import ScimWarning
from scim.label_transfer import LabelTransfer
from scim.label_transfer._error_bounds import STEPS, error_bounds

NAMES = np.array(["T cell", "B cell", "monocyte", "platelet", "neuron", "hepatocyte"], object)
LIMITS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0)
DIM = 24


class Cells(NamedTuple):
    X: np.ndarray
    labels: np.ndarray
    studies: np.ndarray
    truth: np.ndarray


def cells(sizes, *, wrong=0.0, types=4, shares=None, seed=0):
    """Types around fixed points, which each study moves a little; a share of the labels is replaced at random."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(NAMES), DIM))[:types]
    parts = []
    for study, n in enumerate(sizes):
        moved = centres + random.normal(scale=0.3, size=centres.shape)
        truth = random.choice(types, n, p=shares)
        given = np.where(random.random(n) < wrong, random.integers(0, types, n), truth)
        X = unit(moved[truth] + random.normal(scale=0.5, size=(n, DIM)))
        parts.append((X, NAMES[given], np.full(n, study), NAMES[truth]))
    return Cells(*map(np.concatenate, zip(*parts, strict=True)))


def query(types=4, shares=None):
    """180 cells of a study that the reference does not have, and 20 of a type that it does not have."""
    known = cells([180], types=types, shares=shares, seed=7)
    random = np.random.default_rng(8)
    novel = unit(random.normal(size=DIM) + random.normal(scale=0.5, size=(20, DIM)))
    return np.concatenate([known.X, novel]), np.append(known.truth, np.full(20, None))


def disjoint():
    """Two studies, of which each has two of four types."""
    found = cells([200, 200])
    early = np.isin(found.labels, NAMES[:2])
    kept = early == (found.studies == 0)
    return Cells(*(part[kept] for part in found))


def all_equal():
    found = cells([30, 30])
    return found._replace(X=np.repeat(found.X[:1], 60, axis=0))


# The cells, their report, the least limit at which nearly all known cells get a label (1 = at no other), and what is
# stated of max_error=.1 (None = it is kept).
FEW = "10 labelled cells or more are needed, the reference has {}"
WRONG = r"cannot be kept, so no cell gets a label: labels of a study are predicted from the other studies with too many"
ONE_STUDY = r"measured within studies, not from one study to another: all {} labelled cells are of one study"
CASES = {
    "good": (lambda: cells([200, 200]), "", 0.1, None),
    "a tenth wrong": (lambda: cells([200, 200], wrong=0.1), "powellgenomicslab/scPred#7", 0.2, WRONG),
    "a quarter wrong": (lambda: cells([200, 200], wrong=0.25), "Irrationone/cellassign#103", 0.5, WRONG),
    "30 studies of 20": (lambda: cells([20] * 30), "", 0.1, None),
    "99 to 1": (lambda: cells([200, 200], types=2, shares=[0.99, 0.01]), "", 0.1, None),
    "two labels": (lambda: cells([200, 200], types=2), "", 0.1, None),
    "one label": (lambda: cells([200, 200], types=1), "", 0.1, None),
    "one study": (lambda: cells([200]), "theislab/scarches#236", 0.1, ONE_STUDY.format(200)),
    "one study and a cell": (lambda: cells([200, 1]), "", 0.2, "45 of 201 labelled cells are of a type"),
    "no type in two studies": (disjoint, "", 0.1, r"0 of \d+ labelled cells are of a type that is in another of the 2"),
    "two studies of 3": (lambda: cells([3, 3]), "Nanostring-Biostats/InSituType#85", 1.0, FEW.format(6)),
    "3 cells": (lambda: cells([3]), "scikit-learn/scikit-learn#29000", 1.0, FEW.format(3)),
    "a cell": (lambda: cells([1]), "", 1.0, FEW.format(1)),
    "all cells equal": (all_equal, "scverse/scanpy#2244", 1.0, FEW.format(r"\d")),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make, _, least, stated = CASES[request.param]
    reference = make()
    transfer = LabelTransfer.fit(reference.X, reference.labels, reference.studies)
    types = len(np.unique(reference.truth))
    return reference, transfer, least, stated, query(types, [0.99, 0.01] if request.param == "99 to 1" else None)


def predict(transfer, X, max_error, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)
        return transfer.predict(X, max_error=max_error, **arguments)


def test_a_larger_limit_never_labels_fewer_cells(case):
    _, transfer, _, _, (X, _) = case
    found = [predict(transfer, X, limit) for limit in LIMITS]
    labelled = [(prediction.terms >= 0) for prediction in found]
    for fewer, more in itertools.pairwise(labelled):
        assert (more >= fewer).all()
    thresholds = [prediction.threshold for prediction in found]
    assert thresholds == sorted(thresholds, reverse=True)
    assert labelled[-1].all()  # max_error=1
    assert not labelled[0].any()  # nothing is certain
    for prediction in found:
        assert 0 <= prediction.confidence.min() <= prediction.confidence.max() <= 1
        assert 0 <= prediction.novelty.min() <= prediction.novelty.max() <= 1


def test_the_limit_is_kept_by_labels_of_another_study(case):
    _, transfer, least, _, (X, truth) = case
    for limit in LIMITS:
        prediction = predict(transfer, X, limit, level="label")
        labelled = prediction.terms >= 0
        assert labelled[:180].mean() > 0.85 or limit < least
        if labelled.any() and limit < 1:
            wrong = (prediction.labels != truth)[labelled].mean()
            assert wrong <= limit + 0.05  # one study and one novel type, drawn at random


def test_what_cannot_be_kept_is_stated(case):
    _, transfer, _, stated, (X, _) = case
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transfer.predict(X, max_error=1)
        transfer.predict(X, max_error=0.1)
    assert len(caught) == (stated is not None)
    for warning in caught:
        assert warning.category is ScimWarning
        assert warning.filename == __file__
        with pytest.warns(ScimWarning, match=stated):
            transfer.predict(X, max_error=0.1)


def test_the_least_limit_that_is_kept_is_stated():
    transfer = LabelTransfer.fit(*cells([200, 200], wrong=0.1)[:3])
    X, _ = query()
    with pytest.warns(
        ScimWarning, match=r"is only known to be below (0\.1\d)\. Pass max_error=0\.1\d or more"
    ) as caught:
        assert (transfer.predict(X).terms < 0).all()
    least = float(str(caught[0].message).partition("max_error=0.1 ")[2].partition("Pass max_error=")[2].split()[0])
    assert (transfer.predict(X, max_error=least).terms >= 0).any()
    with pytest.warns(ScimWarning, match="cannot be kept"):
        transfer.predict(X, max_error=least - 0.011)


def test_hardly_a_cell_is_called_novel_where_nothing_was_measured():
    for sizes in ([1], [3], [2, 2]):
        transfer = LabelTransfer.fit(*cells(sizes)[:3])
        prediction = predict(transfer, query()[0], 1.0)
        np.testing.assert_allclose(prediction.novelty, 0.1, atol=1e-6)
        np.testing.assert_allclose(prediction.confidence, 0.45, atol=1e-6)


def test_bounds_by_hand():
    p = np.full((10, 2), 0.8, np.float32)
    p[:, 1] = 0.9
    p[9] = -1  # gets no label
    wrong = np.zeros((10, 2))
    wrong[:3, 0], wrong[:1, 1] = 1, 1
    bounds = error_bounds(p, wrong, np.ones(10))
    assert len(bounds) == STEPS + 1
    np.testing.assert_allclose(bounds[:81], (3 + 1) / (9 + 1))  # the most specific terms: 3 of 9 are wrong
    np.testing.assert_allclose(bounds[81:91], (1 + 1) / (9 + 1))  # those above: 1 of 9
    np.testing.assert_allclose(bounds[91:], (1 + 1) / (9 + 1))  # no cell is left
    weights = np.array([3.0] + [1.0] * 9)
    n = 11**2 / (9 + 8)
    np.testing.assert_allclose(error_bounds(p, wrong, weights)[0], (n * 5 / 11 + 1) / (n + 1))


def test_few_cells_decide_nothing():
    random = np.random.default_rng(0)
    p = np.append(random.uniform(0.5, 0.8, 300), [0.99, 0.98, 0.97])[:, None].astype(np.float32)
    few_wrong, few_right = np.full((303, 1), 0.05), np.full((303, 1), 0.3)
    few_wrong[300:], few_right[300:] = 1, 0
    bounds = np.array(error_bounds(p, few_wrong, np.ones(303)))
    assert (np.diff(bounds) <= 0).all()
    assert bounds[-1] < 0.07
    assert error_bounds(p, few_right, np.ones(303))[-1] == pytest.approx((0 + 1) / (3 + 1))
    assert max(error_bounds(p, np.full((303, 1), 1 + 1e-15), np.ones(303))) == 1
    assert error_bounds(np.full((2, 1), -1.0), np.zeros((2, 1)), np.ones(2)) == (1.0,) * (STEPS + 1)


def test_tl_annotate_states_at_the_line_of_the_user_that_studies_share_no_type(tmp_path):
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        for seed, (study, kept) in enumerate({"one": True, "two": False}.items()):
            found = scim.datasets.toy(120, rng=seed)
            atlas.append(found[(found.obs["cell_type"] == "T cell") == kept].copy(), study=study, label_key="cell_type")
        atlas.build_index()
        found = scim.datasets.toy(30, rng=9)
        scim.tl.embed(found, atlas)
        with pytest.warns(ScimWarning, match="is in another of the 2 studies") as caught:
            scim.tl.annotate(found, atlas)
        assert caught[0].filename == __file__
        scim.tl.annotate(found, atlas, max_error=1)
    assert found.obs["scim_label"].notna().all()
