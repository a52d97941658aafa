"""How good confidences are: how far they are from shares of right answers, and how they rank known and unknown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

import scim

N_BINS = 15
MOST_ERRORS = 0.1
STEPS = 100


class Judged(NamedTuple):
    """Answers to one test, of the cells whose type the training has."""

    confidence: np.ndarray
    right: np.ndarray
    """Whether the answer is the true term or one below it."""
    broader: np.ndarray
    """Whether it is one above it."""
    said: np.ndarray
    """Whether there is an answer."""


def judged(truth: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> Judged:
    """Compare answers with the truth by the Cell Ontology; "" is no answer."""
    pairs = pd.MultiIndex.from_arrays([truth.astype(str), labels.astype(str)])
    codes, each = pairs.factorize()
    above = {term: scim.ontology.ancestors(term) if term else frozenset() for pair in each for term in pair}
    right = np.array([label == true or true in above[label] for true, label in each], dtype=bool)
    broader = np.array([label in above[true] for true, label in each], dtype=bool)
    return Judged(np.asarray(confidence, dtype=float), right[codes], broader[codes], labels.astype(str) != "")


def bins(judged: list[Judged], weights: list[float]) -> pd.DataFrame:
    """Return 15 equal bins of confidence with `weight` (sum 1), `confidence` and `right` of several tests.

    The cells of a test have its weight together.
    """
    p = np.concatenate([each.confidence for each in judged])
    right = np.concatenate([each.right for each in judged])
    sizes = [len(each.right) for each in judged]
    weight = np.repeat(np.array(weights) / sizes, sizes)
    at = np.clip((p * N_BINS).astype(int), 0, N_BINS - 1)
    total = np.bincount(at, weight, N_BINS)
    with np.errstate(invalid="ignore"):
        sums = {"confidence": np.bincount(at, weight * p, N_BINS), "right": np.bincount(at, weight * right, N_BINS)}
        return pd.DataFrame({"weight": total / total.sum()} | {name: value / total for name, value in sums.items()})


def calibration_error(judged: Judged) -> float:
    """Return the mean gap between confidence and share of right answers, over 15 equal bins."""
    table = bins([judged], [1.0]).dropna()
    return float((table["weight"] * (table["right"] - table["confidence"]).abs()).sum())


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return how often a known cell has a higher score than an unknown one; ties count half."""
    ranks = rankdata(np.concatenate([known, unknown]))[: len(known)]
    return float((ranks.sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def threshold(studies: list[Judged]) -> float:
    """Return the confidence from which on at most a tenth of the answers is wrong, studies counting alike."""
    errors = np.zeros(STEPS + 1)
    for step in range(STEPS + 1):
        passes = [each.confidence >= step / STEPS for each in studies]
        answered = sum(rows.mean() for rows in passes)
        wrong = sum((rows & ~each.right).mean() for rows, each in zip(passes, studies, strict=True))
        errors[step] = wrong / answered if answered else 0.0
    too_many = np.flatnonzero(errors > MOST_ERRORS)
    return 0.0 if too_many.size == 0 else (too_many[-1] + 1) / STEPS


def selective(judged: Judged) -> dict[str, float]:
    """Return the shares of cells that are answered, rightly, by a term above the true one, and wrongly."""
    parts = {"answered": judged.said, "right": judged.right, "above": judged.broader}
    return {name: float(rows.mean()) for name, rows in parts.items()} | {
        "wrong": float((judged.said & ~judged.right & ~judged.broader).mean())
    }


def only(judged: Judged, least: float) -> Judged:
    """Return the answers with those below a confidence taken back."""
    said = judged.said & (judged.confidence >= least)
    return Judged(judged.confidence, judged.right & said, judged.broader & said, said)
