"""Columns of one name in several tables, as the one column that a table of all their rows would have."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from scim.index.filter._coding import code_type
from scim.index.filter._column import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim._core.types import Ints


class CombinedColumn:
    """The values of all columns in order, and for each column its codes among them; no row is read.

    `columns` has the column of each table, `None` where a table lacks it, but not everywhere.
    """

    def __init__(self, name: str, columns: Sequence[Column | None]) -> None:
        present = [column for column in columns if column is not None]
        filled = [column for column in present if column.n_values] or present[:1]  # without values it is of any kind
        kinds = list(dict.fromkeys(column.kind for column in filled))
        if len(kinds) > 1:
            msg = f"Column {name!r} is of kind {' and '.join(kinds)} in different parts of the index; give it one kind."
            raise TypeError(msg)
        values = _merged([column.values for column in filled])
        self._columns = columns
        self._tables = [None if column is None else _recoding(column.values, values) for column in columns]
        self._empty = Column(name, kinds[0], np.empty(0, dtype=code_type(len(values))), values)
        self._empty.decode()  # so that what is derived from the values is derived once, and not for each `take`

    def take(self, rows: Sequence[tuple[Ints, Ints]], n: int) -> Column:
        """Return the column of `n` rows: of each table, the positions among them, and in the table."""
        codes = np.full(n, self._empty.n_values, dtype=self._empty.codes.dtype)
        for column, table, (which, offsets) in zip(self._columns, self._tables, rows, strict=True):
            if column is not None and table is not None:
                codes[which] = table.take(column.codes[offsets], mode="clip")  # any code beyond means missing
        return self._empty.with_codes(codes)


def _merged(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return all distinct values, ascending; whole and other numbers together are float64."""
    if parts[0].dtype != object:
        return np.unique(np.concatenate(parts))
    ordered = sorted(itertools.chain.from_iterable(part.tolist() for part in parts))  # few runs, which is quick
    distinct = list(dict.fromkeys(ordered))
    values = np.empty(len(distinct), dtype=object)
    values[:] = distinct
    return values


def _recoding(values: NDArray[Any], among: NDArray[Any]) -> NDArray[Any] | None:
    """Return the position of each value among all, that of missing ones last; `None` if there are no values."""
    if not len(values):
        return None
    table = np.full(len(values) + 1, len(among), dtype=code_type(len(among)))
    if among.dtype == object:
        positions = {value: position for position, value in enumerate(among.tolist())}
        table[:-1] = [positions[value] for value in values.tolist()]
    else:
        table[:-1] = np.searchsorted(among, values)
    return table
