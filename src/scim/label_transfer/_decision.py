"""Choose the predicted term of each cell, and of each group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from scim._core.adata import Groups
    from scim._core.types import Bools, Doubles, Floats, Ints, Ints32
    from scim.label_transfer._tree import LabelTree

NOVEL = 0.5  # novelty of a cell from which on it is novel
_NOVEL_ODDS = 3.0  # of the novelty, stated for a quarter of novel cells, over those of the confidence, for a tenth
MAJORITY = 0.5  # least confidence of the label of a group, and of a cell with expression: more likely right than wrong
MIXED = 0.25  # share of the cells of a mixed group that have the same other label, at least


def stated_novelty(novelty: Floats) -> Floats:
    """Return the novelty of cells (n,) in a query with a quarter of novel cells, from that with a tenth."""
    return _NOVEL_ODDS * novelty / (1 + (_NOVEL_ODDS - 1) * novelty)


def choose_terms(terms: Ints32, probabilities: Floats, threshold: float, allowed: Bools) -> tuple[Ints32, Floats]:
    """Return the most specific allowed term of each path whose probability reaches the threshold, and its probability.

    Terms and probabilities are (n, width) as from :meth:`Calibration.probabilities`, `allowed` is (n_terms,). Paths
    without such a term are unknown, -1, with the probability of their most specific allowed term; (n,) each.
    """
    candidate = (terms >= 0) & allowed[terms]
    passes = candidate & (probabilities >= np.float32(threshold))
    known: Bools = np.any(passes, axis=1)
    rows = np.arange(len(terms))
    place = np.where(known, passes.argmax(axis=1), candidate.argmax(axis=1))
    confidence = np.where(candidate.any(axis=1), probabilities[rows, place], np.float32(0))
    return np.where(known, terms[rows, place], -1).astype(np.int32), confidence


def group_consensus(
    groups: Groups,
    terms: Ints32,
    probabilities: Floats,
    predicted: Ints32,
    tree: LabelTree,
    threshold: float,
    allowed: Bools,
    novelty: Floats,
) -> pd.DataFrame:
    """Return for each group the most specific term whose mean probability over its cells reaches the threshold.

    The path of terms is that above the label which is the winner of most cells, by their probabilities. Cells without
    counts, of which the novelty is NaN, count in `n_cells` only; a group in which no cell has a label among its
    neighbours is unknown. The arguments are those and the results of :func:`choose_terms` for the cells; the frame is
    :attr:`Prediction.groups`.
    """
    n_groups = len(groups.names)
    n_cells = np.bincount(groups.codes[groups.codes >= 0], minlength=n_groups)
    rows = np.flatnonzero((groups.codes >= 0) & ~np.isnan(novelty))
    codes, terms, probabilities, predicted = groups.codes[rows], terms[rows], probabilities[rows], predicted[rows]
    novelty = novelty[rows]
    n_counted = np.bincount(codes, minlength=n_groups)
    size, shape = n_counted.clip(1)[:, None], (n_groups, len(tree.names))
    expected = _sum_by_term(codes, terms, probabilities, shape) / size
    best = _sum_by_term(codes, terms[:, :1], probabilities[:, :1], shape).argmax(axis=1)
    has_term = np.bincount(codes, weights=terms[:, 0] >= 0, minlength=n_groups) > 0
    paths = np.where(has_term[:, None], tree.paths[best], -1)
    on_path = np.where(paths >= 0, np.take_along_axis(expected, paths, axis=1), 0).astype(np.float32)
    consensus, confidence = choose_terms(paths, on_path, threshold, allowed)
    term = np.where(consensus >= 0, consensus, best)
    shares = _sum_by_term(codes, predicted[:, None], np.ones((len(codes), 1), dtype=np.float32), shape) / size
    below, above = tree.within.T[term], tree.within[term]
    other_shares = np.where(below | above, 0, shares)
    second = other_shares.max(axis=1)
    runner_up = np.where(second > 0, other_shares.argmax(axis=1), -1).astype(np.int32)
    label, label_id = tree.as_categories(consensus)
    return pd.DataFrame(
        {
            "group": groups.names.astype(str),
            "n_cells": n_cells,
            "label": label,
            "label_id": label_id,
            "confidence": confidence,
            "share": np.where(below, shares, 0).sum(axis=1).astype(np.float32),
            "runner_up": tree.as_categories(runner_up)[0],
            "runner_up_share": second.astype(np.float32),
            "unknown": 1 - _mean(codes, predicted >= 0, n_groups, 0),
            "novelty": _mean(codes, novelty, n_groups, np.nan),
            "novel": _mean(codes, novelty >= NOVEL, n_groups, 0),
            "mixed": second >= MIXED,
        },
        index=[str(i) for i in range(n_groups)],
    )


def _mean(codes: Ints, values: Floats | Bools, n_groups: int, missing: float) -> Floats:
    """Return the mean of the values of each group, (n_groups,)."""
    size = np.bincount(codes, minlength=n_groups)
    mean = np.bincount(codes, weights=values, minlength=n_groups) / size.clip(1)
    return np.where(size > 0, mean, missing).astype(np.float32)


def _sum_by_term(codes: Ints, terms: Ints32, values: Floats, shape: tuple[int, int]) -> Doubles:
    """Add up values by group and term; terms of -1 are none."""
    out = np.zeros(shape)
    present = terms >= 0
    np.add.at(out, (np.broadcast_to(codes[:, None], terms.shape)[present], terms[present]), values[present])
    return out
