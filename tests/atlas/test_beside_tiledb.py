"""With the package tiledb imported, tiledbsoma raises tiledb's errors; damaged files are named all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("tiledb")

CHILD = """
import sys
if sys.argv[2] == "beside":
    import tiledb
import scim
try:
    with scim.atlas.open(sys.argv[1]) as atlas:
        atlas.obs(columns=["cell_id"])
except scim._core.errors.FormatError as error:
    print("named", error)
print([problem.part for problem in scim.atlas.verify(sys.argv[1])])
"""


@pytest.mark.parametrize("how", ["alone", "beside"])
def test_a_damaged_store_is_named(tmp_path, how):
    from helpers import fakes

    path = fakes.toy_atlas(tmp_path / "toy.scim", index=False)
    for file in (path / "soma" / "obs" / "__fragments").rglob("d0.tdb"):
        content = bytearray(file.read_bytes())
        content[: len(content) // 2] = b"\xff" * (len(content) // 2)
        file.write_bytes(bytes(content))
    command = [sys.executable, "-c", CHILD, str(path), how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("named ")
    assert "store" in done.stdout.splitlines()[-1]
