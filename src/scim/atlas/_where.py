"""The `where` language: `tissue == 'lung' and disease != 'normal'` over the columns of an atlas."""

from __future__ import annotations

import ast
import difflib
import operator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from pandas.api import types as is_

from scim._core.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_GRAMMAR = "columns and values joined by == != < <= > >= in, not in, and, or, not and parentheses"


class Where:
    """A parsed filter.

    A missing value equals nothing and is smaller and larger than nothing: `==`, `<`, `>` and `in` are false for it,
    `!=` and `not in` are true. `column == None` finds the missing values.

    Parameters
    ----------
    expression
        For example `"tissue in ['lung', 'blood'] and not age < 30"`.

    Raises
    ------
    FilterError
        The expression cannot be read.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            self._tree = ast.parse(expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError) as error:
            msg = f"where={expression!r} cannot be read ({error}). Expected {_GRAMMAR}."
            raise FilterError(msg) from error
        # In "percent.mt > 5" the attribute is a column, and the name inside it is not.
        inner = {id(node.value) for node in ast.walk(self._tree) if isinstance(node, ast.Attribute)}
        named = {_column(node) for node in ast.walk(self._tree) if id(node) not in inner}
        self.columns = sorted(name for name in named if name is not None)

    def check_columns(self, present: Sequence[str]) -> None:
        """Refuse columns that the atlas does not have, naming those that look alike."""
        for name in self.columns:
            if name not in present:
                close = difflib.get_close_matches(name, present, n=3, cutoff=0.5)
                hint = f" Did you mean {_either(close)}?" if close else " Text goes in quotes."
                msg = f"where={self.expression!r}: the atlas has no column {name!r}.{hint} Present: {list(present)}."
                raise FilterError(msg)

    def mask(self, frame: pd.DataFrame) -> Mask:
        """Return which rows of `frame` pass, shape (len(frame),).

        Raises
        ------
        FilterError
            A column or a value does not exist, or a column is compared with a value of another type.
        """
        self.check_columns(list(frame.columns))
        return self._evaluate(self._tree, frame)

    def _evaluate(self, node: ast.expr, frame: pd.DataFrame) -> Mask:
        if isinstance(node, ast.BoolOp):
            parts = [self._evaluate(value, frame) for value in node.values]
            combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(combine.reduce(parts))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._evaluate(node.operand, frame)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides[:-1], node.ops, sides[1:], strict=True)
            return np.asarray(np.logical_and.reduce([self._compare(*pair, frame) for pair in pairs]))
        name = _column(node)
        if name is not None and is_.is_bool_dtype(frame[name].dtype):
            return frame[name].fillna(value=False).to_numpy(dtype=np.bool_)
        self._refuse(f"{ast.unparse(node)!r} is neither a comparison nor a column of true and false")
        return None

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, frame: pd.DataFrame) -> Mask:
        name = _column(left)
        if name is None and (name := _column(right)) is not None and not isinstance(op, ast.In | ast.NotIn):
            op, right = _MIRROR.get(type(op), type(op))(), left  # 30 < age
        if name is None:
            self._refuse(f"{ast.unparse(left)!r} is not a column; put the column on the left")
        column, value = frame[name], self._literal(right)
        if isinstance(op, ast.In | ast.NotIn):
            inside = self._isin(column, value)
            return ~inside if isinstance(op, ast.NotIn) else inside
        if value is None and isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
            absent = column.isna().to_numpy()
            return absent if isinstance(op, ast.Eq | ast.Is) else ~absent
        if type(op) not in _COMPARE:
            self._refuse(f"{ast.unparse(left)!r} is compared in a way that is not known")
        self._check_value(column, value, known=isinstance(op, ast.Eq | ast.NotEq))
        present = column.notna().to_numpy()
        result = np.full(len(column), isinstance(op, ast.NotEq))
        result[present] = _COMPARE[type(op)](column[present].to_numpy(), value)
        return result

    def _isin(self, column: pd.Series, values: Any) -> Mask:
        if not isinstance(values, list):
            self._refuse(f"'in' needs a list of values, as {column.name} in ['a', 'b'], got {values!r}")
        for value in values:
            self._check_value(column, value, known=True)
        return column.isin(values).to_numpy()

    def _literal(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError) as error:
            msg = f"{ast.unparse(node)!r} is not a value; put text in quotes"
            raise FilterError(self._say(msg)) from error
        return list(value) if isinstance(value, tuple | set | list) else value

    def _check_value(self, column: pd.Series, value: Any, *, known: bool) -> None:
        text = not is_.is_numeric_dtype(column.dtype)
        if not isinstance(value, str if text else bool | int | float):
            self._refuse(f"column {column.name!r} holds {'text' if text else 'numbers'}, got {value!r}")
        if not (text and known):
            return
        values = column.dropna().unique().tolist()
        if value not in values:
            close = difflib.get_close_matches(value, values, n=3, cutoff=0.5)
            hint = f"did you mean {_either(close)}?" if close else f"it has {sorted(values)[:10]}"
            self._refuse(f"no cell has {column.name} == {value!r}; {hint}")

    def _say(self, problem: str) -> str:
        return f"where={self.expression!r}: {problem}."

    def _refuse(self, problem: str) -> NoReturn:
        raise FilterError(self._say(problem))


def _column(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _column(node.value)) is not None:
        return f"{base}.{node.attr}"
    return None


def _either(names: list[str]) -> str:
    return " or ".join(repr(name) for name in names)
