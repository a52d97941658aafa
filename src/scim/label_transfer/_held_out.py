"""Hold studies out of the reference and predict their cells: from all others, and from those of other types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.label_transfer._reference import release_pages
from scim.label_transfer._votes import Votes, count_votes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scim._core.types import Bools, Doubles, Ints, Ints32
    from scim.label_transfer._expression_view import SampledCells
    from scim.label_transfer._reference import LabelReference, NeighbourIndex

_K = 50  # neighbours, the default of LabelTransfer.predict
_N_CELLS = 10_000  # that are held out at most: the curves have six parameters
_N_STUDIES = 50  # that are held out at most
_N_TYPES = 100  # that are taken out of the reference at most, over all studies
_N_TYPES_EXPRESSION = 50  # the same with the expression of the genes, whose space is fitted again for each
_N_FOLDS = 5  # of the cells, where studies cannot be held out
_FEW = 20  # cells of types that other studies have too: with fewer, parts of the cells are held out
_SAME = 1e-5  # distance within which two cells are the same cell
_FAR = 0.99  # quantile of the distances of held-out cells that stands for nearly all


class HeldOut(NamedTuple):
    """Held-out cells and their votes."""

    votes: Votes
    truth: Ints32
    fold: Ints
    known: Bools  # whether the reference had cells of the type, or of one above or below it
    expression: Doubles  # (n, n_features) novelty features of the expression of the genes; no column without it
    thinned: Bools  # whether these are of some of the genes and counts of the cell

    def at(self, rows: Bools) -> HeldOut:
        """Return some of the cells."""
        votes = Votes(**{name: part[rows] for name, part in self.votes._asdict().items()})
        return HeldOut(votes, **{name: part[rows] for name, part in self._asdict().items() if name != "votes"})

    @classmethod
    def joined(cls, parts: list[HeldOut]) -> HeldOut:
        """Return the cells of all parts, of which there is at least one."""
        votes = Votes(*map(np.concatenate, zip(*(part.votes for part in parts), strict=True)))
        return cls(votes, *(np.concatenate([part[field] for part in parts]) for field in range(1, len(cls._fields))))

    def synthetic_novel(self) -> HeldOut:
        """Return such cells, but twice as far from everything as nearly all of them, and of no type."""
        votes = self.votes
        centroid = 2 * np.quantile(votes.centroid_distance[:, 0], _FAR)
        neighbour = 2 * np.quantile(votes.neighbour_distance, _FAR)
        far = votes._replace(
            centroid_distance=np.full_like(votes.centroid_distance, centroid),
            neighbour_distance=np.full_like(votes.neighbour_distance, neighbour),
        )
        return self._replace(votes=far, truth=np.full_like(self.truth, -1), known=np.zeros_like(self.known))


def in_several_studies(reference: LabelReference, cells: Ints) -> Bools:
    """Return of which cells another study has the type too, or one above or below it, (n_cells,)."""
    codes, studies = reference.codes[cells], reference.studies[cells]
    present = np.zeros((reference.tree.n_labels, int(studies.max(initial=0)) + 1), dtype=np.float32)
    present[codes, studies] = 1
    n_studies = np.count_nonzero(reference.tree.related.astype(np.float32) @ present, axis=1)
    several: Bools = n_studies[codes] > 1
    return several


def choose_folds(reference: LabelReference, cells: Ints, random: np.random.Generator) -> tuple[Ints32, bool]:
    """Return the fold of each id, (n_ids,), and whether the folds are the studies.

    Where hardly any cell is of a type that another study has too, as in a single study, or in studies of different
    types or different words for them, they are parts of the cells at random.
    """
    if np.count_nonzero(in_several_studies(reference, cells)) >= min(_FEW, len(cells) / 2):
        return reference.studies, True
    folds = np.zeros_like(reference.studies)
    folds[cells] = random.permutation(len(cells)) % _N_FOLDS
    return folds, False


def hold_out(
    reference: LabelReference,
    index: NeighbourIndex,
    cells: Ints,
    folds: Ints32,
    random: np.random.Generator,
    source: SampledCells | None = None,
) -> list[HeldOut]:
    """Return the predictions of each fold from the others, and of its types from cells of other types."""
    tree, codes = reference.tree, reference.codes
    drawn = _draw(cells if source is None else np.intersect1d(cells, source.ids), folds, random)
    pairs = np.unique(np.stack([folds[drawn], codes[drawn]]), axis=1).T
    n_types = _N_TYPES if source is None else _N_TYPES_EXPRESSION
    taken_out = set(map(tuple, pairs[random.permutation(len(pairs))[:n_types]].tolist()))
    parts: list[HeldOut] = []
    for fold in np.unique(folds[drawn]):
        others = cells[folds[cells] != fold]
        if not len(others):
            continue
        queries = drawn[folds[drawn] == fold]
        present = np.bincount(codes[others], minlength=len(tree.related)) > 0
        known: Bools = np.any(tree.related[codes[queries]] & present, axis=1)
        parts += _predict_from(reference, index, queries, others, fold, known, source)
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
                parts += _predict_from(reference, index, novel, rest, fold, is_known, source)
    return parts


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
) -> Iterator[HeldOut]:
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
    factors = None if compared is None else compared.factors
    votes = count_votes(distances, found, restricted, restricted.centroid_distances(X), factors=factors)
    features = np.empty((len(queries), 0)) if compared is None else compared.novelty
    same = np.full(len(queries), fold, dtype=np.int64)
    whole = np.zeros(len(queries), dtype=np.bool_)
    yield HeldOut(votes, reference.codes[queries], same, known, features, whole)
    if source is not None and view is not None:
        thinned = source.features(view, queries, thinned=True).novelty
        yield HeldOut(votes, reference.codes[queries], same, known, thinned, ~whole)
