"""Tests named by the public report that each stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


class Reports(list):
    """Parameters of a test: functions that make what a user had, and assert the right value or error."""

    def __call__(self, number: str, brought: str) -> Callable[[Callable], Callable]:
        """Add the decorated function as the report `number`, `owner/repository#number`, of what a user `brought`."""

        def add(test: Callable) -> Callable:
            self.append(pytest.param(test, id=f"{number} {brought}"))
            return test

        return add
