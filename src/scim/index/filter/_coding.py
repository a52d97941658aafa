"""Code a column: its distinct values in order, and for each row the position of its value among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import numpy as np
import pandas as pd
from pandas.api import types as is_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind: TypeAlias = Literal["text", "number", "bool"]

CODE_TYPES = (np.uint8, np.uint16, np.uint32)

_INFERRED: dict[str, Kind] = {"string": "text", "empty": "text", "boolean": "bool"}
_INFERRED |= dict.fromkeys(("integer", "floating", "mixed-integer-float"), "number")
_ROWS = 1 << 18  # recoded at a time: numpy makes 8 bytes of every code that it looks up


def code_values(
    name: str, values: pd.Series | pd.Categorical | NDArray[Any] | Sequence[Any]
) -> tuple[Kind, NDArray[Any], NDArray[Any]]:
    """Return the kind of the values of a column, their codes, and the distinct values.

    Codes (n_rows,) are uint8, uint16 or uint32, positions in the ascending values (n_values,); n_values is missing.
    """
    array = _as_array(name, values)
    if isinstance(array, pd.Categorical):
        old = array.codes
        kind, distinct = _typed(name, _as_array(name, array.categories))
        present = np.zeros(distinct.size + 1, dtype=np.bool_)
        for start in range(0, old.size, _ROWS):
            present[old[start : start + _ROWS]] = True  # -1 is the position behind the last
        used = present[:-1] & ~pd.isna(distinct)
    else:
        _kind(name, array)  # before factorize, which takes 1 and True as equal and fails on lists
        old, uniques = pd.factorize(array)
        kind, distinct = _typed(name, uniques)
        used = ~pd.isna(distinct)
    order = _in_order(distinct, np.flatnonzero(used))
    new = np.full(distinct.size + 1, order.size, dtype=code_type(order.size))
    new[order] = np.arange(order.size)
    codes = np.empty(old.size, dtype=new.dtype)
    for start in range(0, old.size, _ROWS):
        codes[start : start + _ROWS] = new[old[start : start + _ROWS]]
    return kind, codes, distinct[order]


def code_type(n_values: int) -> type[np.unsignedinteger[Any]]:
    """Return the smallest type that has a code for each value and one for missing."""
    return next(kind for kind in CODE_TYPES if n_values <= np.iinfo(kind).max)


def _in_order(distinct: NDArray[Any], positions: NDArray[np.intp]) -> NDArray[np.intp]:
    if distinct.dtype != object:
        return positions[np.argsort(distinct[positions])]
    # Python sorts text more than twice as fast as numpy sorts objects.
    return np.array(sorted(positions.tolist(), key=distinct.tolist().__getitem__), dtype=np.intp)


def _as_array(name: str, values: Any) -> Any:
    """Return a one-dimensional numpy or pandas array."""
    if isinstance(values, pd.Series | pd.Index):
        values = values.array
    if isinstance(values, pd.arrays.NumpyExtensionArray):
        values = values.to_numpy()
    elif not isinstance(values, np.ndarray | pd.api.extensions.ExtensionArray):
        values = np.asarray(values, dtype=object)  # numpy makes floats of [1, None], and text of [1, "a"]
    if values.ndim != 1:
        _refuse(name, f"an array of shape {values.shape}")
    if not isinstance(values, np.ndarray):
        return values
    if values.dtype.kind == "U":
        return values.astype(object)
    # pandas has no factorize for float16, nor for numbers in the byte order of another machine.
    return values.astype(np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("="), copy=False)


def _kind(name: str, array: Any) -> Kind:
    dtype = array.dtype
    if is_.is_bool_dtype(dtype):
        return "bool"
    if is_.is_integer_dtype(dtype) or (is_.is_float_dtype(dtype) and getattr(dtype, "itemsize", 8) <= 8):
        return "number"
    inferred = is_.infer_dtype(array, skipna=True)
    if inferred not in _INFERRED:
        _refuse(name, f"{dtype} ({inferred})")
    return _INFERRED[inferred]


def _typed(name: str, distinct: Any) -> tuple[Kind, NDArray[Any]]:
    """Return distinct values as text, int64, float64 or bool."""
    kind = _kind(name, distinct)
    missing = np.asarray(pd.isna(distinct))
    if missing.any():  # not-a-number in a nullable column
        return kind, np.asarray(distinct.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind == "text":
        return kind, np.array([str(value) for value in distinct], dtype=object)
    array = np.asarray(distinct)
    if kind == "bool":
        return kind, array.astype(np.bool_)
    if is_.infer_dtype(array) != "integer":
        return kind, array.astype(np.float64)
    try:
        whole = array.astype(np.int64)
    except OverflowError:
        _refuse(name, "whole numbers beyond int64")
    if (whole != array).any():
        _refuse(name, "whole numbers beyond int64")
    return kind, whole


def _refuse(name: str, came: str) -> NoReturn:
    remedy = "Convert it first, for example with .astype(str), or leave it out."
    msg = f"Column {name!r} holds {came}; expected text, a categorical, bool, int or float. {remedy}"
    raise TypeError(msg)
