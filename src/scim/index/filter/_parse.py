"""Parse the text of a `where` expression into a tree of tests of columns."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias

from scim._core import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_MIRROR = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_GRAMMAR = "columns and values joined by == != < <= > >= in, not in, and, or, not and parentheses"
_MOST_LEVELS = 100  # each is a call within a call, of which Python allows 1,000
_TOO_DEEP = f"more than {_MOST_LEVELS} parts lie inside each other"
_QUOTED = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`([^`]*)`""", re.DOTALL)


class Test(NamedTuple):
    """One test of one column."""

    column: str
    operator: str  # `==` ..., `missing` and `present` (comparisons with `None`), `true` (a column that stands alone)
    value: Any  # a list of values for `in` and `not in`
    source: str  # the column as it was written


class Junction(NamedTuple):
    """Tests joined by `and`, `or` or `not`."""

    word: Literal["and", "or", "not"]
    parts: tuple[Tree, ...]  # one of `not`


Tree: TypeAlias = Test | Junction


class Expression:
    """The text of a filter, read as Python's grammar reads it, but for names in backticks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._names: dict[str, str] = {}
        try:
            self._node = ast.parse(self._without_backticks(text.strip()), mode="eval").body
            self.columns = self._named()
        except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            msg = f"where={text!r} cannot be read ({error}). Expected {_GRAMMAR}."
            raise FilterError(msg) from error

    def tree(self) -> Tree:
        """Return the tree of tests."""
        try:
            return self._tree(self._node, _MOST_LEVELS)
        except RecursionError:
            self.refuse(_TOO_DEEP)

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error of an expression with a problem."""
        for stand_in, name in self._names.items():
            problem = problem.replace(stand_in, f"`{name}`")
        msg = f"where={self.text!r}: {problem}."
        raise FilterError(msg)

    def _without_backticks(self, text: str) -> str:
        """Replace the names in backticks by identifiers."""
        prefix = "_column"
        while prefix in text:
            prefix += "_"

        def replace(match: re.Match[str]) -> str:
            if match[2] is None:
                return match[0]  # text in quotes
            stand_in = f"{prefix}{len(self._names)}x"  # x: column1x is no part of column10x
            self._names[stand_in] = match[2]
            return f" {stand_in} "

        return _QUOTED.sub(replace, text).strip()

    def _named(self) -> list[str]:
        # In "percent.mt > 5" the attribute is a column, and the name inside it is not.
        nodes = list(ast.walk(self._node))
        inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        named = {self._column(node) for node in nodes if id(node) not in inner}
        return sorted(name for name in named if name is not None)

    def _column(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (base := self._column(node.value)) is not None:
            return f"{base}.{node.attr}"
        return None

    def _tree(self, node: ast.expr, levels: int) -> Tree:
        if not levels:
            self.refuse(_TOO_DEEP)
        if isinstance(node, ast.BoolOp):
            parts = tuple(self._tree(value, levels - 1) for value in node.values)
            return Junction("and" if isinstance(node.op, ast.And) else "or", parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Junction("not", (self._tree(node.operand, levels - 1),))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            tests = tuple(self._test(*pair) for pair in zip(sides[:-1], node.ops, sides[1:], strict=True))
            return tests[0] if len(tests) == 1 else Junction("and", tests)
        name, source = self._column(node), ast.unparse(node)
        if name is None:
            self.refuse(f"{source!r} is neither a comparison nor a column of true and false")
        return Test(name, "true", None, source)

    def _test(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Test:
        name, sign = self._column(left), _OPERATORS.get(type(op))
        if name is None and (name := self._column(right)) is not None and not isinstance(op, ast.In | ast.NotIn):
            left, right = right, left  # 30 < age
            sign = _MIRROR.get(sign or "", sign)
        source = ast.unparse(left)
        if name is None or self._column(left) is None:
            self.refuse(f"{source!r} is not a column; put the column on the left")
        value = self._literal(right)
        if value is None and isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
            return Test(name, "missing" if isinstance(op, ast.Eq | ast.Is) else "present", None, source)
        if sign is None:
            self.refuse(f"{source!r} is compared in a way that is not known")
        if isinstance(op, ast.In | ast.NotIn) and not isinstance(value, list):
            self.refuse(f"'in' needs a list of values, as {name} in ['a', 'b'], got {value!r}")
        return Test(name, sign, value, source)

    def _literal(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            self.refuse(f"{ast.unparse(node)!r} is not a value; put text in quotes")
        return list(value) if isinstance(value, tuple | set | list) else value


def tests(tree: Tree) -> Iterator[Test]:
    """Yield the tests from left to right."""
    if isinstance(tree, Test):
        yield tree
        return
    for part in tree.parts:
        yield from tests(part)
