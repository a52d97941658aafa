"""Columns of `obs` as they are given to an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
