"""Columns of obs that the search index keeps too, as codes: what is asked of them comes in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim.atlas.soma import NULLABLE, obs_columns
from scim.atlas.source import TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.index import Index

MOST_VALUES = 65_536
"""A column of more values than this, as `cell_id`, names cells rather than groups of them: it is left to the store."""


def columns_to_index(experiment: Any, start: int, stop: int) -> tuple[NDArray[np.int64], dict[str, Any], list[str]]:
    """Return what an index is to know of the cells of a range of ids.

    Returns
    -------
    Their ids, ascending; the columns of obs that it keeps, one value a cell; the names of the others.
    """
    kept: dict[str, Any] = {}
    others = []
    ids = np.empty(0, dtype=np.int64)
    for name in obs_columns(experiment):
        ids, values = _distinct_known(experiment, name, start, stop)
        if values is None:
            others.append(name)
        else:
            kept[name] = values
    return ids, kept, others


def _distinct_known(experiment: Any, name: str, start: int, stop: int) -> tuple[NDArray[np.int64], Any]:
    """Return ids and a column, with text as a categorical; `None` if it has too many values."""
    rows = (slice(start, stop - 1),)
    table = experiment.obs.read(rows, column_names=["soma_joinid", name]).concat()
    ids, column = table["soma_joinid"].to_numpy(), table[name]
    order = None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)
    values: Any
    if column.type == TEXT:
        coded = column.dictionary_encode().unify_dictionaries().combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        names = pd.Index(coded.dictionary.to_pylist(), dtype=object)
        values = None if len(names) > MOST_VALUES else pd.Categorical.from_codes(codes, categories=names)
    else:
        series = column.to_pandas(types_mapper=NULLABLE.get)
        values = None if series.nunique() > MOST_VALUES else series.array
    if order is None:
        return ids, values
    return ids[order], None if values is None else values[order]


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
