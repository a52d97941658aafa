"""A search that looks at all cells, or at all that have some values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from scim._core import keys
from scim.scimilarity.classes._exact import exactly
from scim.scimilarity.classes._metadata import INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scim.atlas import Atlas
    from scim.index import Index
    from scim.scimilarity.classes._metadata import Metadata

_MISSING = "NA"
_WORDS = {"True": True, "False": False}

_FAR, _DEEP = 1e6, 16.0


def everything(index: Index) -> dict[str, Any]:
    """Return the knobs of a query with which an index passes over nothing.

    An `ivf` index looks into all of its lists, and measures 17 times as many rows as it answers: those are ordered
    by distances good to a few per cent, so that hardly any of the answers is missing among them: 1 of 100,000
    (benchmarks/NOTES.md).
    """
    if index.kind == "ivf":
        return {"reach": _FAR, "depth": _DEEP}
    return {"effort": index.n_rows} if index.kind == "graph" else {}


def passing(filters: Mapping[str, Any], atlas: Atlas, metadata: Metadata) -> dict[str, Any]:
    """Return the arguments of a query among the cells of `cellsearch` that have published values.

    `"NA"`, which became a missing value, and `"True"` and `"False"`, which became booleans, are taken as they were.

    Parameters
    ----------
    filters
        Published columns and the value of each.
    atlas
        The atlas.
    metadata
        Its columns.

    Raises
    ------
    KeyError
        There is no such column.
    FilterError
        No cell has such a value.
    """
    own = metadata.columns | {INDEX: metadata.index}
    absent = [name for name in filters if name not in own]
    if absent:
        msg = f"metadata_filter: the published metadata has no column {absent}. Present: {list(own)}."
        raise KeyError(msg)
    conditions, texts = [keys.IN_SEARCH], {}
    for name, value in filters.items():
        dtype = atlas.obs([], columns=[own[name]])[own[name]].dtype
        if is_object_dtype(dtype) and isinstance(value, str) and value != _MISSING:
            texts[own[name]] = [str(value)]
        else:
            conditions.append(_equals(own[name], value, dtype))
    return exactly(atlas, " and ".join(conditions), texts)


def _equals(column: str, value: Any, dtype: Any) -> str:
    """Return the filter for a value that is no text, or no longer."""
    word = f"`{column}`"
    if column == keys.ATLAS_CELL_ID:
        return f"{word} == {str(value)!r}"
    if value == _MISSING or pd.isna(value):
        return f"{word} == None"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value in _WORDS and dtype == "boolean":
        value = _WORDS[value]
    return f"{word} == {value!r}"
