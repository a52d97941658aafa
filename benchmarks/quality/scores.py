"""Score predictions by the Cell Ontology."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

import scim
from scim.training.evaluation import label_scores

if TYPE_CHECKING:
    import numpy as np

LEAST_CELLS = 5
"""Classes with fewer cells in the query do not count."""


class Scores(NamedTuple):
    """Scores over the cells whose class, or a descendant of it, is in the training."""

    accuracy: float
    macro_f1: float
    f1: dict[str, float]  # by class
    n_cells: int
    unknown: float  # share of cells without a label


def score(truth: pd.Series, predicted: np.ndarray, trained: set[str]) -> Scores:
    """Compare predictions with the truth: the true term or a descendant is right; unknown ("") is wrong."""
    seen = trained.union(*(scim.ontology.ancestors(term) for term in trained))
    sizes = truth.value_counts()
    rows = truth.isin(sizes.index[(sizes >= LEAST_CELLS) & sizes.index.isin(seen)]).to_numpy()
    predictions = pd.Series(predicted[rows], dtype=object).replace("", None)
    summary, labels, _ = label_scores(truth[rows], predictions)
    f1 = dict(zip(labels["label"], labels["f1_ontology"].astype(float), strict=True))
    values = summary["accuracy_ontology"], summary["macro_f1_ontology"]
    return Scores(*values, f1, summary["n_cells"], summary["unknown"])
