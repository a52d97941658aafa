"""The exact nearest cells, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUERIES, _ROWS = 512, 16_384
"""Cosines that are held at a time: 32 MB."""
_MARGIN = 16
"""Cells shortlisted in single precision beyond k; they are measured again in double precision."""


def nearest(
    X: NDArray[np.float32],
    rows: NDArray[np.float32],
    k: int,
    *,
    apart: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return cosine distances and positions of the nearest rows, nearest first, ties by position.

    Of more than 16 rows that are as near as the k-th in single precision, it may be any.

    Parameters
    ----------
    X
        Unit queries (n, dim).
    rows
        Unit rows (n_rows, dim).
    k
        How many.
    apart
        Groups of the queries (n,) and of the rows (n_rows,): rows of the query's own group are passed over.

    Returns
    -------
    (n, k) each; `inf` and -1 where there are fewer.
    """
    distances = np.full((len(X), k), np.inf, dtype=np.float32)
    ids = np.full((len(X), k), -1, dtype=np.int64)
    for start in range(0, len(X), _QUERIES):
        some = slice(start, start + _QUERIES)
        own = None if apart is None else (torch.as_tensor(apart[0][some]), torch.as_tensor(apart[1]))
        short, real = _shortlist(torch.from_numpy(X[some]), torch.from_numpy(rows), k + _MARGIN, own)
        exact = 1 - np.einsum("nd,nmd->nm", X[some].astype(np.float64), rows[short].astype(np.float64))
        found = np.where(real, np.clip(exact, 0, 2), np.inf).astype(np.float32)
        order = np.lexsort((short, found), axis=1)[:, :k]
        here = some, slice(order.shape[1])
        distances[here] = np.take_along_axis(found, order, axis=1)
        ids[here] = np.take_along_axis(np.where(real, short, -1), order, axis=1)
    return distances, ids


def _shortlist(
    X: torch.Tensor, rows: torch.Tensor, m: int, own: tuple[torch.Tensor, torch.Tensor] | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return positions of the m rows of largest cosine, and which of them are real."""
    best, which = torch.empty(len(X), 0), torch.empty(len(X), 0, dtype=torch.int64)
    for start in range(0, len(rows), _ROWS):
        scores = X @ rows[start : start + _ROWS].T
        if own is not None:
            scores.masked_fill_(own[0][:, None] == own[1][None, start : start + _ROWS], -torch.inf)
        some, place = torch.topk(scores, min(m, scores.shape[1]), dim=1)
        best, which = torch.cat([best, some], dim=1), torch.cat([which, place + start], dim=1)
        best, place = torch.topk(best, min(m, best.shape[1]), dim=1)
        which = which.gather(1, place)
    return which.numpy(), torch.isfinite(best).numpy()
