"""The `where` language: `tissue == 'lung' and disease != 'normal'` over columns of codes."""

from __future__ import annotations

import difflib
import functools
import operator
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from scim._core.booleans import read_booleans
from scim._core.numba import njit_parallel, prange
from scim.index.filter._column import SEPARATOR
from scim.index.filter._parse import Expression, Junction, tests

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from scim.index.filter._column import Column
    from scim.index.filter._parse import Test, Tree

    _Compiled: TypeAlias = bool | "CodeTest" | tuple[str, list["_Compiled"]]

_HOLDS = {"text": "text", "number": "numbers", "bool": "true and false"}
_TYPES: dict[str, Any] = {"text": str, "number": bool | int | float, "bool": bool | int | float}
_ORDER: dict[str, Any] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_EQUAL = ("==", "!=", "in", "not in")
_ROWS = 1 << 21  # tested at a time: each level of brackets takes so many bytes beside the result
_MOST_COMPARED = 20_000  # texts among which similar ones are searched, at some 10 µs each


class Filter:
    """A parsed filter.

    A missing value is equal to, smaller and larger than no value: `==`, `<`, `>` and `in` are false for it, `!=` and
    `not in` are true. `column == None` selects the missing values. A text that has several parts, as
    `"asthma || fibrosis"`, equals each of them. `True` and `False` are compared with texts such as "TRUE" and "no", and
    with 0 and 1, where all values of a column are such.

    Parameters
    ----------
    expression
        For example `"tissue in ['lung', 'blood'] and not age < 30"`. A column whose name is no Python name goes in
        backticks, as in `pandas.DataFrame.query`.

    Raises
    ------
    FilterError
        The expression cannot be read.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._parsed = Expression(expression)
        self.columns = self._parsed.columns

    def __repr__(self) -> str:
        return f"Filter({self.expression!r})"

    def check_columns(self, present: Collection[str]) -> None:
        """Refuse columns that do not exist, naming similar ones."""
        for name in self.columns:
            if name not in present:
                close = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
                hint = f"Did you mean {_either(close)}?" if close else "Text goes in quotes."
                self._parsed.refuse(f"there is no column {name!r}. {hint} Present: {list(present)}")

    def check(self, *tables: Mapping[str, Column]) -> None:
        """Refuse columns and values that none of the tables has."""
        self.check_columns(dict.fromkeys(name for table in tables for name in table))
        for test in tests(self._tree):
            columns = [table[test.column] for table in tables if test.column in table]
            # A column without any value is of whatever kind it is elsewhere.
            kinds = dict.fromkeys(column.kind for column in columns if column.n_values) or {columns[0].kind: None}
            if len(kinds) > 1:
                held = " and ".join(_HOLDS[kind] for kind in kinds)
                self._parsed.refuse(f"column {test.column!r} holds {held} in different parts")
            kind = next(iter(kinds))
            for column in columns:
                self._check_type(test, column, kind)
            if kind == "text" and test.operator in _EQUAL:
                self._check_values(test, [column for column in columns if column.n_values])

    def mask(self, columns: Mapping[str, Column], n_rows: int) -> NDArray[np.bool_]:
        """Return which rows of a table pass, shape (n_rows,); all values of a column that it lacks count as missing."""
        for name in self.columns:
            if name in columns and columns[name].n_rows != n_rows:
                msg = f"Expected columns of {n_rows} rows, got {columns[name]!r}."
                raise ValueError(msg)
        compiled, passes = self._compile(self._tree, columns), np.empty(n_rows, dtype=np.bool_)
        for start in range(0, n_rows, _ROWS):
            _apply(compiled, slice(start, start + _ROWS), passes[start : start + _ROWS])
        return passes

    @functools.cached_property
    def _tree(self) -> Tree:
        return self._parsed.tree()

    def _compile(self, tree: Tree, columns: Mapping[str, Column]) -> _Compiled:
        """Return the tree with, in place of each test, the codes of its column and which of them pass."""
        if isinstance(tree, Junction):
            return tree.word, [self._compile(part, columns) for part in tree.parts]
        column = columns.get(tree.column)
        if column is None or not column.n_values:
            return passes_when_missing(tree)
        self._check_type(tree, column, column.kind)
        return CodeTest.of(column.codes, passing_codes(column, tree))

    def _check_type(self, test: Test, column: Column, kind: str) -> None:
        if test.operator in ("missing", "present"):
            return
        if test.operator == "true":
            if kind != "bool" and column.truth is None:
                self._parsed.refuse(f"{test.source!r} is neither a comparison nor a column of true and false")
            return
        for value in test.value if test.operator in ("in", "not in") else [test.value]:
            if not isinstance(value, _TYPES[kind]) and not (test.operator in _EQUAL and _is_truth(column, value)):
                self._parsed.refuse(f"column {test.column!r} holds {_HOLDS[kind]}, got {value!r}")

    def _check_values(self, test: Test, columns: list[Column]) -> None:
        for value in test.value if isinstance(test.value, list) else [test.value]:
            for part in value.split(SEPARATOR) if isinstance(value, str) else ():
                if not any(column.find_text(part) for column in columns):
                    present = set().union(*(column.parts() for column in columns))
                    few = present if len(present) <= _MOST_COMPARED else set()
                    close = difflib.get_close_matches(part, few, n=3, cutoff=0.5)
                    hint = f"did you mean {_either(close)}?" if close else f"it has {sorted(present)[:10]}"
                    self._parsed.refuse(f"no cell has {test.column} == {part!r}; {hint}")


def _is_truth(column: Column, value: Any) -> bool:
    """Return whether both a column and a value mean true and false, one of them as text."""
    return isinstance(value, str | bool) and column.truth is not None and _truth(value) is not None


def _truth(value: Any) -> bool | None:
    """Return true or false, or `None` for a text that means neither."""
    found = read_booleans([value])
    return None if found is None or found.isna()[0] else bool(found[0])


def passes_when_missing(test: Test) -> bool:
    """Return whether a row without a value passes."""
    return test.operator in ("!=", "not in", "missing")


def passing_codes(column: Column, test: Test) -> NDArray[np.bool_]:
    """Return for each code whether it passes, that of missing values last; the test's value is of the column's kind."""
    table = np.zeros(column.n_values + 1, dtype=np.bool_)
    table[-1] = passes_when_missing(test)
    if test.operator == "present":
        table[:-1] = True
    elif test.operator == "true":
        table[:-1] = column.truth == np.True_
    elif test.operator in _ORDER:
        table[:-1] = _ORDER[test.operator](_comparable(column, test.value), test.value)
    elif test.operator != "missing":
        for value in test.value if isinstance(test.value, list) else [test.value]:
            if column.kind == "text" and not isinstance(value, bool):
                table[column.find_text(value)] = True
            elif _is_truth(column, value):
                table[:-1] |= column.truth == _truth(value)
            else:
                table[:-1] |= _comparable(column, value) == value
        if table[-1]:
            np.logical_not(table[:-1], out=table[:-1])
    return table


def _comparable(column: Column, value: Any) -> NDArray[Any]:
    """Return the values of a column, as Python's numbers where numpy cannot compare them with `value`."""
    too_large = isinstance(value, int) and abs(value) > sys.float_info.max
    return column.values.astype(object) if too_large else column.values


