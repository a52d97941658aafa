"""Checks of what comes from outside; every message says what was expected, what came and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_FLOATS = ("float16", "float32", "float64")
_CHARS = "efd"  # the same, as numpy abbreviates them: their names take longer to find than some searches


def check_matrix(X: ArrayLike, *, what: str, dim: int | None = None) -> NDArray[Any]:
    """Return `X` as a floating (n, dim) array that is not copied; with `dim` given a single row (dim,) will do."""
    if hasattr(X, "toarray"):
        msg = f"The {what} must be a dense array, got {type(X).__name__}; pass X.toarray()."
        raise TypeError(msg)
    array = np.asarray(X)
    if array.dtype.char not in _CHARS:
        msg = f"The {what} must be {', '.join(_FLOATS)}, got {array.dtype}; pass X.astype('float32')."
        raise TypeError(msg)
    if dim is not None and array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        msg = f"The {what} must be a matrix (rows, dim), got shape {array.shape}."
        raise ValueError(msg)
    if dim is not None and array.shape[1] != dim:
        msg = (
            f"The {what} have {array.shape[1]} columns, the index has {dim}; "
            "embed them with the model that the index was built with."
        )
        raise ValueError(msg)
    return array


def check_allowed(ids: ArrayLike, *, name: str = "allowed") -> NDArray[np.int64]:
    """Return distinct ids, ascending."""
    array = np.asarray(ids)
    if array.ndim == 1 and array.size == 0:
        return np.empty(0, dtype=np.int64)
    some = _check_ids(array, name, "pass the ids of rows, e.g. index.ids[mask]")
    return some if (some[1:] > some[:-1]).all() else np.unique(some)  # sorting takes longer than the search itself


def check_wanted(ids: ArrayLike) -> NDArray[np.int64]:
    """Return ids of any shape as they come, one behind the other."""
    array = np.asarray(ids).ravel()
    return array.astype(np.int64) if array.size == 0 else _check_ids(array, "ids", "pass ids that a query answered")


def check_ids(ids: ArrayLike | None, n_rows: int) -> NDArray[np.int64]:
    """Return one id a row, distinct and not negative; 0 ... n - 1 when none are given."""
    if ids is None:
        return np.arange(n_rows, dtype=np.int64)
    array = _check_ids(np.asarray(ids), "ids", "pass one integer a row, or leave `ids` out")
    if len(array) != n_rows:
        msg = f"`ids` has {len(array)} values for {n_rows} rows; pass one id a row."
        raise ValueError(msg)
    if array.size and array.min() < 0:
        msg = f"`ids` must not be negative (-1 means missing), got {array.min()} among others."
        raise ValueError(msg)
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        repeated = values[counts > 1]
        msg = f"`ids` must be distinct; {len(repeated)} occur more than once, the first is {repeated[0]}."
        raise ValueError(msg)
    return array


def _check_ids(array: NDArray[Any], name: str, remedy: str) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        msg = (
            f"`{name}` must be a one-dimensional array of integers, got {array.dtype} of shape {array.shape}; {remedy}."
        )
        raise TypeError(msg)
    return array.astype(np.int64)


def check_distance(max_distance: float) -> float:
    """Return a cosine distance."""
    if isinstance(max_distance, bool) or not isinstance(max_distance, int | float | np.number):
        msg = f"max_distance must be a number, got {max_distance!r}."
        raise TypeError(msg)
    if not 0 <= max_distance <= 2:
        msg = f"max_distance must be a cosine distance, 0 to 2, got {max_distance}."
        raise ValueError(msg)
    return float(max_distance)


def check_known(what: str, names: list[str], known: list[str]) -> list[str]:
    """Return names that all exist."""
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"`{what}`: the index has no {unknown}. Present: {known}."
        raise KeyError(msg)
    return names
