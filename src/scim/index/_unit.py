"""Rows scaled to unit length, which is all that an index keeps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unit_rows(
    X: NDArray[Any], *, what: str, first: int = 0, names: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the rows scaled to unit length, C-contiguous; rows of zeros stay.

    In errors the rows are numbered from `first` on, or by `names`.
    """
    rows = np.ascontiguousarray(X, dtype=np.float64 if X.dtype == np.float64 else np.float32)
    out = np.empty(rows.shape, dtype=np.float32)
    bad = np.zeros(len(rows), dtype=np.bool_)
    if scale(rows, out, bad):
        at = int(np.argmax(bad))
        row = first + at if names is None else names[at]
        msg = f"{bad.sum()} of {len(rows)} {what} hold NaN or infinity, the first is row {row}; leave them out."
        raise ValueError(msg)
    return out


@njit
def scale(rows: NDArray[Any], out: NDArray[np.float32], bad: NDArray[np.bool_]) -> int:
    """Write the rows scaled to unit length, flag those that are not finite, and return how many those are."""
    n_bad = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        largest, nothing = 0.0, 0.0
        for d in range(row.shape[0]):
            largest = max(largest, abs(np.float64(row[d])))
            nothing += np.float64(row[d]) * 0.0  # NaN as soon as one entry is not finite
        if nothing != 0.0:
            bad[i] = True
            n_bad += 1
            continue
        # Scaled by the largest entry first: squares of very large or very small numbers would over- or underflow.
        total = 0.0
        factor = 1.0 / largest if largest > 0 else 0.0
        huge = factor * largest != 1.0  # the reciprocal itself over- or underflows
        for d in range(row.shape[0]):
            value = np.float64(row[d]) / largest if huge and largest > 0 else np.float64(row[d]) * factor
            total += value * value
        length = 1.0 / np.sqrt(total) if total > 0 else 0.0
        for d in range(row.shape[0]):
            value = np.float64(row[d]) / largest if huge and largest > 0 else np.float64(row[d]) * factor
            out[i, d] = value * length
    return n_bad
