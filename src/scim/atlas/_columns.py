"""The types in which an atlas keeps columns of obs: text, bool, int64 and float64; without a value, none yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api import types as is_

from scim._core import warn
from scim._core.booleans import read_booleans

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = pa.large_string()
OPEN = pa.null()
"""Type of a column without any value: the first value gives it another."""
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # pandas keeps their missing values
_INFERRED = {
    "string": TEXT,
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "floating": pa.float64(),
    "mixed-integer-float": pa.float64(),
}
"""Types by what pandas infers of a column of Python objects."""


def arrow_type(column: pd.Series) -> pa.DataType:
    """Return the type in which an atlas keeps a column; `TypeError` if it mixes types, or holds something else."""
    if column.isna().all():
        return OPEN
    values = _categories(column) if isinstance(column.dtype, pd.CategoricalDtype) else column
    if isinstance(values.dtype, pd.StringDtype) or _is_coded_text(values.dtype):
        return TEXT
    if is_.is_bool_dtype(values.dtype):
        return pa.bool_()
    if is_.is_integer_dtype(values.dtype):
        return pa.int64()
    if is_.is_float_dtype(values.dtype):
        return pa.float64()
    inferred = _INFERRED.get(is_.infer_dtype(values, skipna=True))
    if inferred is None:
        held = is_.infer_dtype(values, skipna=True)
        msg = f"obs[{column.name!r}] has dtype {column.dtype} and holds more than text ({held}); expected text, a "
        msg += "categorical, bool, int or float. Convert it first, for example with .astype(str)."
        raise TypeError(msg)
    return inferred


def common_type(columns: Sequence[pd.Series]) -> pa.DataType:
    """Return the type of several parts of one column: of numbers float64 if some are not whole, else that of the first.

    True and false beside texts or 0 and 1 that mean the same are bool. :func:`as_type` refuses parts that do not fit.
    """
    kinds = dict.fromkeys(kind for kind in map(arrow_type, columns) if kind != OPEN)
    if set(kinds) == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.bool_() if pa.bool_() in kinds else next(iter(kinds), OPEN)


def with_booleans(column: pd.Series) -> pd.Series:
    """Return `is_primary_data` as true and false, whatever it was written as; warn if it is something else."""
    found = read_booleans(column)
    if found is None:
        examples = column.dropna().unique()[:3].tolist()
        warn(
            f"obs[{column.name!r}] holds {examples}, expected true and false: it does not mark copies of cells, which "
            "count as often as they are in the atlas. Convert it to bool, or leave it out."
        )
        return column
    return pd.Series(found, index=column.index, name=column.name)


def _categories(column: pd.Series) -> pd.Series:
    categories = column.cat.categories
    return pd.Series(categories, dtype=categories.dtype, name=column.name)  # pandas would make text of objects


def _is_coded_text(dtype: Any) -> bool:
    kind = dtype.pyarrow_dtype if isinstance(dtype, pd.ArrowDtype) else pa.null()
    return isinstance(kind, pa.DictionaryType) and kind.value_type in (pa.string(), TEXT)


def as_type(column: pd.Series, kind: pa.DataType) -> pa.Array:
    """Return a column as an arrow array of `kind`, missing values as missing; `TypeError` if it is of another type.

    Whole numbers go into a column of other numbers, and the other way round if all of them are whole; texts, and 0 and
    1, into a column of true and false, if that is what they mean.
    """
    found = arrow_type(column)
    if found == OPEN:
        return pa.nulls(len(column), kind)
    if kind == pa.bool_() and (booleans := read_booleans(column)) is not None:
        return _array(pd.Series(booleans), kind)
    if {found, kind} != {pa.int64(), pa.float64()} and found != kind:
        _refuse(column, found, kind)
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = as_type(_categories(column), kind)
        codes = np.asarray(column.cat.codes)
        return values.take(pa.array(codes, mask=codes < 0))
    if found == TEXT or found == pa.bool_():
        return _array(column, kind)
    return _numbers(column, found, kind)


def _numbers(column: pd.Series, found: pa.DataType, kind: pa.DataType) -> pa.Array:
    if column.dtype == np.float16 or column.dtype == object:
        column = column.astype("Float64")  # arrow reads neither half floats nor whole numbers beside fractions
    elif column.dtype == np.longdouble:
        column = column.astype(np.float64)
    try:
        return pc.cast(_array(column), kind)
    except pa.ArrowInvalid:  # a fraction, or a number that the type cannot hold
        _refuse(column, found, kind, _unfit(column, kind))


def _unfit(column: pd.Series, kind: pa.DataType) -> str:
    """Return examples of the values that do not fit."""
    values = column.dropna()
    if kind == pa.float64():
        return f", and whole numbers beyond 2**53, as {values.max()}, lose digits"
    if arrow_type(column) == pa.int64():
        return f", which ends at 2**63 - 1; the largest value is {values.max()}"
    numbers = values.to_numpy(dtype=np.float64)
    return f" and has values that are not whole, as {numbers[numbers != np.round(numbers)][:3].tolist()}"


def _array(column: pd.Series, kind: pa.DataType | None = None) -> pa.Array:
    array: Any = pa.array(column, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array if kind is None or array.type == kind else array.cast(kind)


def _refuse(column: pd.Series, found: pa.DataType, kind: pa.DataType, why: str = "") -> NoReturn:
    msg = f"obs[{column.name!r}] is {found}{why}, but the atlas keeps this column as {kind}; "
    msg += "convert it, or append it under another name."
    raise TypeError(msg)


def as_stored(column: pd.Series, kind: pa.DataType) -> Any:
    """Return a column of the index as the store has it: missing values as `None` or `pandas.NA`."""
    if kind == OPEN:
        return np.full(len(column), None, dtype=object)
    if kind != TEXT:
        return column.array.astype("float64" if kind == pa.float64() else NULLABLE[kind])
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(object).array
    codes, texts = column.cat.codes.to_numpy(), column.cat.categories.to_numpy(dtype=object)
    out = np.full(len(codes), None, dtype=object)
    out[codes >= 0] = texts[codes[codes >= 0]]
    return out
