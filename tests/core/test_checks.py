from __future__ import annotations

import sys

import pytest

from scim._core import require


def test_a_package_that_is_installed_passes():
    require("numpy", "train")


@pytest.mark.parametrize("name", ["a_package_that_does_not_exist", "hidden"])
def test_a_missing_package_names_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "hidden", None)
    with pytest.raises(
        ImportError, match=rf'^{name} is not installed; run: pip install "scim-atlas\[train\]"'
    ) as error:
        require(name, "train")
    assert error.value.name == name
