"""Compute the true neighbours by brute force, and the recall of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from data import Data
    from numpy.typing import NDArray

_CHUNK = 250_000
_ROUNDING = 5e-7  # of a float32 dot product of unit rows: a row that ties with the k-th counts as a true neighbour


def thresholds(
    folder: Path, data: Data, n_queries: int, k: int, filter_: tuple[str, NDArray[np.bool_]] | None = None
) -> NDArray[np.float32]:
    """Return the similarity of the `k`-th nearest (passing) row of each of the first queries; cache it in a file."""
    name, mask = filter_ or ("all", None)
    path = folder / "truth" / f"{data.name}-{n_queries}-{k}-{name.replace(' ', '_')}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, _kth(data.base, data.queries[:n_queries], k, mask))
    return np.load(path)


def _kth(
    base: NDArray[np.float32], X: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    import faiss  # noqa: PLC0415  (timed processes read the file, and load no second OpenMP)

    best = np.empty((len(X), 0), dtype=np.float32)
    for start in range(0, len(base), _CHUNK):
        part = np.asarray(base[start : start + _CHUNK])
        part = part if mask is None else part[mask[start : start + _CHUNK]]
        if len(part):
            near, _ = faiss.knn(X, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
            best = -np.sort(-np.concatenate([best, near], axis=1), axis=1)[:, :k]
    return best[:, -1] if best.shape[1] else np.full(len(X), np.inf, dtype=np.float32)


def recall(data: Data, ids: NDArray[np.int64], kth: NDArray[np.float32], n_right: int) -> float:
    """Return the recall of the `n_right` true neighbours per query; duplicates count once."""
    if n_right == 0:
        return 1.0
    found = 0
    for query, neighbours, least in zip(data.queries, ids, kth, strict=False):
        rows = np.unique(neighbours[neighbours >= 0])
        found += min(n_right, int((data.base[rows] @ query >= least - _ROUNDING).sum()))
    return found / (len(ids) * n_right)


def right_count(ids: NDArray[np.int64], mask: NDArray[np.bool_], n_right: int) -> float:
    """Return the share of results with `n_right` distinct rows that all pass."""
    distinct = (np.unique(neighbours[neighbours >= 0]) for neighbours in ids)
    return float(np.mean([len(rows) == n_right and bool(mask[rows].all()) for rows in distinct]))
