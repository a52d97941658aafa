"""Calibrate the confidence of labels on studies that are held out of the reference (leave-one-study-out)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from scim.label_transfer._decision import NOVEL, stated_novelty
from scim.label_transfer._expression_view import ExpressionView, SampledCells
from scim.label_transfer._reference import release_pages
from scim.label_transfer._votes import Votes, count_votes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scim._core.types import Bools, Doubles, Floats, Ints, Ints32
    from scim.label_transfer._expression import CountSample, ExpressionReference
    from scim.label_transfer._reference import LabelReference, NeighbourIndex
    from scim.label_transfer._tree import LabelTree

# Both were chosen on studies that neither model nor reference had (benchmarks/NOTES.md).
DISTANCE_SHIFT = 1.5  # ratio of the distances of cells of a new study to those of a held-out study
TEMPERATURE = 1.5  # divisor of the log odds of a label by embedding: held-out cells are predicted with more confidence

STEPS = 100  # of confidence at which the error rate of held-out cells is kept
_MIN_SHARE, _MIN_DISTANCE, _MAX_MARGIN = 0.01, 0.01, 3.0
_K = 50  # neighbours, the default of LabelTransfer.predict
_N_CELLS = 10_000  # that are held out at most: the curves have six parameters
_N_STUDIES = 50  # that are held out at most
_N_TYPES = 100  # that are taken out of the reference at most, over all studies
_N_TYPES_EXPRESSION = 50  # the same with the expression of the genes, whose space is fitted again for each
_N_FOLDS = 5  # of the cells of a reference of one study
_SAME = 1e-5  # distance within which two cells are the same cell
_FAR = 0.99  # quantile of the distances of held-out cells that stands for nearly all
_NOVEL_SHARE = 0.1  # of cells of novel types for which error rates are stated
_NOVEL_WEIGHT = 0.2  # of all novel cells relative to all others, when the curves are fitted
_NOVEL_WEIGHT_EXPRESSION = 0.1  # the same of the curves with the expression of the genes
_RIDGE = 1e-3  # of the squared slopes, relative to the mean loss: it decides only where the cells do not


@dataclass(frozen=True)
class Calibration:
    """Curves and error rates measured on held-out studies."""

    known: tuple[float, ...]
    """Intercept and slope of the novelty curve: the logistic curve that the type of a cell is in the reference, over
    :func:`novelty_feature`."""

    right: tuple[float, ...]
    """Intercept and slopes of the agreement curve: the logistic curve that the label of a cell of such a type is right,
    over :func:`agreement_features`."""

    errors: tuple[float, ...]
    """Share of wrong labels among those of a confidence of at least 0, .01, .02, ... 1, expected of a new study with a
    tenth of its cells of types that the reference lacks."""

    n_studies: int
    """Number of studies that were held out; 0 = there was one, and parts of its cells were held out."""

    with_expression: Calibration | None = None
    """The same for queries with the expression of their genes: the novelty curve is over the features of
    :meth:`ExpressionPanel.features`."""

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

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Return what `dataclasses.asdict` returned, read from JSON."""
        known, right, errors = (tuple(content[name]) for name in ("known", "right", "errors"))
        further = content.get("with_expression")
        return cls(known, right, errors, content["n_studies"], None if further is None else cls.from_dict(further))

    def threshold(self, max_error: float) -> float:
        """Return the least confidence from which on at most this share of labels is wrong; above 1 if there is none."""
        too_many = np.flatnonzero(np.array(self.errors) > max_error)
        return 0.0 if too_many.size == 0 else float(too_many[-1] + 1) / STEPS


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


