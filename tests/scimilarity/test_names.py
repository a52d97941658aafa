"""The names of the package, each loaded at first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scim import scimilarity
from scim.scimilarity import utils


def test_importing_the_room_loads_nothing_heavy():
    heavy = ("torch", "tiledb", "tiledbsoma", "numba", "anndata", "pandas")
    code = f"import scim.scimilarity, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", scimilarity.__all__)
def test_every_name_is_there(name):
    assert getattr(scimilarity, name).__name__.rpartition(".")[2] == name
    assert name in dir(scimilarity)


def test_utils_are_those_of_the_package_and_of_the_room():
    assert scimilarity.utils is utils
    assert utils.align_dataset is scimilarity.align_dataset
    assert utils.lognorm_counts is scimilarity.lognorm_counts


def test_other_names_raise():
    with pytest.raises(AttributeError, match="'scim.scimilarity' has no attribute 'CellSearch'"):
        scimilarity.CellSearch  # noqa: B018  (a name that is loaded when used)
