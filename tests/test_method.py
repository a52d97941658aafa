"""Each part of the method is listed with a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "method.md"


def functions_of(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_part_names_a_test_that_exists():
    for row in re.findall(r"^\| (?!part|---).*", PAGE.read_text(), re.MULTILINE):
        path, names = None, re.findall(r"`([\w/]*(?:\.py)?)::(\w+)`", row)
        assert names, row
        for file, name in names:
            path = TESTS / file if file else path  # `::name` is in the file before it
            assert name in functions_of(path), f"{path.name} has no {name}: {row}"
