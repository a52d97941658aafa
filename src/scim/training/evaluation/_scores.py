"""How well labels were predicted: plain functions on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim.ontology import is_descendant, standardize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Labels = ArrayLike | pd.Series[Any] | pd.Categorical


class LabelScores(NamedTuple):
    """How well labels were predicted."""

    summary: dict[str, float]
    """
    `accuracy`, `macro_f1`, `accuracy_ontology`, `macro_f1_ontology` over the labels that could be predicted;
    the same with `_all` over all labels, those that nobody could predict counting as errors;
    `n_cells`; `n_labels_seen` and `n_labels_unseen`; `n_cells_unseen`, cells of the latter; `unknown`, share of the
    cells without a prediction.
    """
    labels: pd.DataFrame
    """
    One row a true label: `label`, `n` cells, `seen`, `precision`, `recall`, `f1`, and the last four with `_ontology`.
    """
    confusion: pd.DataFrame
    """One row a pair that occurs: `true`, `predicted` (missing = unknown), `n` cells."""


class _F1(NamedTuple):
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    accuracy: float


def label_scores(true: Labels, predicted: Labels, *, seen: Iterable[str] | None = None) -> LabelScores:
    r"""Compare predicted labels with true ones, as words and by the Cell Ontology.

    With :math:`P_t = TP_t / (TP_t + FP_t)` and :math:`R_t = TP_t / n_t`, macro-F1 is the mean over the *true* labels
    of :math:`F_t = 2 P_t R_t / (P_t + R_t)`, 0 where nothing was predicted right. By words, a prediction is right
    if it names the same term (a name, an id and a synonym are the same).

    By the ontology, a prediction is right if it names the true term or a descendant of it: :math:`TP_t` counts the
    cells of :math:`t` given one of :math:`D_t = \{t\} \cup \mathrm{descendants}(t)`, and :math:`FP_t` the cells given
    one of :math:`D_t` wrongly whose true label is not in :math:`D_t`. An ancestor of the true term is not right: it
    says less than is known.

    Parameters
    ----------
    true
        Label of each cell: Cell Ontology ids or names, or free words. Cells where it is missing are left out.
    predicted
        Predicted label of each cell; missing = unknown, which is never right.
    seen
        Labels that could be predicted, those of the training cells; default: all. Cells of other labels are left out
        of what is not called `_all`; by the ontology, of labels that have no descendant among the seen either. In
        the frame of labels, their rows are from the comparison of all cells.

    Returns
    -------
    Summary, frame of labels and frame of pairs. A figure over no cell is NaN.

    Raises
    ------
    ValueError
        The lengths differ, or no cell has a true label.

    Examples
    --------
    >>> from scim.training.evaluation import label_scores
    >>> scores = label_scores(["T cell", "B cell"], ["CD4-positive, alpha-beta T cell", "B cell"])
    >>> scores.summary["accuracy"], scores.summary["accuracy_ontology"]
    (0.5, 1.0)
    """
    given, guessed = standardize(true), standardize(predicted)
    if len(given) != len(guessed):
        msg = f"true and predicted must be as long as each other, got {len(given)} and {len(guessed)} labels."
        raise ValueError(msg)
    labelled = pd.notna(given)
    if not labelled.any():
        msg = "No cell has a true label; expected at least one that is not missing."
        raise ValueError(msg)
    code, names = pd.factorize(given[labelled], sort=True)
    guess, guesses = pd.factorize(guessed[labelled], sort=True)
    counts = np.zeros((len(names), len(guesses) + 1), dtype=np.int64)  # the last column: unknown, code -1
    np.add.at(counts, (code, guess), 1)
    trained = names if seen is None else sorted(set(standardize(list(seen))) - {None})
    return _scores(counts, list(names), list(guesses), list(trained))


def _scores(counts: NDArray[np.int64], names: list[str], guesses: list[str], trained: list[str]) -> LabelScores:
    own = np.isin(names, trained)
    reachable: NDArray[np.bool_] = np.any(is_descendant(names, trained), axis=1)
    same = np.array(names, dtype=object)[:, None] == np.array(guesses, dtype=object)
    n = counts.sum(axis=1)
    summary: dict[str, float] = {"n_cells": int(n.sum()), "n_labels_seen": int(own.sum())}
    summary |= {"n_labels_unseen": int((~own).sum()), "n_cells_unseen": int(n[~own].sum())}
    summary["unknown"] = float(counts[:, -1].sum() / n.sum())
    table: dict[str, Any] = {"label": names, "n": n, "seen": own, "seen_ontology": reachable}
    by_word = ("", same, np.eye(len(names), dtype=np.bool_), own)
    by_kin = ("_ontology", is_descendant(names, guesses), is_descendant(names, names), reachable)
    for suffix, right, kin, possible in (by_word, by_kin):
        whole = _f1(counts, right, kin)
        part = _f1(np.where(possible[:, None], counts, 0), right, kin)
        for measure in ("precision", "recall", "f1"):
            table[measure + suffix] = np.where(possible, getattr(part, measure), getattr(whole, measure))
        summary |= {f"accuracy{suffix}": part.accuracy, f"macro_f1{suffix}": _mean(part.f1[possible])}
        summary |= {f"accuracy{suffix}_all": whole.accuracy, f"macro_f1{suffix}_all": _mean(whole.f1)}
    return LabelScores(summary, pd.DataFrame(table), _pairs(counts, names, guesses))


def _f1(counts: NDArray[np.int64], right: NDArray[np.bool_], kin: NDArray[np.bool_]) -> _F1:
    """Score a table of counts.

    Parameters
    ----------
    counts
        (n_labels, n_guesses + 1) cells by true and predicted label; the last column is unknown.
    right
        (n_labels, n_guesses) whether a guess counts as a label.
    kin
        (n_labels, n_labels) whether the second label counts as the first.
    """
    known, n = counts[:, :-1], counts.sum(axis=1)
    hits = (known * right).sum(axis=1)
    wrong = (known * ~right) @ right.T.astype(np.int64)  # cells of the row's label, wrongly given the column's
    misses = (wrong * ~kin.T).sum(axis=0)
    precision = _ratio(hits, hits + misses)
    recall = _ratio(hits, n)
    f1 = _ratio(2 * hits, hits + misses + n)
    return _F1(precision, recall, f1, float(hits.sum() / n.sum()) if n.sum() else float("nan"))


def _ratio(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _pairs(counts: NDArray[np.int64], names: list[str], guesses: list[str]) -> pd.DataFrame:
    row, column = np.nonzero(counts)
    predicted = np.array([*guesses, None], dtype=object)[column]
    return pd.DataFrame({"true": np.array(names, dtype=object)[row], "predicted": predicted, "n": counts[row, column]})
