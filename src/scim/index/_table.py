"""Columns of `obs` as they are given to an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim.index.filter import Column

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Table = pd.DataFrame | Mapping[str, ArrayLike]


def columns_of(obs: Table | None, n_rows: int) -> dict[str, Column]:
    """Return the columns of a frame, or of a mapping of names to one value a row.

    Raises
    ------
    TypeError
        It is something else, or a column is of a type that cannot be filtered by.
    ValueError
        A column has another number of rows.
    """
    if obs is None:
        return {}
    if not isinstance(obs, pd.DataFrame | Mapping):
        msg = f"`obs` must be a DataFrame or a mapping of names to arrays, got {type(obs).__name__}."
        raise TypeError(msg)
    table: Any = obs
    columns = {str(name): Column.of(str(name), table[name]) for name in table}
    for name, column in columns.items():
        if column.n_rows != n_rows:
            msg = f"Column {name!r} of `obs` has {column.n_rows} values for {n_rows} rows; pass one value a row."
            raise ValueError(msg)
    return columns


def joined(first: Mapping[str, Column], second: Mapping[str, Column], n_first: int, n_second: int) -> dict[str, Column]:
    """Return the columns of two tables, one below the other; a value that one of them lacks is missing.

    Raises
    ------
    TypeError
        A column is of one kind here and of another there.
    """
    out = {}
    for name in dict.fromkeys([*first, *second]):
        values = np.full(n_first + n_second, None, dtype=object)
        for table, rows in ((first, slice(0, n_first)), (second, slice(n_first, None))):
            if name in table:
                part = table[name].decode()
                values[rows] = part.astype(object).where(part.notna(), None)
        out[name] = Column.of(name, values)
    return out
