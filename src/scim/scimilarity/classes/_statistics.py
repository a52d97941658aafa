"""The whole vote of each cell as the frame that `CellAnnotation` returns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim.label_transfer import totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index import Neighbors


def vote(
    found: Neighbors, labels: NDArray[np.int32], names: NDArray[np.object_], *, weighting: bool
) -> tuple[pd.Series[str], pd.DataFrame]:
    """Return the label with most votes, and what the votes were.

    Parameters
    ----------
    found
        The neighbours.
    labels
        (n, k) their label codes; -1 = no neighbour.
    names
        (n_labels,).
    weighting
        Whether the label is that of the greatest sum of 1 / max(d, 1e-6), and not of the greatest count.

    Returns
    -------
    predictions
        Labels; missing for a cell without neighbours.
    stats
        `hits`, `hits_weighted`, `min_dist`, `max_dist`, `vs2nd`, `vsAll`, `vs2nd_weighted`, `vsAll_weighted`.
    """
    votes = totals(found.distances, labels)
    winner = (votes.sums if weighting else votes.counts).argmax(axis=1)
    codes = votes.codes[np.arange(len(winner)), winner]
    predicted = np.where(codes >= 0, names[codes], None) if len(names) else np.full(len(codes), None)
    quoted = [json.dumps(str(name)) for name in names]
    inside = found.ids >= 0
    any_inside: NDArray[np.bool_] = np.any(inside, axis=1)
    stats = pd.DataFrame(
        {
            "hits": _as_json(votes.codes, votes.counts, quoted),
            "hits_weighted": _as_json(votes.codes, votes.sums, quoted),
            "min_dist": np.where(any_inside, found.distances[:, 0], np.float32(np.nan)),
            "max_dist": np.where(any_inside, np.where(inside, found.distances, 0).max(axis=1), np.float32(np.nan)),
        }
    )
    for suffix, sums in (("", votes.counts), ("_weighted", votes.sums)):
        best, second = _two_best(sums)
        with np.errstate(invalid="ignore"):
            stats[f"vs2nd{suffix}"] = best / (best + second)
            stats[f"vsAll{suffix}"] = best / sums.sum(axis=1)
    order = ["vs2nd", "vsAll", "vs2nd_weighted", "vsAll_weighted"]
    return pd.Series(predicted, dtype=object), stats[[*stats.columns[:4], *order]]


def _two_best(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if sums.shape[1] == 1:
        return sums[:, 0], np.zeros(len(sums))
    two = np.partition(sums, -2, axis=1)[:, -2:]
    return two[:, 1], two[:, 0]


def _as_json(codes: NDArray[np.int32], sums: NDArray[np.float64], quoted: list[str]) -> list[str]:
    """Return `{"label": votes, ...}` for each row, labels in the order of their nearest member."""
    texts = []
    for row, values in zip(codes.tolist(), sums.tolist(), strict=True):
        parts = [f"{quoted[code]}: {value!r}" for code, value in zip(row, values, strict=True) if code >= 0]
        texts.append("{" + ", ".join(parts) + "}")
    return texts
