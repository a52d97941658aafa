"""Label transfer by the package's rule, with its statistics for each cell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim.label_transfer._votes import count_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index import Neighbors


def predict(
    neighbors: Neighbors, labels: NDArray[np.int32], names: NDArray[np.object_], *, weighting: bool
) -> tuple[pd.Series[str], pd.DataFrame]:
    """Return the label with most votes of each cell, and the statistics of the votes.

    Parameters
    ----------
    neighbors
        The neighbours of each cell.
    labels
        (n, k) their label codes; -1 = no neighbour.
    names
        (n_labels,) names of the labels.
    weighting
        Whether the label has the greatest sum of 1 / max(d, 1e-6), and not the greatest count.
    """
    label_codes, counts, weights = count_labels(neighbors.distances, labels)
    best = (weights if weighting else counts).argmax(axis=1)
    codes = label_codes[np.arange(len(best)), best]
    predicted = np.where(codes >= 0, names[codes], None) if len(names) else np.full(len(codes), None)
    quoted = [json.dumps(str(name)) for name in names]
    inside = neighbors.ids >= 0
    has_neighbors: NDArray[np.bool_] = np.any(inside, axis=1)
    farthest = np.where(inside, neighbors.distances, 0).max(axis=1)
    stats = {
        "hits": _as_json(label_codes, counts, quoted),
        "hits_weighted": _as_json(label_codes, weights, quoted),
        "min_dist": np.where(has_neighbors, neighbors.distances[:, 0], np.float32(np.nan)),
        "max_dist": np.where(has_neighbors, farthest, np.float32(np.nan)),
    }
    stats |= _shares(counts, "") | _shares(weights, "_weighted")
    return pd.Series(predicted, dtype=object), pd.DataFrame(stats)


def _shares(votes: NDArray[np.float64], suffix: str) -> dict[str, NDArray[np.float64]]:
    """Return best / (best + second) and best / all of the votes of each cell."""
    two = np.partition(votes, -2, axis=1)[:, -2:] if votes.shape[1] > 1 else np.pad(votes, ((0, 0), (1, 0)))
    second, best = two.T
    with np.errstate(invalid="ignore"):
        return {f"vs2nd{suffix}": best / (best + second), f"vsAll{suffix}": best / votes.sum(axis=1)}


def _as_json(codes: NDArray[np.int32], votes: NDArray[np.float64], quoted: list[str]) -> list[str]:
    """Return `{"label": votes, ...}` for each row, labels in the order of their nearest member."""
    texts = []
    for row_codes, row_votes in zip(codes.tolist(), votes.tolist(), strict=True):
        pairs = [f"{quoted[code]}: {vote!r}" for code, vote in zip(row_codes, row_votes, strict=True) if code >= 0]
        texts.append("{" + ", ".join(pairs) + "}")
    return texts
