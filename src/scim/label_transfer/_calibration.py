"""Calibrate the confidence of labels on studies that are held out of the reference (leave-one-study-out)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace
from scipy.optimize import minimize
from scipy.special import expit

from scim.io import Record
from scim.label_transfer._decision import NOVEL, stated_novelty
from scim.label_transfer._error_bounds import STEPS, error_bounds
from scim.label_transfer._expression_space import N_NOVELTY
from scim.label_transfer._expression_view import ExpressionView, SampledCells
from scim.label_transfer._held_out import HeldOut, choose_folds, hold_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim._core.types import Bools, Doubles, Floats, Ints32
    from scim.label_transfer._expression import CountSample, ExpressionReference
    from scim.label_transfer._reference import LabelReference, NeighbourIndex
    from scim.label_transfer._tree import LabelTree
    from scim.label_transfer._votes import Votes

# Both were chosen on studies that neither model nor reference had (benchmarks/NOTES.md).
DISTANCE_SHIFT = 1.5  # ratio of the distances of cells of a new study to those of a held-out study
TEMPERATURE = 1.5  # divisor of the log odds of a label by embedding: held-out cells are predicted with more confidence

_MIN_SHARE, _MIN_DISTANCE, _MAX_MARGIN = 0.01, 0.01, 3.0
_NOVEL_SHARE = 0.1  # of cells of novel types for which errors are bounded
_NOVEL_WEIGHT = 0.2  # of all novel cells relative to all others, when the curves are fitted
_NOVEL_WEIGHT_EXPRESSION = 0.1  # the same of the curves with the expression of the genes
_LEAST_CELLS = 5  # of known types that curves are fitted to
_FOLD_CELLS = 20  # of a fold: with fewer it weighs less
_RIDGE = 1e-3  # of the squared slopes, relative to the mean loss, at least: it decides only where the cells do not
_LARGEST = 1e6  # of intercepts and slopes: a number beyond makes NaN of features
_SLOPE_VARIANCE = 10.0  # of the normal prior of the slopes: those of real atlases are below 3


class Calibration(Record, frozen=True):
    """Curves, and bounds of the share of wrong labels, measured on held-out studies."""

    known: tuple[float, ...]
    """Intercept and slope of the novelty curve: the logistic curve that the type of a cell is in the reference, over
    :func:`novelty_feature`."""

    right: tuple[float, ...]
    """Intercept and slopes of the agreement curve: the logistic curve that the label of a cell of such a type is right,
    over :func:`agreement_features`."""

    errors: tuple[float, ...]
    """Bounds of the share of wrong labels among those of a confidence of at least 0, .01, .02, ... 1, expected of a new
    study with a tenth of its cells of types that the reference lacks."""

    n_studies: int
    """Number of studies that were held out; 0 = parts of the cells were, as hardly one has a type of another study."""

    with_expression: Calibration | None = None
    """The same for queries with the expression of their genes: the novelty curve is over the features of
    :meth:`ExpressionPanel.features`."""

    def __post_init__(self) -> None:
        """Refuse what no calibration is, whatever file it comes from."""
        curves, bounds, further = np.array([*self.known, *self.right]), np.array(self.errors), self.with_expression
        lengths = len(self.known) in (2, 1 + N_NOVELTY), len(self.right) == 4, len(self.errors) == STEPS + 1
        finite = (np.abs(curves) <= _LARGEST).all() and ((bounds >= 0) & (bounds <= _LARGEST)).all()
        if not (all(lengths) and finite and self.n_studies >= 0):
            msg = f"expected a novelty curve of 2 or {1 + N_NOVELTY} numbers, an agreement curve of 4, {STEPS + 1} "
            msg += f"bounds of errors, all finite, got {len(self.known)}, {len(self.right)} and {len(self.errors)}"
            raise ValueError(msg)
        if further is not None and (len(further.known) != 1 + N_NOVELTY or further.with_expression is not None):
            msg = f"expected a novelty curve of {1 + N_NOVELTY} numbers with the expression, got {len(further.known)}"
            raise ValueError(msg)

    def probabilities(
        self, votes: Votes, tree: LabelTree, novelty: Doubles | None = None, *, distance_shift: float = DISTANCE_SHIFT
    ) -> tuple[Ints32, Floats, Floats]:
        r"""Return the winner and the terms above it, the probability of each that the cell is of the term, and novelty.

        :math:`\sigma(a_0 + a_1 (f - \log 1.5)) \, \sigma((b_0 + b \cdot g) / 1.5)` with the novelty feature :math:`f`
        of the embedding, the agreement features :math:`g` and a temperature of 1.5; with the expression of the genes a
        temperature of 1, and times :math:`\sigma(c_0 + c \cdot h)` with its novelty features :math:`h`: either view may
        miss a novel type. A term is at least as probable as any term below it.

        Terms and probabilities are (n, width), in the order of the path; -1 and 0 behind its end. Novelty, (n,), is the
        probability that the type of the cell is not in the reference.
        """
        known = expit(self.known[0] + self.known[1] * (novelty_feature(votes) - np.log(distance_shift)))
        curves, temperature = self, TEMPERATURE
        if novelty is not None and self.with_expression is not None:
            curves, temperature = self.with_expression, 1.0
            known = known * expit(curves.known[0] + novelty @ np.array(curves.known[1:]))[:, None]
        right = expit((curves.right[0] + agreement_features(votes) @ np.array(curves.right[1:])) / temperature)
        winners = votes.codes[:, 0]
        terms = tree.paths[np.maximum(winners, 0)].copy()
        terms[winners < 0] = -1
        p = np.where(terms >= 0, known * right, 0.0)
        for upper in range(1, terms.shape[1]):
            for lower in range(upper):
                nested = (terms[:, upper] >= 0) & tree.within[terms[:, lower], terms[:, upper]]
                np.maximum(p[:, upper], p[:, lower], out=p[:, upper], where=nested)
        novel = np.where(winners >= 0, 1 - known[:, 0], 1.0)
        return terms, p.astype(np.float32), novel.astype(np.float32)

    def threshold(self, max_error: float) -> float:
        """Return the least confidence from which on at most this share of labels is wrong; above 1 if there is none.

        A larger `max_error` never has a higher one; that of 1 is 0.
        """
        enough = np.flatnonzero(np.array(self.errors) <= max_error)
        return 0.0 if max_error >= 1 else float(enough[0] if enough.size else STEPS + 1) / STEPS


_UNMEASURED = Calibration(
    known=(float(np.log(1 / _NOVEL_SHARE - 1)), 0.0), right=(0.0,) * 4, errors=(1.0,) * (STEPS + 1), n_studies=0
)
"""Hardly a cell could be predicted from others of its type: labels are as likely right as wrong, no cell is novel."""


def novelty_feature(votes: Votes) -> Doubles:
    """Return the mean log cosine distance of the nearest centroid of the term and of the neighbours, (n, width).

    The first is large for types that the model can tell apart, the second for types that the model has never seen.
    """
    centroid = np.log(np.maximum(votes.centroid_distance, _MIN_DISTANCE).astype(np.float64))
    neighbours = np.log(np.maximum(votes.neighbour_distance, _MIN_DISTANCE).astype(np.float64))
    return (centroid + neighbours[:, None]) / 2


def agreement_features(votes: Votes) -> Doubles:
    """Return three features that a label is right, (n, width, 3).

    The log odds of its share of the vote; the logarithm of the ratio of the distance to the nearest centroid of another
    label to that of its own; the logarithm of the number of studies of its neighbours.
    """
    share = np.clip(votes.term_share.astype(np.float64), _MIN_SHARE, 1 - _MIN_SHARE)
    centroid = np.maximum(votes.centroid_distance, _MIN_DISTANCE).astype(np.float64)
    rival = np.maximum(votes.rival_distance, _MIN_DISTANCE).astype(np.float64)
    margin = np.clip(np.log(rival / centroid), -_MAX_MARGIN, _MAX_MARGIN)
    return np.stack([np.log(share / (1 - share)), margin, np.log(np.maximum(votes.n_studies, 1))], axis=-1)


def calibrate(
    reference: LabelReference,
    index: NeighbourIndex,
    rng: int | np.random.Generator | None = 0,
    expression: ExpressionReference | None = None,
    samples: Sequence[CountSample] = (),
) -> Calibration:
    """Fit the curves on cells of studies that are held out of the reference, up to 50 studies.

    The cells of each are predicted once from all other studies, and once more, type by type, from those without the
    type and its relatives: the reference then lacks their type. A prediction is right if it is the label of the cell, a
    term above it, or a term below it, which the cell may be of. Where no type can be taken out, because all are
    related, synthetic novel cells, twice as far away as nearly all, stand for novel types. Where hardly a cell has a
    type that another study has too, parts of the cells are held out instead: confidences are then too high. Where
    fewer than five can be predicted even so, every confidence is .45, and the share of wrong labels may be 1.

    With the counts of some reference cells, `samples`, the same is fitted with the expression of their genes. Nothing
    is left of a held-out study or type in the means that its cells are compared with (gene space and covariance within
    labels are of all cells), while a model may have been trained on them: this novelty curve is of the expression
    alone. Where types are taken out, a term above the type is drawn, and all labels of it go. Its cells count once more
    with some of their genes and counts.
    """
    random = np.random.default_rng(rng)
    cells = np.flatnonzero(reference.eligible())
    folds, by_study = choose_folds(reference, cells, random)
    curves = _fit(hold_out(reference, index, cells, folds, random), reference.tree, by_study, _NOVEL_WEIGHT)
    if expression is None or not samples or not by_study:
        return curves
    source = SampledCells(ExpressionView.of(expression, reference), samples, random)
    parts = hold_out(reference, index, cells, folds, random, source)
    if _n_known(parts) < _LEAST_CELLS or all(part.known.all() for part in parts):
        return curves
    return replace(curves, with_expression=_fit(parts, reference.tree, by_study, _NOVEL_WEIGHT_EXPRESSION, curves))


def _fit(
    parts: list[HeldOut],
    tree: LabelTree,
    by_study: bool,  # noqa: FBT001
    novel_weight: float,
    by_embedding: Calibration | None = None,
) -> Calibration:
    """Fit both curves to held-out cells, and bound their errors; those with expression beside `by_embedding`."""
    if _n_known(parts) < _LEAST_CELLS:
        return _UNMEASURED
    held_out = HeldOut.joined(parts)
    if held_out.known.all():
        held_out = HeldOut.joined([held_out, held_out.synthetic_novel()])
    weights = _fold_weights(held_out, novel_weight)
    if by_embedding is None:
        known = fit_logistic(novelty_feature(held_out.votes)[:, :1], held_out.known, weights, rising=False)
    else:
        known = fit_logistic(held_out.expression, held_out.known, weights, rising=None)
    whole = ~held_out.thinned
    held_out, weights = held_out.at(whole), weights[whole]
    is_right = _is_right(held_out, tree)
    fitted = held_out.known & (held_out.votes.codes[:, 0] >= 0)
    right: tuple[float, ...] = (0.0,) * 4
    if fitted.any():
        features = agreement_features(held_out.at(fitted).votes)[:, 0]
        right = fit_logistic(features, is_right[fitted, 0], weights[fitted], rising=True)
    curves = Calibration(known, right, (1.0,) * (STEPS + 1), len(np.unique(held_out.fold)) if by_study else 0)
    whole_curves = curves if by_embedding is None else replace(by_embedding, with_expression=curves)
    return replace(curves, errors=_error_rates(held_out, is_right, whole_curves, tree))


def _n_known(parts: list[HeldOut]) -> int:
    """Return the number of held-out cells of known types."""
    return sum(int(np.count_nonzero(part.known & ~part.thinned)) for part in parts)


def _fold_weights(held_out: HeldOut, novel_weight: float) -> Doubles:
    """Weigh all folds alike, but those of few cells less, and novel cells together `novel_weight` times the others."""
    weights = np.zeros(len(held_out.truth))
    for known, whole in ((True, 1.0), (False, novel_weight)):
        rows = held_out.known == known
        n_folds, fold = np.unique(held_out.fold[rows], return_inverse=True)
        size = np.bincount(fold)
        of_fold = np.minimum(size / _FOLD_CELLS, 1)
        weights[rows] = whole * len(n_folds) * (of_fold / of_fold.sum() / size)[fold]
    return weights


def _is_right(held_out: HeldOut, tree: LabelTree) -> Bools:
    """Return whether the winner, and the terms above it, are the label of the cell, above it or below it."""
    terms = tree.paths[np.maximum(held_out.votes.codes[:, 0], 0)]
    truth = held_out.truth[:, None]
    return (terms >= 0) & (truth >= 0) & (tree.inside[terms, truth] | tree.within[terms, truth])


def _error_rates(held_out: HeldOut, is_right: Bools, curves: Calibration, tree: LabelTree) -> tuple[float, ...]:
    """Return the bounds of the share of wrong labels by confidence.

    Cells of known types are taken to be wrong as often as their confidence implies: their predictions are more certain
    than those of a new study. Cells of novel types are wrong as measured, and no farther away in a new study.
    """
    novelty = None if curves.with_expression is None else held_out.expression
    terms, at_distance, novel = curves.probabilities(held_out.votes, tree, novelty, distance_shift=1.0)
    _, shifted, _ = curves.probabilities(held_out.votes, tree, novelty)
    known = held_out.known[:, None]
    p = np.where(terms >= 0, np.where(known, at_distance, shifted), -1)
    if novelty is not None:  # novel cells get no label
        p[stated_novelty(novel) >= NOVEL] = -1
    # The expression of a held-out study is new to the novelty curve: of known cells, that the type is known is given.
    implied = at_distance if novelty is None else at_distance / np.maximum(1 - novel, _MIN_SHARE)[:, None]
    wrong = np.where(known, 1 - np.minimum(implied, 1), ~is_right)
    n_known, n_novel = max(held_out.known.sum(), 1), max((~held_out.known).sum(), 1)
    weights = np.where(held_out.known, (1 - _NOVEL_SHARE) / n_known, _NOVEL_SHARE / n_novel)
    return error_bounds(p, wrong, weights)


def fit_logistic(X: Doubles, y: Bools, weights: Doubles, *, rising: bool | None) -> tuple[float, ...]:
    """Return intercept and slopes of the weighted logistic regression of `y` (n,) on `X` (n, n_features).

    With `rising` no slope is below 0, with false none is above; `None`: any may be. One row of each outcome at the
    mean of the features is added, with the weight of an average row, so that one outcome alone gives no certainty. The
    slopes have a normal prior, which counts below a hundred rows: few rows give no steep curve.
    """
    mean = np.average(X, axis=0, weights=weights)
    rows = np.hstack([np.ones((len(X) + 2, 1)), np.vstack([X, mean, mean])])
    outcome = np.append(y, [True, False]).astype(np.float64)
    row_weights = np.append(weights, [weights.mean()] * 2)
    row_weights = row_weights / row_weights.sum()
    ridge = max(_RIDGE, 1 / (_SLOPE_VARIANCE * len(X)))

    def loss(beta: Doubles) -> tuple[float, Doubles]:
        eta = rows @ beta
        slopes = np.append(0.0, beta[1:])
        value = row_weights @ (np.logaddexp(0, eta) - outcome * eta) + ridge * slopes @ slopes / 2
        return float(value), rows.T @ (row_weights * (expit(eta) - outcome)) + ridge * slopes

    sign = (None, None) if rising is None else (0.0, None) if rising else (None, 0.0)
    bounds = [(None, None), *[sign] * X.shape[1]]
    fitted = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(float(value) for value in fitted.x)
