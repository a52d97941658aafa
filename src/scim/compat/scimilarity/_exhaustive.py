"""A search that looks at all cells, or at all that have some values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import keys
from scim.compat.scimilarity._metadata import INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scim.atlas import Atlas
    from scim.index import Index

_MISSING = "NA"
_WORDS = {"True": True, "False": False}

_FAR, _DEEP = 1e6, 16.0


def everything(index: Index) -> dict[str, Any]:
    """Return the knobs of a query with which an index passes over nothing.

    An `ivf` index looks into all of its lists, and measures 17 times as many rows as it answers: those are ordered
    by distances good to a few per cent, so that hardly any of the answers is missing among them.
    """
    if index.kind == "ivf":
        return {"reach": _FAR, "depth": _DEEP}
    return {"effort": index.n_rows} if index.kind == "graph" else {}


def condition_of(filters: Mapping[str, Any], atlas: Atlas, names: Mapping[str, str]) -> str:
    """Return published columns and values as a filter of the atlas.

    `"NA"`, which became a missing value, and `"True"` and `"False"`, which became booleans, are taken as they were.

    Raises
    ------
    KeyError
        There is no such column.
    """
    present = [INDEX, *names]
    absent = [name for name in filters if name not in present]
    if absent:
        msg = f"metadata_filter: the published metadata has no column {absent}. Present: {present}."
        raise KeyError(msg)
    own = dict(names) | {INDEX: keys.ATLAS_CELL_ID}
    return " and ".join(_equals(own[name], value, atlas) for name, value in filters.items())


def _equals(column: str, value: Any, atlas: Atlas) -> str:
    word = f"`{column}`"
    if column == keys.ATLAS_CELL_ID:
        return f"{word} == {str(value)!r}"
    if value == _MISSING or pd.isna(value):
        return f"{word} == None"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value in _WORDS and atlas.obs([], columns=[column])[column].dtype == "boolean":
        value = _WORDS[value]
    return f"{word} == {value!r}"
