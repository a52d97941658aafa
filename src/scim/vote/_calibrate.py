"""What the studies of an atlas teach of how probable an answer is: each is held out, and asked of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.vote._centroids import near_labels
from scim.vote._confidence import STEPS, Confidence, agreement, remote
from scim.vote._count import Evidence, count, label_weights
from scim.vote._fit import fit_logistic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scim.vote._voters import Voters

    Search = Callable[[NDArray[np.float32], int, NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.int64]]]
    """Queries (n, dim), how many, and the ids that may be found, to distances and ids (n, k)."""

_K = 50
"""Neighbours that vote, as :func:`scim.tl.annotate` asks for by default."""

_SAMPLE = 10_000
"""Cells that are asked: the curves have six numbers."""

_FOLDS = 5
"""Parts of the cells of an atlas of one study."""

_TYPES = 200
"""Types of a study that are taken from the voters, at most, over all studies."""

_NEW = 0.2
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


def calibrate(
    X: NDArray[np.float32],
    ids: NDArray[np.int64],
    voters: Voters,
    search: Search,
    seed: int = 0,
) -> Confidence:
    """Learn from cells whose study does not vote.

    Every study is held out in turn. Its cells are asked once of all other studies, and once more, type by type,
    of those that are left when the type and its kin are taken out: such cells are of a type that the voters lack. An
    answer is right if it is the label of the cell, a term above it, or a term below it, which may be.

    Parameters
    ----------
    X
        Unit embeddings of some labelled cells, shape (n, dim).
    ids
        Which they are, shape (n,).
    voters
        All that may vote.
    search
        Finds nearest cells.
    seed
        Draws a sample of the cells where there are many.

    Returns
    -------
    What was learned; where no cell could be asked of another, every answer has a confidence of one in four.
    """
    random = np.random.default_rng(seed)
    if len(ids) > _SAMPLE:
        drawn = np.sort(random.choice(len(ids), _SAMPLE, replace=False))
        X, ids = X[drawn], ids[drawn]
    n_studies = len(np.unique(voters.studies[voters.codes >= 0]))
    folds = voters.studies.astype(np.int64) if n_studies > 1 else random.integers(0, _FOLDS, len(voters.codes))
    parts = list(_ask(X, ids, voters, folds, search, random))
    if not parts:
        return Confidence((0.0, 0.0), (0.0,) * 4, (0.0,) * (STEPS + 1), 0)
    asked = _joined(parts)
    weights = _weights(asked)
    far = remote(asked.evidence)[:, :1]
    known = fit_logistic(far, asked.known, weights, rising=False)
    with_type = asked.known & (asked.winners >= 0)
    verdict = _true(asked, voters)
    right: tuple[float, ...] = (0.0,) * 4
    if with_type.any():
        signs = agreement(asked.evidence)[with_type, 0]
        right = fit_logistic(signs, verdict[with_type, 0], weights[with_type], rising=True)
    curves = Confidence(known, right, (0.0,) * (STEPS + 1), n_studies if n_studies > 1 else 0)
    return Confidence(known, right, _errors(asked, verdict, curves, voters), curves.n_studies)


def _ask(
    X: NDArray[np.float32],
    ids: NDArray[np.int64],
    voters: Voters,
    folds: NDArray[np.int64],
    search: Search,
    random: np.random.Generator,
) -> Iterator[_Asked]:
    every = np.flatnonzero(voters.codes >= 0)
    truth, kin = voters.codes[ids], voters.tree.kin
    pairs = np.unique(np.stack([folds[ids], truth.astype(np.int64)]), axis=1).T
    taken = set(map(tuple, pairs[random.permutation(len(pairs))[:_TYPES]].tolist()))
    for fold in np.unique(folds[ids]):
        others = every[folds[every] != fold]
        if not len(others):
            continue
        left = np.bincount(voters.codes[others], minlength=len(kin)) > 0
        mine = np.flatnonzero(folds[ids] == fold)
        known: NDArray[np.bool_] = np.any(kin[truth[mine]] & left, axis=1)
        yield _one(X[mine], ids[mine], voters, others, search, fold, known)
        for code in np.unique(truth[mine]):
            rest = others[~kin[code][voters.codes[others]]]
            if (int(fold), int(code)) in taken and len(rest):
                some = mine[truth[mine] == code]
                yield _one(X[some], ids[some], voters, rest, search, fold, np.zeros(len(some), dtype=np.bool_))


def _one(
    X: NDArray[np.float32],
    ids: NDArray[np.int64],
    voters: Voters,
    allowed: NDArray[np.int64],
    search: Search,
    fold: int,
    known: NDArray[np.bool_],
) -> _Asked:
    tree, centroids = voters.tree, voters.centroids
    there = np.unique(voters.codes[allowed].astype(np.int64) << 32 | voters.studies[allowed])
    keep = np.isin(centroids.labels.astype(np.int64) << 32 | centroids.studies, there)
    near = near_labels(X, centroids, tree.n_labels, keep)
    each = label_weights(voters.codes[allowed], tree.n_labels)
    found = search(X, _K, allowed)
    votes, evidence = count(*found, voters, each, near, weights="balanced")
    return _Asked(evidence, votes.codes[:, 0], voters.codes[ids], np.full(len(ids), fold), known)


def _joined(parts: list[_Asked]) -> _Asked:
    evidence = Evidence(*map(np.concatenate, zip(*(part.evidence for part in parts), strict=True)))
    others = [np.concatenate([part[place] for part in parts]) for place in range(1, 5)]
    return _Asked(evidence, *others)


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
    return (terms >= 0) & (tree.inside[terms, truth] | tree.within[terms, truth])


def _errors(asked: _Asked, verdict: NDArray[np.bool_], curves: Confidence, voters: Voters) -> tuple[float, ...]:
    """Return the share of wrong answers among those of at least each confidence; that of too few counts as before."""
    p = curves.probabilities(asked.evidence, asked.winners, voters.tree).right
    weights = np.where(asked.known, (1 - _NEW) / max(asked.known.sum(), 1), _NEW / max((~asked.known).sum(), 1))
    errors: list[float] = []
    for step in range(STEPS + 1):
        passes = p >= step / STEPS
        answered = passes.any(axis=1)
        wrong = answered & ~verdict[np.arange(len(p)), passes.argmax(axis=1)]
        whole = weights[answered].sum()
        errors.append(float(weights[wrong].sum() / whole) if whole > 0 else 0.0)
    return tuple(errors)
