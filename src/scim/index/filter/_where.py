"""The `where` language: `tissue == 'lung' and disease != 'normal'` over columns of codes."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scim.index.filter._column import JOINT
from scim.index.filter._kernels import Tested, mark_rows, tested
from scim.index.filter._parse import Expression, Junction, tests
from scim.index.filter._passing import passes_when_missing, passing_codes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from scim.index.filter._column import Column
    from scim.index.filter._parse import Test, Tree

    _Bound: TypeAlias = bool | Tested | tuple[str, list["_Bound"]]

_HOLDS = {"text": "text", "number": "numbers", "bool": "true and false"}
_TYPES: dict[str, Any] = {"text": str, "number": bool | int | float, "bool": bool | int | float}
_ROWS = 1 << 21
"""Rows tested at a time: each level of brackets takes so many bytes beside the result."""

_MOST_COMPARED = 20_000
"""Texts among which similar ones are looked for, at some 10 µs each."""


class Where:
    """A parsed filter.

    A missing value equals nothing and is smaller and larger than nothing: `==`, `<`, `>` and `in` are false for it,
    `!=` and `not in` are true. `column == None` finds the missing values. A text that has several parts, as
    `"asthma || fibrosis"`, equals each of them.

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
        return f"Where({self.expression!r})"

    def check_columns(self, present: Collection[str]) -> None:
        """Refuse columns that do not exist, naming those that look alike.

        Raises
        ------
        FilterError
            A column of the expression is not in `present`.
        """
        for name in self.columns:
            if name not in present:
                close = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
                hint = f"Did you mean {_either(close)}?" if close else "Text goes in quotes."
                self._parsed.refuse(f"there is no column {name!r}. {hint} Present: {list(present)}")

    def check(self, *tables: Mapping[str, Column]) -> None:
        """Refuse what cannot be meant; a column or value is known if any of the tables has it.

        Raises
        ------
        FilterError
            A column or a value does not exist, a column is compared with a value of another type, or is of another
            kind in another table.
        """
        self.check_columns(dict.fromkeys(name for table in tables for name in table))
        for test in tests(self._tree):
            columns = [table[test.column] for table in tables if test.column in table]
            # A column without any value is of whatever kind it is elsewhere.
            kinds = dict.fromkeys(column.kind for column in columns if column.n_values) or {columns[0].kind: None}
            if len(kinds) > 1:
                held = " and ".join(_HOLDS[kind] for kind in kinds)
                self._parsed.refuse(f"column {test.column!r} holds {held} in different parts")
            kind = next(iter(kinds))
            self._check_type(test, kind)
            if kind == "text" and test.operator in ("==", "!=", "in", "not in"):
                self._check_known(test, [column for column in columns if column.n_values])

    def mask(self, columns: Mapping[str, Column], n_rows: int) -> NDArray[np.bool_]:
        """Return which rows of a table pass, shape (n_rows,).

        Parameters
        ----------
        columns
            The columns of the table. One that the table lacks counts as missing in all rows; :meth:`check` says
            whether it exists elsewhere.
        n_rows
            Number of rows.

        Raises
        ------
        FilterError
            A column is compared with a value of another type.
        """
        for name in self.columns:
            if name in columns and columns[name].n_rows != n_rows:
                msg = f"Expected columns of {n_rows} rows, got {columns[name]!r}."
                raise ValueError(msg)
        bound, passes = self._bind(self._tree, columns), np.empty(n_rows, dtype=np.bool_)
        for start in range(0, n_rows, _ROWS):
            _mark(bound, slice(start, start + _ROWS), passes[start : start + _ROWS])
        return passes

    @functools.cached_property
    def _tree(self) -> Tree:
        return self._parsed.tree()

    def _bind(self, tree: Tree, columns: Mapping[str, Column]) -> _Bound:
        """Return the tree with, in place of each test, the codes of its column and which of them pass."""
        if isinstance(tree, Junction):
            return tree.word, [self._bind(part, columns) for part in tree.parts]
        column = columns.get(tree.column)
        if column is None or not column.n_values:
            return passes_when_missing(tree)
        self._check_type(tree, column.kind)
        return tested(column.codes, passing_codes(column, tree))

    def _check_type(self, test: Test, kind: str) -> None:
        if test.operator in ("missing", "present"):
            return
        if test.operator == "true":
            if kind != "bool":
                self._parsed.refuse(f"{test.source!r} is neither a comparison nor a column of true and false")
            return
        for value in test.value if test.operator in ("in", "not in") else [test.value]:
            if not isinstance(value, _TYPES[kind]):
                self._parsed.refuse(f"column {test.column!r} holds {_HOLDS[kind]}, got {value!r}")

    def _check_known(self, test: Test, columns: list[Column]) -> None:
        for value in test.value if isinstance(test.value, list) else [test.value]:
            for part in value.split(JOINT):
                if not any(column.find_text(part) for column in columns):
                    present = set().union(*(column.parts() for column in columns))
                    close = _similar(part, present)
                    hint = f"did you mean {_either(close)}?" if close else f"it has {sorted(present)[:10]}"
                    self._parsed.refuse(f"no cell has {test.column} == {part!r}; {hint}")


def _mark(bound: _Bound, rows: slice, passes: NDArray[np.bool_]) -> None:
    """Write into `passes` which of the rows pass."""
    if isinstance(bound, bool):
        passes.fill(bound)
        return
    if isinstance(bound, Tested):
        mark_rows(bound, rows, passes)
        return
    word, parts = bound
    _mark(parts[0], rows, passes)
    if word == "not":
        np.logical_not(passes, out=passes)
        return
    combine, others = np.logical_and if word == "and" else np.logical_or, np.empty_like(passes)
    for part in parts[1:]:
        _mark(part, rows, others)
        combine(passes, others, out=passes)


def _similar(text: str, present: set[str]) -> list[str]:
    return difflib.get_close_matches(text, present, n=3, cutoff=0.5) if len(present) <= _MOST_COMPARED else []


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
