"""Which values of a column pass a test."""

from __future__ import annotations

import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scim.index.filter._column import Column
    from scim.index.filter._parse import Test

_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def passes_when_missing(test: Test) -> bool:
    """Say whether a row without a value passes."""
    return test.operator in ("!=", "not in", "missing")


def passing_codes(column: Column, test: Test) -> NDArray[np.bool_]:
    """Return for each code whether it passes, the code of missing values last, shape (n_values + 1,).

    The value of the test must be of the column's kind.
    """
    table = np.zeros(column.n_values + 1, dtype=np.bool_)
    table[-1] = passes_when_missing(test)
    if test.operator == "present":
        table[:-1] = True
    elif test.operator == "true":
        table[:-1] = column.values
    elif test.operator in _ORDER:
        table[:-1] = _ORDER[test.operator](_values(column, test.value), test.value)
    elif test.operator != "missing":
        for value in test.value if isinstance(test.value, list) else [test.value]:
            if column.kind == "text":
                table[column.find_text(value)] = True
            else:
                table[:-1] |= _values(column, value) == value
        if table[-1]:
            np.logical_not(table[:-1], out=table[:-1])
    return table


def _values(column: Column, beside: Any) -> NDArray[Any]:
    """Return the values of a column, as Python's numbers where numpy cannot compare them with `beside`."""
    too_large = isinstance(beside, int) and abs(beside) > sys.float_info.max
    return column.values.astype(object) if too_large else column.values
