"""Checks of the arguments of an index; every message states what was expected, what came and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import check_count, check_recall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from scim._core.types import Ints, Ints32

_CHUNK = 1 << 16  # values that are compared at a time, in cache


def check_matrix(X: ArrayLike, *, what: str, dim: int | None = None) -> NDArray[Any]:
    """Return `X` as a floating (n, dim) array that is not copied; with `dim` given a single row (dim,) is accepted."""
    if hasattr(X, "toarray"):
        msg = f"The {what} must be a dense array, got {type(X).__name__}; pass X.toarray()."
        raise TypeError(msg)
    array = np.asarray(X)
    if array.dtype.char not in "efd":  # comparing names takes longer than some searches
        msg = f"The {what} must be float16, float32, float64, got {array.dtype}; pass X.astype('float32')."
        raise TypeError(msg)
    if dim is not None and array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        msg = f"The {what} must be a matrix (rows, dim), got shape {array.shape}."
        raise ValueError(msg)
    if dim is not None and array.shape[1] != dim:
        remedy = "embed them with the model that the index was built with"
        msg = f"The {what} have {array.shape[1]} columns, the index has {dim}; {remedy}."
        raise ValueError(msg)
    return array


def check_allowed(ids: ArrayLike, *, name: str = "allowed") -> Ints:
    """Return distinct ids, ascending."""
    checked = _check_ids(np.asarray(ids), name, "pass the ids of rows, e.g. index.ids[mask]")
    return checked if is_ascending(checked) else np.unique(checked)  # sorting takes longer than the search itself


def check_wanted(ids: ArrayLike) -> Ints:
    """Return ids of any shape, flattened, in their order."""
    return _check_ids(np.asarray(ids).ravel(), "ids", "pass ids that a query returned")


def is_ascending(values: Ints) -> bool:
    """Return whether each value is larger than the one before."""
    parts = (values[start : start + _CHUNK + 1] for start in range(0, len(values), _CHUNK))
    return all((part[1:] > part[:-1]).all() for part in parts)


def are_within(values: Ints | Ints32, n: int) -> bool:
    """Return whether all values are positions in `n` rows."""
    return not values.size or (int(values.min()) >= 0 and int(values.max()) < n)


def are_starts(starts: Ints, n: int) -> bool:
    """Return whether `n` rows are divided into parts that follow each other, by where each starts and the last ends."""
    return starts.size > 0 and starts[0] == 0 and starts[-1] == n and bool((starts[1:] >= starts[:-1]).all())


def check_ids(ids: ArrayLike | None, n_rows: int) -> Ints:
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


def _check_ids(array: NDArray[Any], name: str, remedy: str) -> Ints:
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        came = f"{array.dtype} of shape {array.shape}"
        msg = f"`{name}` must be a one-dimensional array of integers, got {came}; {remedy}."
        raise TypeError(msg)
    return array.astype(np.int64)


def check_search_params(params: Mapping[str, Any], kind: str, known: tuple[str, ...]) -> None:
    """Refuse search parameters that a kind does not have, and values out of range; `None` is as if not given."""
    unknown = sorted(set(params) - set(known))
    if unknown:
        msg = f"Unknown parameter {unknown[0]!r} of a query of an index of kind {kind!r}; it takes {list(known)}."
        raise TypeError(msg)
    for name, value in params.items():
        if value is None:
            continue
        if name == "ef_search":
            check_count(name, value)
        elif name == "recall":
            check_recall(value)
        elif isinstance(value, bool) or not isinstance(value, int | float | np.number):
            msg = f"`{name}` must be a number, got {value!r}."
            raise TypeError(msg)
        elif not 0 <= value < np.inf:
            msg = f"`{name}` must be finite and at least 0, got {value!r}."
            raise ValueError(msg)
