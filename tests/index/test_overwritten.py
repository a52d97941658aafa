"""Another program writes into, shortens or replaces the files of an index that is open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import scim
from scim._core import FormatError
from scim.io import _mapped

from .conftest import assert_equal, clusters

QUERIES = clusters(5, seed=9)


@pytest.fixture
def folder(saved, tmp_path, kind):
    return shutil.copytree(saved / kind, tmp_path / kind)


def use(index):
    return index.query(QUERIES, 9), index.query(QUERIES, 9, where="share > 300"), index.vectors(index.ids)


def overwrite(file):
    size = file.stat().st_size
    with file.open("r+b") as out:
        out.seek(size - 2)
        out.write(b"\xff\xff")


WRITES = {"overwritten": overwrite, "shortened": lambda file: os.truncate(file, 64)}


@pytest.mark.parametrize("how", WRITES)
def test_files_that_are_mapped(folder, how, monkeypatch):
    monkeypatch.setattr(_mapped, "_INTERVAL", 0)
    index = scim.index.open(folder)
    use(index)
    names = [os.path.basename(path) for path, _ in index._mapped._opened]  # noqa: PTH119  (texts)
    assert {"ids.npy", "gone.npy", "rows.1.npy", "column1_codes.npy"} < set(names)
    calls = [
        lambda: index.query(QUERIES[0], 3),
        lambda: index.query_radius(QUERIES, 0.2),
        lambda: index.select("age > 20"),
        lambda: index.vectors([4]),
        lambda: index.obs([4]),
        lambda: index.append(QUERIES),
        lambda: index.delete([4]),
        index.compact,
        lambda: index.save(folder.parent / "again"),
        lambda: index.ids,
        lambda: index.empty_ids,
    ]
    for number, name in enumerate(names):
        file = folder / name
        whole, facts = file.read_bytes(), file.stat()
        WRITES[how](file)
        with pytest.raises(FormatError, match=rf"{name}' was written into by another program.*Open it again"):
            calls[number % len(calls)]()
        file.write_bytes(whole)
        os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    use(index)


def test_files_that_are_replaced_stay_as_they_were(folder):
    index = scim.index.open(folder)
    expected = index.query(QUERIES, 9)
    for file in folder.glob("*.npy"):
        (folder / "other").write_bytes(b"other")
        (folder / "other").replace(file)
    assert_equal(index.query(QUERIES, 9), expected)


def test_an_index_is_saved_over_itself(folder):
    index = scim.index.open(folder)
    expected = use(index)
    index.save(folder, overwrite=True)
    for found, before in zip(use(index), expected, strict=True):
        np.testing.assert_array_equal(found, before)


def test_a_shortened_file_does_not_end_the_process(saved, tmp_path):
    folder = shutil.copytree(saved / "ivf", tmp_path / "ivf")
    code = (
        "import os, sys, time, scim, numpy as np; index = scim.index.open(sys.argv[1]); X = np.ones(16, 'f'); "
        "index.query(X, 3); os.truncate(sys.argv[1] + '/rows_values.npy', 0); time.sleep(0.01); index.query(X, 3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was written into by another program" in done.stderr