class CodeTest(NamedTuple):
    """A column, and which of its codes pass a test."""

    codes: NDArray[Any]  # (n_rows,): uint8, uint16 or uint32
    table: NDArray[np.bool_]  # (n_values + 1,): whether each code passes; the last entry is for missing values
    edges: NDArray[np.intp]  # (n_edges,): codes that differ in this from the code before

    @classmethod
    def of(cls, codes: NDArray[Any], table: NDArray[np.bool_]) -> CodeTest:
        """Return the test of codes by a table of those that pass."""
        return cls(codes, table, np.flatnonzero(table[1:] != table[:-1]) + 1)

    def apply(self, rows: slice, passes: NDArray[np.bool_]) -> None:
        """Write into `passes` which of the rows have a code that passes."""
        codes, edges = self.codes[rows], self.edges
        as_code = codes.dtype.type
        if edges.size == 0:
            passes.fill(self.table[0])
        elif edges.size > 2:
            look_up(codes, self.table.view(np.uint8), as_code(self.table.size - 1), passes.view(np.uint8))
        else:
            high = edges[1] - 1 if edges.size > 1 else np.iinfo(codes.dtype).max
            compare(codes, as_code(edges[0]), as_code(high), np.uint8(self.table[0]), passes.view(np.uint8))


def _apply(compiled: _Compiled, rows: slice, passes: NDArray[np.bool_]) -> None:
    """Write into `passes` which of the rows pass."""
    if isinstance(compiled, bool):
        passes.fill(compiled)
        return
    if isinstance(compiled, CodeTest):
        compiled.apply(rows, passes)
        return
    word, (first, *rest) = compiled
    _apply(first, rows, passes)
    if word == "not":
        np.logical_not(passes, out=passes)
        return
    combine, passes_part = np.logical_and if word == "and" else np.logical_or, np.empty_like(passes)
    for part in rest:
        _apply(part, rows, passes_part)
        combine(passes, passes_part, out=passes)


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)


# Truth is handled as bytes, of which the compiler makes vectors, as it does not of bools.


@njit_parallel
def compare(codes: NDArray[Any], low: Any, high: Any, flip: np.uint8, passes: NDArray[np.uint8]) -> None:
    """Write for each row whether its code is in [low, high], or with `flip` whether it is not."""
    for i in prange(codes.shape[0]):
        passes[i] = np.uint8((codes[i] >= low) & (codes[i] <= high)) ^ flip


@njit_parallel
def look_up(codes: NDArray[Any], table: NDArray[np.uint8], last: Any, passes: NDArray[np.uint8]) -> None:
    """Write for each row the entry of the table for its code, for codes beyond `last` that of `last`."""
    for i in prange(codes.shape[0]):
        passes[i] = table[min(codes[i], last)]
