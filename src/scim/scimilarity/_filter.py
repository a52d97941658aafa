"""Filters of whole texts and of published values, as those of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_string_dtype

from scim._core import FilterError, keys, refuse_absent
from scim.index.filter import SEPARATOR, Filter
from scim.scimilarity._metadata import BOOLEANS, INDEX, MISSING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scim.atlas import Atlas
    from scim.scimilarity._metadata import AtlasMetadata


def match_texts(atlas: Atlas, condition: str, texts: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return the arguments of a query for cells that pass a filter and have whole texts, the values of some columns.

    They are `{"where": ...}`, or `{"allowed": ids}` where the index cannot tell whole texts from their parts: "asthma"
    is not "asthma || fibrosis".
    """
    where = " and ".join([condition, *(f"`{name}` in {sorted(values)!r}" for name, values in texts.items())])
    if atlas.indexes(Filter(where).columns) and not any(_has_joint_values(atlas, name) for name in texts):
        return {"where": where}
    ids = atlas.select(where)  # also cells with such a value as a part
    for name, values in texts.items():
        # As a column of the index it is categorical and takes little memory.
        obs = atlas.index.obs(ids, [name]) if atlas.indexes([name]) else atlas.obs(ids, columns=[name])
        equal = obs[name].isin(list(values)).to_numpy(dtype=np.bool_)
        if len(ids) and not equal.any():
            present = sorted(set(obs[name].dropna()))[:5]
            msg = f"No cell has {name} == {' or '.join(map(repr, sorted(values)))} alone; expected one of {present}."
            raise FilterError(msg)
        ids = ids[equal]
    return {"allowed": ids}


def match_metadata(metadata: AtlasMetadata, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a query that restrict it to cells of `cellsearch` with published values of columns.

    `"NA"`, which became a missing value, and `"True"` and `"False"`, which became booleans, are understood.
    """
    columns = metadata.columns | {INDEX: metadata.index_column}
    refuse_absent(list(values), list(columns), of="metadata_filter: the published metadata")
    conditions, texts = [keys.IN_SEARCH], {}
    for published, value in values.items():
        name = columns[published]
        dtype = metadata.dtype(name)
        if is_string_dtype(dtype) and isinstance(value, str) and value != MISSING:
            texts[name] = [str(value)]
        else:
            conditions.append(_equals(name, value, dtype))
    return match_texts(metadata.atlas, " and ".join(conditions), texts)


def _has_joint_values(atlas: Atlas, column: str) -> bool:
    values = atlas.index.obs([], [column])[column].astype("category")
    return any(SEPARATOR in str(value) for value in values.cat.categories)


def _equals(column: str, value: Any, dtype: Any) -> str:
    """Return the filter for a value that is not stored as text."""
    if column == keys.ATLAS_CELL_ID:
        return f"`{column}` == {str(value)!r}"
    if value == MISSING or pd.isna(value):
        return f"`{column}` == None"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and dtype == "boolean":
        value = BOOLEANS.get(value, value)
    return f"`{column}` == {value!r}"
