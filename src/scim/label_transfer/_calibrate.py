"""What the studies of an atlas teach of how probable an answer is: each is held out, and asked of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.label_transfer._centroids import near_labels
from scim.label_transfer._confidence import BEYOND, STEPS, Confidence, agreement, remote
from scim.label_transfer._count import Evidence, count, label_weights
from scim.label_transfer._fit import fit_logistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scim.label_transfer._centroids import Vectors
    from scim.label_transfer._voters import Voters

    Search = Callable[[NDArray[np.float32], int, NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.int64]]]
    """Queries (n, dim), how many, and the ids that may be found, to distances and ids (n, k)."""

_K = 50
"""Neighbours that vote, as :func:`scim.tl.annotate` asks for by default."""

_SAMPLE = 10_000
"""Cells that are asked: the curves have six numbers."""

_STUDIES = 50
"""Studies that are held out, at most."""

_TYPES = 100
"""Types that are taken from the voters, at most, over all studies."""

_COPY = 1e-5
"""Cells this near are the same cell."""

_FAR = 0.99
"""Quantile of the distances of the cells asked that stands for nearly all."""

_FOLDS = 5
"""Parts of the cells of an atlas of one study."""

_NEW = 0.1
"""Share of cells of types that the voters lack for which error rates are stated."""

_WEIGHT_OF_NEW = 0.2
"""Weight of all cells asked without their type beside all those asked with it, when the curve is fitted."""


class _Asked(NamedTuple):
    """Cells that were asked of other studies than theirs."""

    evidence: Evidence
    winners: NDArray[np.int32]
    truth: NDArray[np.int32]
    fold: NDArray[np.int64]
    known: NDArray[np.bool_]
    """Whether voters were left of the cell's type, or of kin of it."""


def calibrate(vectors: Vectors, voters: Voters, search: Search, seed: int = 0) -> Confidence:
    """Learn from cells whose study does not vote.

    Studies are held out in turn, up to 50 of them. Their cells are asked once of all other studies, and once more,
    type by type, of those that are left when the type and its kin are taken out: such cells are of a type that the
    voters lack. An answer is right if it is the label of the cell, a term above it, or a term below it, which may be.

    Parameters
    ----------
    vectors
        Gives the unit embeddings of ids, (n, dim).
    voters
        All that may vote.
    search
        Finds nearest cells.
    seed
        Draws a sample of the cells where there are many.

    Returns
    -------
    What was learned. Where no type can be taken out, because all are kin, cells twice as far away as nearly all stand
    for new types; where no cell can be asked of another, every answer has a confidence of one in four, and is too
    likely to be wrong for any rate of errors but 1.
    """
    random = np.random.default_rng(seed)
    studies = np.unique(voters.studies[voters.codes >= 0])
    folds = voters.studies if len(studies) > 1 else random.integers(0, _FOLDS, len(voters.codes)).astype(np.int32)
    parts = list(_ask(vectors, voters, folds, search, random))
    if not parts:
        return Confidence((0.0, 0.0), (0.0,) * 4, (1.0,) * (STEPS + 1), 0)
    asked = _joined(parts)
    if asked.known.all():
        asked = _joined([asked, _strangers(asked)])
    weights = _weights(asked)
    known = fit_logistic(remote(asked.evidence)[:, :1], asked.known, weights, rising=False)
    with_type = asked.known & (asked.winners >= 0)
    verdict = _true(asked, voters)
    right: tuple[float, ...] = (0.0,) * 4
    if with_type.any():
        signs = agreement(asked.evidence)[with_type, 0]
        right = fit_logistic(signs, verdict[with_type, 0], weights[with_type], rising=True)
    curves = Confidence(known, right, (0.0,) * (STEPS + 1), len(np.unique(asked.fold)) if len(studies) > 1 else 0)
    return Confidence(known, right, _errors(asked, verdict, curves, voters), curves.n_studies)


def _ask(
    vectors: Vectors,
    voters: Voters,
    folds: NDArray[np.int32],
    search: Search,
    random: np.random.Generator,
) -> Iterator[_Asked]:
    every = np.flatnonzero(voters.codes >= 0)
    kin = voters.tree.kin
    drawn = _drawn(every, folds, random)
    pairs = np.unique(np.stack([folds[drawn], voters.codes[drawn]]), axis=1).T
    taken = set(map(tuple, pairs[random.permutation(len(pairs))[:_TYPES]].tolist()))
    for fold in np.unique(folds[drawn]):
        others = every[folds[every] != fold]
        if not len(others):
            continue
        codes, own = voters.codes[others], drawn[folds[drawn] == fold]
        truth = voters.codes[own]
        left = np.bincount(codes, minlength=len(kin)) > 0
        known: NDArray[np.bool_] = np.any(kin[truth] & left, axis=1)
        yield _one(vectors, own, voters, others, search, folds, known)
        for code in np.unique(truth):
            rest = others[~kin[code][codes]] if (int(fold), int(code)) in taken else others[:0]
            if len(rest):
                some = own[truth == code]
                yield _one(vectors, some, voters, rest, search, folds, np.zeros(len(some), dtype=np.bool_))


