from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scim.training.data import _cells
from scim.training.data._cells import CellStore, code_labels


def filled(X, *, max_memory=10**9, step=7, scratch=None):
    store = CellStore(X.shape[1], max_memory=max_memory, scratch=scratch)
    for start in range(0, X.shape[0], step):
        store.write(X[start : start + step])
    return store.finish()


def random_matrix(n, n_genes, density, seed=0):
    X = sparse.random(n, n_genes, density=density, format="csr", rng=seed, dtype=np.float32)
    X.data[:] = np.ceil(X.data * 50)
    return X


@st.composite
def matrices(draw):
    """A matrix, some rows empty, and rows in any order with repeats."""
    n, n_genes = draw(st.integers(1, 30)), draw(st.integers(1, 20))
    X = random_matrix(n, n_genes, draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])), draw(st.integers(0, 99))).tolil()
    X[draw(st.lists(st.integers(0, n - 1), max_size=4))] = 0
    rows = draw(st.lists(st.integers(0, n - 1), max_size=40))
    return X.tocsr().astype(np.float32), np.array(rows, dtype=np.int64)


@pytest.mark.parametrize("max_memory", [10**9, 300, 0])
def test_rows_are_those_of_scipy(max_memory, tmp_path):
    @settings(max_examples=30)
    @given(matrices(), st.integers(1, 31))
    def check(drawn, step):
        X, rows = drawn
        store = filled(X, max_memory=max_memory, step=step, scratch=tmp_path)
        found, expected = store[rows], X[rows]
        assert store.shape == X.shape
        assert store.on_disk == (X.nnz * 6 > max_memory)
        assert store.n_bytes == X.nnz * 6
        assert found.shape == expected.shape
        assert np.array_equal(found.indptr, expected.indptr)
        assert np.array_equal(found.indices, expected.indices)
        assert np.array_equal(found.data, expected.data)
        assert (found.indices.dtype, found.data.dtype) == (np.int32, np.float32)

    check()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("max_memory", [10**9, 0])
def test_checksums_distinguish_counts(max_memory, tmp_path):
    X = random_matrix(20, 10, 0.5)
    known = filled(X, max_memory=10**9, step=20).checksums
    assert filled(X, max_memory=max_memory, step=3, scratch=tmp_path).checksums == known
    value, gene = X.copy(), X.copy()
    value.data[-1] += 1
    gene.indices[:2] = gene.indices[1::-1]
    for other in (value, gene):
        assert filled(other, max_memory=max_memory, scratch=tmp_path).checksums != known


def test_what_is_returned_is_a_copy(tmp_path):
    X = random_matrix(20, 10, 0.5)
    for max_memory in (10**9, 0):
        store = filled(X, max_memory=max_memory, scratch=tmp_path)
        store[np.arange(20)].data[:] = -1
        assert np.array_equal(store[np.arange(20)].toarray(), X.toarray())


@pytest.mark.parametrize(("n_genes", "n_bytes"), [(2**16, 6), (2**16 + 1, 8), (100_000, 8)])
@pytest.mark.parametrize("max_memory", [10**9, 0])
def test_genes_beyond_two_bytes(n_genes, n_bytes, max_memory):
    """The last gene of 65,536 is number 65,535, which still is two bytes."""
    X = random_matrix(12, n_genes, 0.001).tolil()
    X[3, n_genes - 1] = 5
    X[4, min(65_535, n_genes - 1)] = 6
    X = X.tocsr()
    store = filled(X, max_memory=max_memory)
    assert store.n_bytes == X.nnz * n_bytes
    assert (store[np.arange(12)] != X).nnz == 0


def test_no_cells_and_no_counts(tmp_path):
    for max_memory in (10**9, 0):
        none = CellStore(5, max_memory=max_memory, scratch=tmp_path).finish()
        assert none.shape == (0, 5)
        assert none[np.empty(0, dtype=np.int64)].shape == (0, 5)
        empty = filled(sparse.csr_matrix((9, 5), dtype=np.float32), max_memory=max_memory, scratch=tmp_path)
        assert empty[np.array([8, 0])].nnz == 0


def test_released_pages_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(_cells, "_RELEASE_EVERY", 3)
    X = random_matrix(500, 300, 0.3)
    store = filled(X, max_memory=0, step=100, scratch=tmp_path)
    random = np.random.default_rng(0)
    for _ in range(20):
        rows = random.integers(0, 500, 50)
        assert (store[rows] != X[rows]).nnz == 0


def test_the_data_is_neither_referenced_nor_changed():
    """A block may be a view of the user's matrix."""
    X = random_matrix(20, 10, 0.5)
    before = X.copy()
    store = filled(X, max_memory=0, step=20)
    X.data[:] = 99
    assert (store[np.arange(20)] != before).nnz == 0


def test_a_scratch_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        filled(random_matrix(9, 9, 0.5), max_memory=0, scratch=tmp_path / "nowhere")


def test_texts_of_one_term_have_one_code():
    texts = np.array(["T cell", "CL:0000084", "mine", "T-cell", "B cell", "Mine", "CL_0000236"], dtype=object)
    labels, codes = code_labels(texts)
    assert labels.names == ("B cell", "Mine", "T cell", "mine")
    assert labels.ids == ("CL:0000236", None, "CL:0000084", None)
    assert codes.tolist() == [2, 2, 3, 2, 0, 1, 0]


# Processes that fail or are killed -------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="disks are filled, and processes forked, as on Linux")


def in_child(function, *args):
    """Run a function in a fork of this process; return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    with warnings.catch_warnings():
        # If another test has used the package tiledb, it warns of forks: its threads are not in the child, which
        # needs none of them.
        warnings.filterwarnings("ignore", message=".*fork", category=UserWarning)
        process.start()
    process.join(60)
    return process.exitcode


def _write_beyond(limit, n_rows, step, folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        filled(random_matrix(n_rows, 1000, 0.1), max_memory=0, step=step, scratch=folder)
    except OSError as error:
        named = error.errno == errno.EFBIG and str(folder) in str(error)
        os._exit(41 if named and not [*folder.iterdir()] else 43)
    os._exit(42)


@linux
@pytest.mark.parametrize("left", [0, 1, 100, 4096, 39_999])
def test_a_full_disk_is_an_error_whatever_still_fits(tmp_path, left):
    """10,000 values of 4 bytes, also if only the last of them does not fit."""
    assert in_child(_write_beyond, left, 100, 100, tmp_path) == 41
    assert in_child(_write_beyond, left, 100, 3, tmp_path) == 41
    assert [*tmp_path.iterdir()] == []


@linux
def test_just_enough_room_is_enough(tmp_path):
    assert in_child(_write_beyond, 40_000, 100, 7, tmp_path) == 42


def _spill_and_die(folder, finished):
    X = random_matrix(100, 100, 0.5)
    store = CellStore(100, max_memory=0, scratch=folder)
    store.write(X)
    if finished:
        store.finish()[np.arange(9)]
    os.kill(os.getpid(), signal.SIGKILL)


@linux
@pytest.mark.parametrize("finished", [False, True])
def test_a_killed_process_leaves_no_file(tmp_path, finished):
    assert in_child(_spill_and_die, tmp_path, finished) == -signal.SIGKILL
    assert [*tmp_path.iterdir()] == []
