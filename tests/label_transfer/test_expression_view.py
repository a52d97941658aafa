"""Label transfer by embedding and expression together: factors of votes, calibration, prediction, files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs, to_builtins
from scipy import sparse
from scipy.special import expit

from helpers.expressed import GENES, TYPES, toy
from helpers.references import Rows, reference_of, unit
from scim.io import as_record
from scim.label_transfer import Calibration, CountSample, ExpressionReference, LabelTransfer
from scim.label_transfer._calibration import calibrate
from scim.label_transfer._expression_space import ExpressionFeatures
from scim.label_transfer._expression_view import ExpressionView, SampledCells

NAMES = np.array(TYPES, object)


@pytest.fixture(scope="module")
def cells():
    """Embeddings, counts, labels and studies of four types in three studies."""
    types = np.random.default_rng(0).integers(0, 4, 240)
    X, counts = toy(types)
    return X, counts, NAMES[types], np.repeat(np.array(["one", "two", "three"], object), 80)


@pytest.fixture(scope="module")
def transfer(cells):
    X, counts, labels, studies = cells
    return LabelTransfer.fit(X, labels, studies, counts=counts, genes=GENES)


@pytest.fixture(scope="module")
def view(transfer):
    return ExpressionView.of(transfer.expression, transfer.reference)


def test_vote_factors_by_hand():
    distances = np.array([[4.0, 2.0, np.inf], [5.0, 5000.0, np.inf]], np.float32)
    for share, power in ((1.0, 4), (0.25, 8), (0.01, 10), (0.0, 10)):
        factors = ExpressionView.vote_factors(ExpressionFeatures(distances, np.zeros((2, 7)), share))
        # a label without expression has 1
        expected = [[(32 / 34) ** power, 1, 1], [1, (35 / 5030) ** power, 1]]
        np.testing.assert_allclose(factors, expected, rtol=1e-5)


def test_pairs_without_cells_are_left_out(transfer, view):
    reference = transfer.reference
    every = np.arange(len(reference.codes))
    assert view.with_cells(reference, every) is view
    one = int(np.flatnonzero(reference.study_names == "one")[0])
    rest = view.with_cells(reference, every[(reference.studies != one) & (reference.codes != 0)])
    assert set(rest.expression.studies) == {"two", "three"}
    assert 0 not in rest.labels
    assert view.with_cells(reference, every[:0]) is None
    assert not view.covers(GENES[:19])
    assert view.covers(GENES[40:])
    unnamed = ExpressionView.of(transfer.expression, replace(reference, study_names=None))
    assert unnamed.with_cells(reference, every) is None


def test_labels_that_a_reference_lacks_have_no_pair(transfer, cells):
    reference = reference_of(unit(cells[0]), np.zeros(240), np.zeros(240), "T cell")
    reference = replace(reference, study_names=np.array(["one"], object))
    found = ExpressionView.of(transfer.expression, reference).with_cells(reference, np.arange(240))
    assert found.expression.labels.tolist() == ["T cell"]
    assert found.expression.studies.tolist() == ["one"]


def test_sampled_cells(view, cells):
    ids = np.array([3, 8, 20])
    samples = [CountSample(np.arange(240), cells[1], GENES), CountSample(np.arange(240), cells[1][:, :9], GENES[:9])]
    source = SampledCells(view, samples, np.random.default_rng(0))  # too few genes of the second are in the space
    found = source.features(view, ids)
    expected = view.panel(GENES).features(cells[1][ids])
    np.testing.assert_array_equal(found.novelty, expected.novelty)
    np.testing.assert_array_equal(found.factors, view.vote_factors(expected))
    thinned = source.features(view, ids, thinned=True)
    assert (thinned.novelty[:, 5] <= found.novelty[:, 5] + 0.5).all()
    assert np.isfinite(thinned.novelty).all()
    none = SampledCells(view, samples[1:], np.random.default_rng(0))
    assert none.ids.size == 0


def test_calibration_with_expression(transfer):
    calibration = transfer.calibration
    curves = calibration.with_expression
    assert curves.n_studies == calibration.n_studies == 3
    assert len(curves.known) == 8
    assert len(curves.errors) == 101
    assert curves.with_expression is None
    assert np.isfinite([*curves.known, *curves.right, *curves.errors]).all()


def test_the_curves_of_the_embedding_are_those_without_counts(transfer, cells):
    X, _, labels, studies = cells
    alone = LabelTransfer.fit(X, labels, studies)
    assert alone.expression is None
    assert alone.calibration == structs.replace(transfer.calibration, with_expression=None)
    assert transfer.calibration == as_record(
        json.loads(json.dumps(to_builtins(transfer.calibration))), Calibration, "x.json"
    )
    for found, expected in zip(
        vars(transfer.predict(X[:9], groups=labels[:9])).items(), vars(alone.predict(X[:9], groups=labels[:9])).items(),
        strict=True,
    ):  # fmt: skip
        if isinstance(expected[1], np.ndarray):
            np.testing.assert_array_equal(found[1], expected[1])


def test_one_study_or_no_counts_give_no_curves(cells):
    X, counts, labels, studies = cells
    one = LabelTransfer.fit(X, labels, counts=counts, genes=GENES)
    assert one.calibration.with_expression is None
    assert not one.predict(X[:5], counts=counts[:5], genes=GENES, max_error=1).uses_expression
    _, codes = np.unique(labels, return_inverse=True)
    _, of_study = np.unique(studies, return_inverse=True)
    reference = reference_of(unit(X), codes, of_study, *np.unique(labels))
    reference = replace(reference, study_names=np.unique(studies))
    expression = ExpressionReference.of([CountSample(np.arange(240), counts, GENES)], labels, studies)
    few = [CountSample(np.arange(240), counts[:, :9].tocsr(), GENES[:9])]
    for samples in ([], few):
        assert calibrate(reference, Rows(unit(X)), 0, expression, samples).with_expression is None


def test_the_probability_of_both_views_by_hand(transfer, cells):
    X, counts, _, _ = cells
    found = transfer.predict(X[:30], counts=counts[:30], genes=GENES)
    alone = transfer.predict(X[:30])
    assert found.uses_expression
    assert not alone.uses_expression
    curves = transfer.calibration.with_expression
    view = ExpressionView.of(transfer.expression, transfer.reference)
    features = view.panel(GENES).features(counts[:30])
    known = expit(curves.known[0] + features.novelty @ np.array(curves.known[1:]))
    same = found.top_codes[:, 0] == alone.top_codes[:, 0]
    of_a_tenth = 1 - (1 - alone.novelty) * known
    of_a_quarter = 3 * of_a_tenth / (1 + 2 * of_a_tenth)  # three times the odds
    np.testing.assert_allclose(found.novelty[same], of_a_quarter[same], atol=1e-5)
    assert same.mean() > 0.8


@pytest.fixture(scope="module")
def known_and_novel(transfer):
    """Predictions of cells of the four types, and of cells of a fifth that are embedded as if they were of the four."""
    types = np.random.default_rng(5).integers(0, 4, 60)
    X, counts = toy(types, seed=3)
    strange = toy(np.full(60, 4), seed=4)[1]
    known, novel = (transfer.predict(X, counts=given, genes=GENES, groups=NAMES[types]) for given in (counts, strange))
    return NAMES[types], known, novel


def test_novelty_separates_a_type_that_is_absent(known_and_novel):
    types, known, novel = known_and_novel
    for found in (known, novel):
        assert found.novelty.dtype == np.float32
        assert found.novelty.min() >= 0
        assert found.novelty.max() <= 1
    assert np.quantile(known.novelty, 0.9) < 0.5 <= np.quantile(novel.novelty, 0.1)
    assert (known.labels == types).mean() > 0.95
    assert np.quantile(known.confidence, 0.1) > 0.5 > novel.confidence.max()
    for found in (known, novel):
        of_type = [found.novelty[types == name] for name in found.groups["group"]]
        np.testing.assert_allclose(found.groups["novelty"], [part.mean() for part in of_type], rtol=1e-5)
        np.testing.assert_allclose(found.groups["novel"], [(part >= 0.5).mean() for part in of_type], rtol=1e-5)


def test_novel_cells_have_no_label(known_and_novel):
    _, _, novel = known_and_novel
    assert (novel.terms[novel.novelty >= 0.5] < 0).all()


def test_the_expression_decides_between_equal_neighbours(transfer):
    between = np.zeros((40, 12), np.float32)
    between[:, :2] = 1  # between T cells and B cells
    types = np.arange(40) % 2
    _, counts = toy(types, seed=6)
    found = transfer.predict(between, counts=counts, genes=GENES, max_error=1, level="label")
    assert (found.labels == NAMES[types]).mean() > 0.9


def test_a_prior_changes_a_tie(transfer):
    between = np.zeros((1, 12), np.float32)
    between[:, :2] = 1
    for name in ("T cell", "B cell"):
        found = transfer.predict(between, prior=np.where(transfer.labels == name, 1, 0.01), max_error=1, level="label")
        assert found.labels.tolist() == [name]
    counts = toy(np.zeros(1, int))[1]
    only = np.where(transfer.labels == "monocyte", 1, 0)
    found = transfer.predict(between, counts=counts, genes=GENES, prior=only, max_error=1, level="label")
    assert found.labels.tolist() == ["monocyte"]
    np.testing.assert_allclose(found.top_shares[0, 0], 1, rtol=1e-5)


def test_labels_that_are_not_allowed_get_no_votes(transfer, cells):
    X, counts, labels, studies = cells
    kinds = [{"block": "T cell"}, {"eligible": labels != "T cell"}]
    for options in kinds:
        found = transfer.predict(X, counts=counts, genes=GENES, max_error=1, level="label", **options)
        assert "T cell" not in found.labels
        named = np.append(transfer.labels, [None])[found.top_codes]
        assert not (named == "T cell").any()
        prior = np.where(transfer.labels == "T cell", 1, 1e-6)
        assert "T cell" not in transfer.predict(X, prior=prior, max_error=1, level="label", **options).labels
    two = transfer.predict(X, counts=counts, genes=GENES, eligible=studies != "one", max_error=1)
    assert two.uses_expression


def test_chunks_permuted_columns_and_other_readers_of_counts(transfer, cells, monkeypatch):
    X, counts, _, _ = cells
    plain = transfer.predict(X[:50], counts=counts[:50], genes=GENES)

    class Reader:
        n_obs = 50

        def rows(self, start, stop):
            return counts[start:stop]

    monkeypatch.setattr("scim.label_transfer._transfer._CHUNK", 7)
    order = np.random.default_rng(0).permutation(60)
    for given, genes in (
        (Reader(), GENES),
        (counts[:50][:, order].tocsr(), GENES[order]),
        (counts[:50].tocsc(), GENES),
    ):
        found = transfer.predict(X[:50], counts=given, genes=genes)
        assert found.labels.tolist() == plain.labels.tolist()
        np.testing.assert_allclose(found.confidence, plain.confidence, atol=1e-4)
        np.testing.assert_allclose(found.novelty, plain.novelty, atol=1e-4)


def test_few_genes_no_queries_and_cells_without_counts(transfer, cells):
    X, counts, _, _ = cells
    few = transfer.predict(X[:9], counts=counts[:9, :19].tocsr(), genes=GENES[:19])
    foreign = transfer.predict(X[:9], counts=counts[:9], genes=np.array([f"other {i}" for i in range(60)], object))
    alone = transfer.predict(X[:9])
    for found in (few, foreign):
        assert not found.uses_expression
        np.testing.assert_array_equal(found.confidence, alone.confidence)
        np.testing.assert_array_equal(found.novelty, alone.novelty)
    assert transfer.predict(X[:0], counts=counts[:0], genes=GENES).novelty.shape == (0,)
    empty = transfer.predict(X[:2], counts=sparse.csr_matrix((2, 60), dtype=np.float32), genes=GENES)
    assert np.isfinite(empty.novelty).all()
    assert np.isfinite(empty.confidence).all()


@pytest.mark.parametrize("n_types", [1, 2])
def test_few_labels(n_types):
    types = np.arange(60) % n_types
    X, counts = toy(types)
    studies = np.repeat(np.array(["one", "two"], object), 30)
    transfer = LabelTransfer.fit(X, NAMES[types], studies, counts=counts, genes=GENES)
    found = transfer.predict(X, counts=counts, genes=GENES)
    assert np.isfinite(found.novelty).all()
    assert found.top_codes.shape == (60, n_types)
    assert (NAMES[types] == transfer.labels[found.top_codes[:, 0]]).mean() > 0.95


def test_saved_and_loaded(transfer, cells, tmp_path):
    X, counts, _, _ = cells
    transfer.save(tmp_path / "transfer")
    loaded = LabelTransfer.load(tmp_path / "transfer")
    assert loaded.calibration == transfer.calibration
    before, after = (found.predict(X[:40], counts=counts[:40], genes=GENES) for found in (transfer, loaded))
    assert after.uses_expression
    np.testing.assert_array_equal(before.novelty, after.novelty)
    np.testing.assert_array_equal(before.confidence, after.confidence)
    assert before.labels.tolist() == after.labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"counts": sparse.csr_matrix((3, 60))}, "Expected counts and the gene of each of their columns, or neither"),
        ({"genes": GENES}, "Expected counts and the gene of each of their columns, or neither"),
        ({"counts": sparse.csr_matrix((2, 60)), "genes": GENES}, "Expected counts of 3 queries, got 2"),
        (
            {"counts": sparse.csr_matrix((3, 9)), "genes": GENES},
            "Expected a gene for each of 9 columns of counts, got 60",
        ),
        ({"prior": np.ones(3)}, "prior must be a positive number or 0 for each of 4 labels"),
        ({"prior": np.zeros(4)}, "not 0 for all"),
        ({"prior": np.array([1, 1, 1, -1])}, "prior must be a positive number or 0"),
        ({"prior": np.array([1, 1, 1, np.nan])}, "prior must be a positive number or 0"),
    ],
)
def test_wrong_input_of_predict(transfer, arguments, words):
    with pytest.raises(ValueError, match=words):
        transfer.predict(np.ones((3, 12)), **arguments)


def test_wrong_input_of_fit(cells):
    X, counts, labels, _ = cells
    for arguments in ({"counts": counts}, {"genes": GENES}, {"counts": counts[:9], "genes": GENES}):
        with pytest.raises(ValueError, match="Expected counts of 240 cells and a gene for each of their columns"):
            LabelTransfer.fit(X, labels, **arguments)
