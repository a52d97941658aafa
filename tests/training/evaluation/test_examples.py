"""The examples of the functions on arrays run; those of `scim.model` run with the others."""

from __future__ import annotations

import doctest

import pytest

from scim.training import evaluation


@pytest.mark.parametrize("name", sorted(set(evaluation.__all__) - {"evaluate"}))
def test_example(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(getattr(evaluation, name), name):
        assert runner.run(test).failed == 0