class _HeldOut(NamedTuple):
    """Held-out cells and their votes."""

    votes: Votes
    truth: Ints32
    fold: Ints
    known: Bools  # whether the reference had cells of the type, or of one above or below it
    novelty: Doubles  # (n, n_features) novelty features: of the embedding, or of the expression of the genes
    thinned: Bools  # whether the novelty features are those of some of the genes and counts of the cell

    def at(self, rows: Bools) -> _HeldOut:
        """Return some of the cells."""
        votes = Votes(**{name: part[rows] for name, part in self.votes._asdict().items()})
        return _HeldOut(votes, **{name: part[rows] for name, part in self._asdict().items() if name != "votes"})


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
    related, synthetic novel cells, twice as far away as nearly all, stand for novel types. Where no cell can be
    predicted from another, every confidence is .25, and too likely to be wrong for any error rate but 1.

    With the counts of some reference cells, `samples`, the same is fitted with the expression of their genes. Nothing
    is left of a held-out study or type in the means that its cells are compared with (gene space and covariance within
    labels are of all cells), while a model may have been trained on them: this novelty curve is of the expression
    alone. Where types are taken out, a term above the type is drawn, and all labels of it go. Its cells count once more
    with some of their genes and counts.
    """
    random = np.random.default_rng(rng)
    cells = np.flatnonzero(reference.eligible())
    n_studies = len(np.unique(reference.studies[cells]))
    folds = reference.studies
    if n_studies < 2:
        folds = random.integers(0, _N_FOLDS, len(reference.codes)).astype(np.int32)
    curves = _fit(list(_hold_out(reference, index, cells, folds, random)), reference.tree, n_studies, _NOVEL_WEIGHT)
    if expression is None or not samples or n_studies < 2:
        return curves
    source = SampledCells(ExpressionView.of(expression, reference), samples, random)
    held_out = list(_hold_out(reference, index, cells, folds, random, source))
    if not any(part.known.any() for part in held_out) or all(part.known.all() for part in held_out):
        return curves
    return replace(curves, with_expression=_fit(held_out, reference.tree, n_studies, _NOVEL_WEIGHT_EXPRESSION, curves))


def _fit(
    parts: list[_HeldOut],
    tree: LabelTree,
    n_studies: int,
    novel_weight: float,
    by_embedding: Calibration | None = None,
) -> Calibration:
    """Fit both curves to held-out cells, and state their error rates; those with expression beside `by_embedding`."""
    if not parts:
        return Calibration((0.0, 0.0), (0.0,) * 4, (1.0,) * (STEPS + 1), 0)
    held_out = _joined(parts)
    if held_out.known.all():
        held_out = _joined([held_out, _synthetic_novel(held_out)])
    weights = _fold_weights(held_out, novel_weight)
    rising = False if by_embedding is None else None
    known = fit_logistic(held_out.novelty, held_out.known, weights, rising=rising)
    whole = ~held_out.thinned
    held_out, weights = held_out.at(whole), weights[whole]
    is_right = _is_right(held_out, tree)
    fitted = held_out.known & (held_out.votes.codes[:, 0] >= 0)
    right: tuple[float, ...] = (0.0,) * 4
    if fitted.any():
        features = agreement_features(held_out.at(fitted).votes)[:, 0]
        right = fit_logistic(features, is_right[fitted, 0], weights[fitted], rising=True)
    n_folds = len(np.unique(held_out.fold)) if n_studies > 1 else 0
    curves = Calibration(known, right, (0.0,) * (STEPS + 1), n_folds)
    whole_curves = curves if by_embedding is None else replace(by_embedding, with_expression=curves)
    return replace(curves, errors=_error_rates(held_out, is_right, whole_curves, tree))


def _hold_out(
    reference: LabelReference,
    index: NeighbourIndex,
    cells: Ints,
    folds: Ints32,
    random: np.random.Generator,
    source: SampledCells | None = None,
) -> Iterator[_HeldOut]:
    """Return the predictions of each fold from the others, and of its types from cells of other types."""
    tree, codes = reference.tree, reference.codes
    drawn = _draw(cells if source is None else np.intersect1d(cells, source.ids), folds, random)
    pairs = np.unique(np.stack([folds[drawn], codes[drawn]]), axis=1).T
    n_types = _N_TYPES if source is None else _N_TYPES_EXPRESSION
    taken_out = set(map(tuple, pairs[random.permutation(len(pairs))[:n_types]].tolist()))
    for fold in np.unique(folds[drawn]):
        others = cells[folds[cells] != fold]
        if not len(others):
            continue
        queries = drawn[folds[drawn] == fold]
        present = np.bincount(codes[others], minlength=len(tree.related)) > 0
        known: Bools = np.any(tree.related[codes[queries]] & present, axis=1)
        yield from _predict_from(reference, index, queries, others, fold, known, source)
        for code in np.unique(codes[queries]):
            if (int(fold), int(code)) not in taken_out:
                continue
            gone = tree.related[code]
            if source is not None:  # one level up or more, now and then: novel cells may be of a whole lineage
                path = tree.paths[code][tree.paths[code] >= 0]
                gone = gone | tree.inside[random.choice(path)]
            rest = others[~gone[codes[others]]]
            if len(rest):
                novel = queries[codes[queries] == code]
                is_known = np.zeros(len(novel), dtype=np.bool_)
                yield from _predict_from(reference, index, novel, rest, fold, is_known, source)


def _draw(cells: Ints, folds: Ints32, random: np.random.Generator) -> Ints:
    """Draw cells from up to 50 folds, up to the same number from each and 10,000 in all; ascending."""
    present, size = np.unique(folds[cells], return_counts=True)
    if len(present) > _N_STUDIES:
        present = present[np.sort(random.choice(len(present), _N_STUDIES, replace=False, p=size / size.sum()))]
    most = _N_CELLS // max(len(present), 1)
    members = [cells[folds[cells] == fold] for fold in present]
    parts = [random.choice(of_fold, min(len(of_fold), most), replace=False) for of_fold in members]
    return np.sort(np.concatenate(parts)) if parts else cells


def _predict_from(
    reference: LabelReference,
    index: NeighbourIndex,
    queries: Ints,
    ids: Ints,
    fold: np.int32,
    known: Bools,
    source: SampledCells | None,
) -> Iterator[_HeldOut]:
    """Predict held-out cells from cells of other folds; centroids of their own study are left out with it."""
    restricted = reference.restricted(ids)
    view = None if source is None else source.view.with_cells(reference, ids)
    if source is not None and view is None:
        return
    X = index.vectors(queries)
    distances, found = index.query(X, _K, allowed=ids, distinct=True)
    release_pages(index)
    found = np.where(distances > _SAME, found, -1)  # the cell itself, published again, would be no test
    compared = None if source is None or view is None else source.features(view, queries)
    factors = None if compared is None or view is None else compared.factors
    votes = count_votes(distances, found, restricted, restricted.centroid_distances(X), factors=factors)
    novelty = novelty_feature(votes)[:, :1] if compared is None else compared.novelty
    same = np.full(len(queries), fold, dtype=np.int64)
    whole = np.zeros(len(queries), dtype=np.bool_)
    yield _HeldOut(votes, reference.codes[queries], same, known, novelty, whole)
    if source is not None and view is not None:
        thinned = source.features(view, queries, thinned=True).novelty
        yield _HeldOut(votes, reference.codes[queries], same, known, thinned, ~whole)


def _joined(parts: list[_HeldOut]) -> _HeldOut:
    votes = Votes(*map(np.concatenate, zip(*(part.votes for part in parts), strict=True)))
    return _HeldOut(votes, *(np.concatenate([part[field] for part in parts]) for field in range(1, 6)))


def _synthetic_novel(held_out: _HeldOut) -> _HeldOut:
    """Return cells like those held out, but twice as far from everything as nearly all of them, and of no type."""
    votes = held_out.votes
    centroid = 2 * np.quantile(votes.centroid_distance[:, 0], _FAR)
    neighbour = 2 * np.quantile(votes.neighbour_distance, _FAR)
    far = votes._replace(
        centroid_distance=np.full_like(votes.centroid_distance, centroid),
        neighbour_distance=np.full_like(votes.neighbour_distance, neighbour),
    )
    no_type = np.full_like(held_out.truth, -1)
    novelty = novelty_feature(far)[:, :1]
    return held_out._replace(votes=far, truth=no_type, known=np.zeros_like(held_out.known), novelty=novelty)


def _fold_weights(held_out: _HeldOut, novel_weight: float) -> Doubles:
    """Weigh all folds alike, with all cells of novel types of one `novel_weight` times as much as the others."""
    weights = np.zeros(len(held_out.truth))
    for known, whole in ((True, 1.0), (False, novel_weight)):
        for fold in np.unique(held_out.fold):
            rows = (held_out.fold == fold) & (held_out.known == known)
            if rows.any():
                weights[rows] = whole / rows.sum()
    return weights


def _is_right(held_out: _HeldOut, tree: LabelTree) -> Bools:
    """Return whether the winner, and the terms above it, are the label of the cell, above it or below it."""
    terms = tree.paths[np.maximum(held_out.votes.codes[:, 0], 0)]
    truth = held_out.truth[:, None]
    return (terms >= 0) & (truth >= 0) & (tree.inside[terms, truth] | tree.within[terms, truth])


def _error_rates(held_out: _HeldOut, is_right: Bools, curves: Calibration, tree: LabelTree) -> tuple[float, ...]:
    """Return the share of wrong labels of at least each confidence; where there are none, the last share.

    Cells of known types are taken to be wrong as often as their confidence implies: their predictions are more certain
    than those of a new study. Cells of novel types are wrong as measured, and no farther away in a new study.
    """
    novelty = None if curves.with_expression is None else held_out.novelty
    _, at_distance, novel = curves.probabilities(held_out.votes, tree, novelty, distance_shift=1.0)
    _, shifted, _ = curves.probabilities(held_out.votes, tree, novelty)
    known = held_out.known[:, None]
    p = np.where(known, at_distance, shifted)
    if novelty is not None:  # novel cells get no label
        p[stated_novelty(novel) >= NOVEL] = 0
    # The expression of a held-out study is new to the novelty curve: of known cells, that the type is known is given.
    implied = at_distance if novelty is None else at_distance / np.maximum(1 - novel, _MIN_SHARE)[:, None]
    wrong = np.where(known, 1 - np.minimum(implied, 1), ~is_right)
    n_known, n_novel = max(held_out.known.sum(), 1), max((~held_out.known).sum(), 1)
    weights = np.where(held_out.known, (1 - _NOVEL_SHARE) / n_known, _NOVEL_SHARE / n_novel)
    errors: list[float] = []
    for step in range(STEPS + 1):
        passes = p >= step / STEPS
        labelled = weights * passes.any(axis=1)
        whole = labelled.sum()
        share = labelled @ wrong[np.arange(len(p)), passes.argmax(axis=1)]
        errors.append(float(share / whole) if whole > 0 else errors[-1])
    return tuple(errors)


def fit_logistic(X: Doubles, y: Bools, weights: Doubles, *, rising: bool | None) -> tuple[float, ...]:
    """Return intercept and slopes of the weighted logistic regression of `y` (n,) on `X` (n, n_features).

    With `rising` no slope is below 0, with false none is above; `None`: any may be. One row of each outcome at the
    mean of the features is added, with the weight of an average row, so that one outcome alone gives no certainty.
    """
    mean = np.average(X, axis=0, weights=weights)
    rows = np.hstack([np.ones((len(X) + 2, 1)), np.vstack([X, mean, mean])])
    outcome = np.append(y, [True, False]).astype(np.float64)
    row_weights = np.append(weights, [weights.mean()] * 2)
    row_weights = row_weights / row_weights.sum()

    def loss(beta: Doubles) -> tuple[float, Doubles]:
        eta = rows @ beta
        slopes = np.append(0.0, beta[1:])
        value = row_weights @ (np.logaddexp(0, eta) - outcome * eta) + _RIDGE * slopes @ slopes / 2
        return float(value), rows.T @ (row_weights * (expit(eta) - outcome)) + _RIDGE * slopes

    sign = (None, None) if rising is None else (0.0, None) if rising else (None, 0.0)
    bounds = [(None, None), *[sign] * X.shape[1]]
    fitted = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(float(value) for value in fitted.x)
