"""Scores of predicted labels, as words and by the Cell Ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core import check_names
from scim.ontology import ancestors, is_descendant, standardize, term_id, term_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Labels = ArrayLike | pd.Series[Any] | pd.Categorical


class LabelScores(NamedTuple):
    """Scores of predicted labels."""

    summary: dict[str, float]
    """
    `accuracy`, `macro_f1`, `accuracy_ontology`, `macro_f1_ontology` over the labels that could be predicted;
    the same with `_all` over all labels, those that could not be predicted counting as errors;
    `n_cells`; `n_labels_seen` and `n_labels_unseen`; `n_cells_unseen`, cells of the latter; `unknown`, share of the
    cells without a prediction.
    """
    labels: pd.DataFrame
    """
    One row a true label: `label`, `n` cells, `seen`, `precision`, `recall`, `f1`, and the last four with `_ontology`.
    """
    confusion: pd.DataFrame
    """One row a pair that occurs: `true`, `predicted` (missing = unknown), `n` cells."""


def label_scores(true: Labels, predicted: Labels, *, seen: Iterable[str] | None = None) -> LabelScores:
    r"""Compare predicted labels with true ones, as words and by the Cell Ontology.

    With :math:`P_t = TP_t / (TP_t + FP_t)` and :math:`R_t = TP_t / n_t`, macro-F1 is the mean over the *true* labels
    of :math:`F_t = 2 P_t R_t / (P_t + R_t)`, 0 where nothing was predicted right. By words, a prediction is right
    if it names the same term (a name, an id and a synonym are the same).

    By the ontology, a prediction is right if it names the true term or a descendant of it: :math:`TP_t` counts the
    cells of :math:`t` given one of :math:`D_t = \{t\} \cup \mathrm{descendants}(t)`, and :math:`FP_t` the cells given
    one of :math:`D_t` wrongly whose true label is not in :math:`D_t`. An ancestor of the true term is not right: it is
    less specific than the truth.

    Parameters
    ----------
    true
        Label of each cell: Cell Ontology ids or names, or free words. Cells where it is missing are left out.
    predicted
        Predicted label of each cell; missing = unknown, which is never right.
    seen
        Labels that could be predicted, those of the training cells; default: all. Cells of other labels count only in
        the scores with `_all`; by the ontology, cells of labels without a descendant among the seen ones. In the frame
        of labels, their rows are from the comparison of all cells.

    Returns
    -------
    Summary, frame of labels and frame of pairs. A score over no cell is NaN.

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
    true_terms, predicted_terms = standardize(true), standardize(predicted)
    if (n := len(true_terms)) != len(predicted_terms):
        msg = f"true and predicted must be as long as each other, got {n} and {len(predicted_terms)} labels."
        raise ValueError(msg)
    labelled = pd.notna(true_terms)
    if not labelled.any():
        msg = "No cell has a true label; expected at least one that is not missing."
        raise ValueError(msg)
    true_codes, names = pd.factorize(true_terms[labelled], sort=True)
    predicted_codes, predicted_names = pd.factorize(predicted_terms[labelled], sort=True)
    counts = np.zeros((len(names), len(predicted_names) + 1), dtype=np.int64)  # the last column: unknown, code -1
    np.add.at(counts, (true_codes, predicted_codes), 1)
    trained = list(names) if seen is None else sorted(set(standardize(list(seen))) - {None})
    return _scores(counts, list(names), list(predicted_names), trained)


def _scores(counts: NDArray[np.int64], names: list[str], predicted: list[str], trained: list[str]) -> LabelScores:
    is_seen = np.isin(names, trained)
    reachable: NDArray[np.bool_] = np.any(is_descendant(names, trained), axis=1)
    same = np.array(names, dtype=object)[:, None] == np.array(predicted, dtype=object)
    n = counts.sum(axis=1)
    summary: dict[str, float] = {"n_cells": int(n.sum()), "n_labels_seen": int(is_seen.sum())}
    summary |= {"n_labels_unseen": int((~is_seen).sum()), "n_cells_unseen": int(n[~is_seen].sum())}
    summary["unknown"] = float(counts[:, -1].sum() / n.sum())
    table: dict[str, Any] = {"label": names, "n": n, "seen": is_seen, "seen_ontology": reachable}
    by_word = ("", same, np.eye(len(names), dtype=np.bool_), is_seen)
    by_ontology = ("_ontology", is_descendant(names, predicted), is_descendant(names, names), reachable)
    for suffix, right, includes, possible in (by_word, by_ontology):
        whole, accuracy_all = _f1(counts, right, includes)
        part, accuracy = _f1(np.where(possible[:, None], counts, 0), right, includes)
        for measure, values in part.items():
            table[measure + suffix] = np.where(possible, values, whole[measure])
        summary |= {f"accuracy{suffix}": accuracy, f"macro_f1{suffix}": _mean(part["f1"][possible])}
        summary |= {f"accuracy{suffix}_all": accuracy_all, f"macro_f1{suffix}_all": _mean(whole["f1"])}
    row, column = np.nonzero(counts)
    given, predictions = np.array(names, dtype=object)[row], np.array([*predicted, None], dtype=object)[column]
    confusion = pd.DataFrame({"true": given, "predicted": predictions, "n": counts[row, column]})
    return LabelScores(summary, pd.DataFrame(table), confusion)


def _f1(
    counts: NDArray[np.int64], right: NDArray[np.bool_], includes: NDArray[np.bool_]
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return precision, recall and F1 of each label, and the accuracy.

    `counts` are cells by true and predicted label, the last column unknown; `right`: whether a predicted label is right
    for a true one; `includes`, (n_labels, n_labels): whether cells of the second label are cells of the first.
    """
    known, n = counts[:, :-1], counts.sum(axis=1)
    hits = (known * right).sum(axis=1)
    wrong = (known * ~right) @ right.T.astype(np.int64)  # cells of the row's label, wrongly given the column's
    misses = (wrong * ~includes.T).sum(axis=0)
    scores = {"precision": _ratio(hits, hits + misses), "recall": _ratio(hits, n)}
    scores["f1"] = _ratio(2 * hits, hits + misses + n)
    return scores, float(hits.sum() / n.sum()) if n.sum() else float("nan")


def _ratio(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def level_terms(name: str, levels: Sequence[str]) -> list[str]:
    """Return the Cell Ontology ids of the ids or names of an argument; ValueError if one is no term of it."""
    terms = {label: term_id(label) for label in check_names(name, levels)}
    unknown = [label for label, term in terms.items() if term is None]
    if unknown:
        msg = f"{name} must be ids or names of the Cell Ontology, like 'CL:0000084' or 'T cell'; unknown: {unknown}."
        raise ValueError(msg)
    return [term for term in terms.values() if term is not None]


def roll_up(labels: NDArray[np.object_], levels: Sequence[str]) -> NDArray[np.object_]:
    """Return for each standardised label the most specific level at or above it, or the label itself."""
    if not levels:
        return labels
    deepest = sorted(levels, key=lambda term: -len(ancestors(term)))
    column = pd.Series(labels)
    names = {}
    for label in column.dropna().unique():
        term = term_id(label)
        lineage = frozenset[str]() if term is None else ancestors(term) | {term}
        names[label] = next((term_name(level) for level in deepest if level in lineage), label)
    out = column.map(names).to_numpy(dtype=object, copy=True)
    out[column.isna()] = None
    return out
