"""Values that no matrix of counts has, and rows that are not as a matrix is stored: refused before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import CountsError, FormatError, logger
from scim.io.cells import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

MOST_COUNT = 2.0**31
_FEW_ROWS, _MANY_ROWS = 0.01, 10  # share of rows out of order, and rows, at which it is no chance


def refuse_bad_values(values: NDArray[Any], source: str) -> None:
    """Raise CountsError for values that are not finite, negative, or larger than any count."""
    if values.size == 0:
        return
    lowest, largest = values.min(), values.max()
    if np.isnan(lowest) or not np.isfinite(largest):
        msg = f"{source} has NaN or infinite values"
        raise CountsError(msg)
    if lowest < 0:
        msg = f"{source} has negative values (lowest {lowest:.3g}); it looks scaled, and scaling cannot be undone"
        raise CountsError(msg)
    if largest >= MOST_COUNT:
        msg = f"{source} has values up to {largest:.3g}, more than any count; it is damaged, or no matrix of counts"
        raise CountsError(msg)


def one_value_each(rows: sparse.csr_matrix, source: str) -> sparse.csr_matrix:
    """Return rows in which a column has one value; those in parts are added up, and the log says so.

    A matrix has all its rows in order, or hardly any. A few that are not were damaged: FormatError.
    """
    part = canonical(rows)
    if part is rows:
        return rows
    descends = np.append(rows.indices[1:] <= rows.indices[:-1], False)
    descends[rows.indptr[1:][np.diff(rows.indptr) > 0] - 1] = False  # from the last of a row to the next row
    wrong = np.unique(np.searchsorted(rows.indptr, np.flatnonzero(descends), side="right") - 1)
    if rows.shape[0] >= _MANY_ROWS and wrong.size <= max(1, _FEW_ROWS * rows.shape[0]):
        msg = f"{source} is damaged: the columns of {wrong.size} of {rows.shape[0]} rows are not in order, or one is "
        msg += "there twice. Read it again from its source; if it is right, call adata.X.sum_duplicates()."
        raise FormatError(msg)
    if part.nnz < rows.nnz:
        logger.warning("%s has cells with several values for one column; they are added up", source)
    return part


def is_whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are whole, but for rounding errors."""
    return np.asarray(np.abs(values - np.round(values)) <= np.clip(1e-6 * values, 1e-5, 0.01))


def fractions_among_counts(values: NDArray[Any], most: float = np.inf) -> str:
    """Return what is wrong if some, and at most so many, of values that else are counts are not whole; else ""."""
    if np.array_equal(np.rint(values), values):  # most often, and found in a third of the time
        return ""
    wrong = values[~is_whole(values)]
    if not 0 < wrong.size <= most:
        return ""
    return (
        f"has {wrong.size} of {values.size} values that are not whole, as {wrong[0]:.6g}, among counts: it is damaged, "
        "or of mixed origin. If the values are right, name transform='none'"
    )
