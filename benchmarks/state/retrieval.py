"""Measure a ranking against the relevance of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LEAST_RELEVANT = 5
"""Rankings with fewer relevant cells are not measured."""
CUTOFFS = (10, 50, 100)


def measure(scores: NDArray[np.floating], relevance: NDArray[np.int8]) -> dict[str, float] | None:
    """Return the measures of one ranking, best score first; `None` with fewer than five relevant cells.

    Cells of relevance -1 are removed before cells are ranked. Those of score NaN, which a method cannot compare, are
    last. Cells of equal score share the mean of the gains at their ranks: the order of cells does not matter.

    - `precision@k`: share of relevant cells among the first k; NaN with fewer than k relevant cells.
    - `R-precision`: the same among the first R, of R relevant cells.
    - `AP`: mean over the relevant cells of the precision at their rank.
    - `nDCG`: sum over the relevant cells of 1 / log2(rank + 1), divided by that of the best ranking.
    """
    kept = relevance >= 0
    gains = _gains(np.nan_to_num(scores[kept], nan=-np.inf), relevance[kept])
    n_relevant = int((relevance[kept] == 1).sum())
    if n_relevant < LEAST_RELEVANT:
        return None
    found, ranks = np.cumsum(gains), np.arange(1, len(gains) + 1)
    discounts = 1 / np.log2(ranks + 1)
    measures = {f"precision@{k}": found[k - 1] / k if n_relevant >= k else np.nan for k in CUTOFFS}
    return measures | {
        "R-precision": found[n_relevant - 1] / n_relevant,
        "AP": (gains * found / ranks).sum() / n_relevant,
        "nDCG": (gains * discounts).sum() / discounts[:n_relevant].sum(),
    }


def _gains(scores: NDArray[np.floating], relevance: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the relevance by rank, of the mean of the cells of equal score."""
    order = np.argsort(-scores, kind="stable")
    _, ties = np.unique(-scores[order], return_inverse=True)
    means = np.bincount(ties, weights=relevance[order]) / np.bincount(ties)
    return means[ties]


def recalls(scores: NDArray[np.floating], relevance: NDArray[np.int8], groups: pd.Series) -> pd.Series:
    """Return for each tissue, or disease, the share of its relevant cells among the first R, of R relevant cells."""
    kept = relevance >= 0
    relevant, names = relevance[kept] == 1, groups.to_numpy()[kept]
    first = np.argsort(-np.nan_to_num(scores[kept], nan=-np.inf), kind="stable")[: int(relevant.sum())]
    found = np.zeros(len(relevant), dtype=bool)
    found[first] = True
    return pd.Series(found[relevant], dtype=float).groupby(names[relevant]).mean()


def table(rankings: Mapping[str, Mapping[str, dict[str, float] | None]]) -> pd.DataFrame:
    """Return the measures of all methods and states, indexed by method and state; missing ones are left out."""
    rows = {
        (method, state): values
        for method, by_state in rankings.items()
        for state, values in by_state.items()
        if values is not None
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["method", "state"])
