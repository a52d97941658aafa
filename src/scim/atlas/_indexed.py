"""Columns of obs that the search index keeps too, as codes: what is asked of them comes in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim.atlas.soma import NULLABLE, obs_columns
from scim.atlas.source import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim.index import Index

MOST_VALUES = 65_536
"""Text of more values than this, as `cell_id`, names cells rather than groups of them: it is left to the store."""

_ROWS = 1 << 18
"""Read at a time: of millions of cells, a column of text takes more memory than its codes by far."""


def columns_to_index(experiment: Any, start: int, stop: int) -> tuple[NDArray[np.int64], dict[str, Any], list[str]]:
    """Return what an index is to know of the cells of a range of ids.

    Returns
    -------
    Their ids, ascending; the columns of obs that it keeps, one value a cell; the names of the others.
    """
    kept: dict[str, Any] = {}
    others = []
    for name in obs_columns(experiment):
        values = _few_values(experiment, name, start, stop)
        if values is None and experiment.obs.schema.field(name).type != TEXT:
            values = _numbers(experiment, name, start, stop)
        if values is None:
            others.append(name)
        else:
            kept[name] = values
    parts = [np.sort(table["soma_joinid"].to_numpy()) for table in _blocks(experiment, [], start, stop)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts]), kept, others


def _few_values(experiment: Any, name: str, start: int, stop: int) -> Any:
    """Return a column as codes of its values, ascending by id; `None` if it has too many."""
    known: dict[Any, int] = {}
    parts = [np.empty(0, dtype=np.int8)]
    for table in _blocks(experiment, [name], start, stop):
        ids, coded = table["soma_joinid"].to_numpy(), table[name].dictionary_encode().unify_dictionaries()
        coded = coded.combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        if len(coded.dictionary) <= MOST_VALUES:  # else their names alone would need more memory than all columns
            values = coded.dictionary.to_pylist()
            place = [known.setdefault(value, len(known)) if value == value else -1 for value in values]
        if len(coded.dictionary) > MOST_VALUES or len(known) > MOST_VALUES:
            return None
        codes = np.array([*place, -1])[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        codes = codes if (ids[1:] > ids[:-1]).all() else codes[np.argsort(ids)]
        parts.append(codes.astype(np.min_scalar_type(-len(known) - 1)))
    codes, kind = np.concatenate(parts), experiment.obs.schema.field(name).type
    if kind == pa.bool_():
        values = np.array([*known, False], dtype=np.bool_)[codes]
        return pd.arrays.BooleanArray(values, codes < 0)
    return pd.Categorical.from_codes(codes, categories=pd.Index([*known], dtype=object if kind == TEXT else None))


def _numbers(experiment: Any, name: str, start: int, stop: int) -> pd.Categorical:
    """Return a column of numbers, most of which differ, as codes of its values, ascending by id."""
    absent, kind = np.zeros(stop - start, dtype=np.bool_), experiment.obs.schema.field(name).type
    every, n = np.empty(stop - start, dtype=kind.to_pandas_dtype()), 0
    for table in _blocks(experiment, [name], start, stop):
        ids, column = table["soma_joinid"].to_numpy(), table[name].combine_chunks()
        order, rows = np.argsort(ids, kind="stable"), slice(n, n + len(ids))
        every[rows] = column.fill_null(0).to_numpy(zero_copy_only=False)[order]
        absent[rows] = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)[order]
        n = rows.stop
    values, missing = every[:n], absent[:n]
    known, places = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[~missing] = places
    return pd.Categorical.from_codes(codes, categories=pd.Index(known))


def _blocks(experiment: Any, names: list[str], start: int, stop: int) -> Iterator[pa.Table]:
    """Yield ids and columns of a range of ids, some rows at a time."""
    for first in range(start, stop, _ROWS):
        rows = (slice(first, min(first + _ROWS, stop) - 1),)
        yield experiment.obs.read(rows, column_names=["soma_joinid", *names]).concat()


def read_indexed(index: Index, ids: NDArray[np.int64], columns: Sequence[str], schema: Any) -> pd.DataFrame:
    """Return rows of obs in the order of `ids`, as the store would give them."""
    coded = index.obs(ids, columns)
    return pd.DataFrame(
        {name: _as_stored(coded[name], schema.field(name).type) for name in columns},
        index=pd.Index(ids, name="soma_joinid"),
    )


def _as_stored(column: pd.Series, kind: pa.DataType) -> Any:
    if kind != TEXT:
        return column.array.astype("float64" if kind == pa.float64() else NULLABLE[kind])
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(object).array
    codes, texts = column.cat.codes.to_numpy(), column.cat.categories.to_numpy(dtype=object)
    out = np.full(len(codes), None, dtype=object)
    out[codes >= 0] = texts[codes[codes >= 0]]
    return out