def _drawn(every: NDArray[np.int64], folds: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw cells from up to 50 folds, as many from each as there are, 10,000 in all at most; ascending."""
    found, size = np.unique(folds[every], return_counts=True)
    if len(found) > _STUDIES:
        found = found[np.sort(random.choice(len(found), _STUDIES, replace=False, p=size / size.sum()))]
    parts = []
    for fold in found:
        cells = every[folds[every] == fold]
        parts.append(random.choice(cells, min(len(cells), _SAMPLE // len(found)), replace=False))
    return np.sort(np.concatenate(parts)) if parts else every


def _one(
    vectors: Vectors,
    ids: NDArray[np.int64],
    voters: Voters,
    allowed: NDArray[np.int64],
    search: Search,
    folds: NDArray[np.int32],
    known: NDArray[np.bool_],
) -> _Asked:
    """Ask cells of one fold of those of others that are allowed."""
    tree, centroids, fold = voters.tree, voters.centroids, folds[ids[0]]
    size = np.bincount(voters.codes[allowed], minlength=tree.n_labels)
    # Where studies are the folds, the middles of the cells' own study are left out with it.
    keep = (size[centroids.labels] > 0) & ((centroids.studies != fold) | (folds is not voters.studies))
    X = vectors(ids)
    near = near_labels(X, centroids, tree.n_labels, keep)
    distances, found = search(X, _K, allowed)
    found = np.where(distances > _COPY, found, -1)  # the cell itself, published again in another study, knows too much
    votes, evidence = count(distances, found, voters, label_weights(size), near, weights="balanced")
    return _Asked(evidence, votes.codes[:, 0], voters.codes[ids], np.full(len(ids), fold), known)


def _joined(parts: list[_Asked]) -> _Asked:
    evidence = Evidence(*map(np.concatenate, zip(*(part.evidence for part in parts), strict=True)))
    others = [np.concatenate([part[place] for part in parts]) for place in range(1, 5)]
    return _Asked(evidence, *others)


def _strangers(asked: _Asked) -> _Asked:
    """Return cells like those asked, but twice as far from everything as nearly all of them, and of no type."""
    evidence = asked.evidence
    far = evidence._replace(
        near=np.full_like(evidence.near, 2 * np.quantile(evidence.near[:, 0], _FAR)),
        distance=np.full_like(evidence.distance, 2 * np.quantile(evidence.distance, _FAR)),
    )
    nobody = np.full_like(asked.truth, -1)
    return asked._replace(evidence=far, truth=nobody, known=np.zeros_like(asked.known))


def _weights(asked: _Asked) -> NDArray[np.float64]:
    """Let each fold count as much as any other, and cells whose type voters have five times those of new types."""
    weights = np.zeros(len(asked.truth))
    for known, whole in ((True, 1.0), (False, _WEIGHT_OF_NEW)):
        for fold in np.unique(asked.fold):
            rows = (asked.fold == fold) & (asked.known == known)
            if rows.any():
                weights[rows] = whole / rows.sum()
    return weights


def _true(asked: _Asked, voters: Voters) -> NDArray[np.bool_]:
    """Return whether the winner, and the terms above it, are the label of the cell, above it or below it."""
    tree = voters.tree
    terms = tree.paths[np.maximum(asked.winners, 0)]
    truth = asked.truth[:, None]
    return (terms >= 0) & (truth >= 0) & (tree.inside[terms, truth] | tree.within[terms, truth])


def _errors(asked: _Asked, verdict: NDArray[np.bool_], curves: Confidence, voters: Voters) -> tuple[float, ...]:
    """Return the share of wrong answers of at least each confidence; where there are none, the last share.

    Cells whose type voters have are wrong as often as their confidence says, because they come out clearer than those
    of a new study; those of new types are wrong where they were, and count as no farther away than they were.
    """
    near, far = (
        curves.probabilities(asked.evidence, asked.winners, voters.tree, beyond=beyond).right
        for beyond in (1.0, BEYOND)
    )
    known = asked.known[:, None]
    p = np.where(known, near, far)
    wrong = np.where(known, 1 - near, ~verdict)
    weights = np.where(asked.known, (1 - _NEW) / max(asked.known.sum(), 1), _NEW / max((~asked.known).sum(), 1))
    errors: list[float] = []
    for step in range(STEPS + 1):
        passes = p >= step / STEPS
        answered = weights * passes.any(axis=1)
        whole = answered.sum()
        share = answered @ wrong[np.arange(len(p)), passes.argmax(axis=1)]
        errors.append(float(share / whole) if whole > 0 else errors[-1])
    return tuple(errors)
