"""Pages of file maps that are let go: nothing is lost, and they no longer count as memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import scim
from scim._core import release_pages

N = 1 << 22


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(N))
    return tmp_path / "x.npy"


def resident(file):
    """Return how many bytes of a file are mapped into this process."""
    lines, size = Path("/proc/self/smaps").read_text().splitlines(), 0
    for i, line in enumerate(lines):
        if line.endswith(str(file)):
            size += 1024 * int(next(other for other in lines[i:] if other.startswith("Rss:")).split()[1])
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is told by Linux alone")
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_pages_that_were_read_are_no_longer_resident(file, mode):
    X = np.load(file, mmap_mode=mode)
    assert X.sum() == N * (N - 1) // 2
    assert resident(file) >= X.nbytes
    release_pages(X[5:].view(np.uint64))
    assert resident(file) == 0
    assert X.sum() == N * (N - 1) // 2


def test_what_was_written_stays(file):
    X = np.load(file, mmap_mode="r+")
    X[::1000] = -1
    release_pages(X)
    assert (X[::1000] == -1).all()
    del X
    assert (np.load(file)[::1000] == -1).all()


def test_what_was_written_into_a_copy_stays_unless_it_is_said_that_nothing_was(file):
    X = np.load(file, mmap_mode="c")
    X[7] = -1
    release_pages(X)
    assert X[7] == -1
    release_pages(X, unwritten=True)
    assert X[7] == 7


def test_an_array_in_memory_is_left_alone():
    X = np.arange(10)
    release_pages(X)
    assert X.sum() == 45


def test_an_index_answers_as_before(tmp_path):
    X = np.random.default_rng(0).normal(size=(3000, 16))
    index = scim.index.build(X, kind="ivf", path=tmp_path / "index")
    before = index.query(X[:50], 10)
    index.release_pages()
    after = index.query(X[:50], 10)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
