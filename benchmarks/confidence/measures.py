"""Measure confidences: calibration error, ranking of known and unknown cells, and selective risk."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

import scim

N_BINS = 15
MOST_ERRORS = 0.1
STEPS = 100


class Scored(NamedTuple):
    """Scored predictions of one test, of the cells whose type is in the training."""

    confidence: np.ndarray
    right: np.ndarray
    """Whether the label is the true term or a descendant."""
    broader: np.ndarray
    """Whether the label is an ancestor of the true term."""
    labelled: np.ndarray
    """Whether the cell has a label."""


def score_predictions(truth: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> Scored:
    """Compare labels with the truth by the Cell Ontology; "" is unknown."""
    pairs = pd.MultiIndex.from_arrays([truth.astype(str), labels.astype(str)])
    codes, distinct = pairs.factorize()
    ancestors = {term: scim.ontology.ancestors(term) if term else frozenset() for pair in distinct for term in pair}
    right = np.array([label == true or true in ancestors[label] for true, label in distinct], dtype=bool)
    broader = np.array([label in ancestors[true] for true, label in distinct], dtype=bool)
    return Scored(np.asarray(confidence, dtype=float), right[codes], broader[codes], labels.astype(str) != "")


def bins(tests: list[Scored], weights: list[float]) -> pd.DataFrame:
    """Return 15 equal bins of confidence with `weight` (sum 1), `confidence` and `right` of several tests.

    The weights of the cells of a test sum to the weight of the test.
    """
    p = np.concatenate([test.confidence for test in tests])
    right = np.concatenate([test.right for test in tests])
    sizes = [len(test.right) for test in tests]
    weight = np.repeat(np.array(weights) / sizes, sizes)
    at = np.clip((p * N_BINS).astype(int), 0, N_BINS - 1)
    total = np.bincount(at, weight, N_BINS)
    with np.errstate(invalid="ignore"):
        sums = {"confidence": np.bincount(at, weight * p, N_BINS), "right": np.bincount(at, weight * right, N_BINS)}
        return pd.DataFrame({"weight": total / total.sum()} | {name: value / total for name, value in sums.items()})


def calibration_error(predictions: Scored) -> float:
    """Return the mean gap between confidence and share of right labels, over 15 equal bins."""
    table = bins([predictions], [1.0]).dropna()
    return float((table["weight"] * (table["right"] - table["confidence"]).abs()).sum())


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the probability that a known cell has a higher score than an unknown one; ties count half."""
    ranks = rankdata(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def threshold(studies: list[Scored]) -> float:
    """Return the confidence above which at most a tenth of the labels is wrong, with equal weights of the studies."""
    errors = np.zeros(STEPS + 1)
    for step in range(STEPS + 1):
        passes = [study.confidence >= step / STEPS for study in studies]
        labelled = sum(rows.mean() for rows in passes)
        wrong = sum((rows & ~study.right).mean() for rows, study in zip(passes, studies, strict=True))
        errors[step] = wrong / labelled if labelled else 0.0
    too_many = np.flatnonzero(errors > MOST_ERRORS)
    return 0.0 if too_many.size == 0 else (too_many[-1] + 1) / STEPS


def selective(predictions: Scored) -> dict[str, float]:
    """Return the shares of cells with a label, a right label, an ancestor of the true term, and a wrong label."""
    _, right, broader, labelled = predictions
    parts = {"coverage": labelled, "right": right, "above": broader, "wrong": labelled & ~right & ~broader}
    return {name: float(rows.mean()) for name, rows in parts.items()}


def at_least(predictions: Scored, confidence: float) -> Scored:
    """Return the predictions without the labels below a confidence."""
    labelled = predictions.labelled & (predictions.confidence >= confidence)
    return Scored(predictions.confidence, predictions.right & labelled, predictions.broader & labelled, labelled)
