"""Every example in a public docstring runs and prints its output."""

from __future__ import annotations

import doctest
import importlib

import pytest

import scim

ROOMS = ("atlas", "datasets", "get", "index", "model", "ontology", "pl", "pp", "tl")


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=True)
    found = []
    for room in ROOMS:
        module = importlib.import_module(f"scim.{room}")
        for name in module.__all__:
            public = getattr(module, name)
            found += [test for test in finder.find(public, f"scim.{room}.{name}") if test.examples]
    return found


def test_the_tools_have_examples():
    named = {test.name for test in examples()}
    expected = {
        "scim.tl.embed",
        "scim.tl.annotate",
        "scim.tl.explain",
        "scim.tl.search",
        "scim.get.hits",
        "scim.pl.labels",
    }
    assert expected <= named


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
# toy cells have a hundred genes, and `embed` warns of few genes
@pytest.mark.filterwarnings("ignore::scim._core.errors.ScimWarning")
def test_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scim.settings, "atlas", None)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    runner.run(example, out=output.append)
    assert runner.failures == 0, "".join(output)
