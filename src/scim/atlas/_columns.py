"""Columns of `obs`, from pandas to the few types that an atlas keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from pandas.api import types as is_

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = pa.large_string()
_PANDAS = {pa.bool_(): "boolean", pa.int64(): "Int64", pa.float64(): "Float64", TEXT: "object"}


def arrow_type(column: pd.Series) -> pa.DataType:
    """Return the type in which an atlas keeps a column: text, bool, int64 or float64.

    Raises
    ------
    TypeError
        The column mixes types, or holds something else.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.cat.categories)
    if is_.is_bool_dtype(column.dtype):
        return pa.bool_()
    if is_.is_integer_dtype(column.dtype):
        return pa.int64()
    if is_.is_float_dtype(column.dtype):
        return pa.float64()
    if all(isinstance(value, str) for value in column.dropna()):
        return TEXT
    msg = (
        f"obs[{column.name!r}] has dtype {column.dtype} and holds more than text; expected text, a categorical, "
        f"bool, int or float. Convert it first, for example with .astype(str)."
    )
    raise TypeError(msg)


def as_type(column: pd.Series, kind: pa.DataType) -> pa.Array:
    """Return a column as an arrow array of `kind`; missing values stay missing.

    Raises
    ------
    TypeError
        The atlas keeps this column in another type.
    """
    own = arrow_type(column)
    if own != kind and not (own == pa.int64() and kind == pa.float64()) and not column.isna().all():
        msg = (
            f"obs[{column.name!r}] is {own}, but the atlas keeps this column as {kind}; "
            f"convert it, or append it under another name."
        )
        raise TypeError(msg)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    return pa.array(column, type=kind, from_pandas=True)


def missing(name: str, n: int, kind: pa.DataType) -> pd.Series:
    """Return a column of missing values that pandas will hand on as `kind`."""
    return pd.Series([None] * n, dtype=_PANDAS[kind], name=name)


def check_columns(obs: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse names that `obs` does not have.

    Raises
    ------
    KeyError
        Naming them, and those that exist.
    """
    absent = [name for name in columns if name not in obs]
    if absent:
        msg = f"obs has no column {absent}. Present: {list(obs.columns)}."
        raise KeyError(msg)
