"""Arrays are read in a process of their own; embeddings of an IVF index of TileDB, which are stored by list, by row."""

from __future__ import annotations

import os

import numpy as np
import pytest

from helpers.published import normalised
from scim._core import FormatError
from scim.scimilarity._tiledb import TileArray, open_reader
from scim.scimilarity._vectors import open_vectors

tiledb = pytest.importorskip("tiledb")

N, DIM = 60, 8
PRESENT = np.delete(np.arange(N), [3, 17])


@pytest.fixture
def X():
    return normalised(np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32))


@pytest.fixture
def reader(share_reader):
    with share_reader() as reader:
        yield reader


def write_array(path, values, tiles):
    dims = [tiledb.Dim(f"d{i}", domain=(0, n - 1), tile=tiles[i], dtype=np.int32) for i, n in enumerate(values.shape)]
    schema = tiledb.ArraySchema(domain=tiledb.Domain(*dims), attrs=[tiledb.Attr("values", dtype=values.dtype)])
    tiledb.Array.create(str(path), schema)
    with tiledb.open(str(path), "w") as array:
        array[:] = values


def write_index(folder, X, rows):
    index = folder / "full_kNN.bin"
    index.mkdir(parents=True)
    write_array(index / "shuffled_vectors", np.ascontiguousarray(X[rows % len(X)].T), (X.shape[1], 7))
    write_array(index / "shuffled_vector_ids", rows.astype(np.uint64), (7,))
    return index


def test_vectors_are_read_by_row(tmp_path, X, reader):
    write_index(tmp_path, X, np.random.default_rng(1).permutation(PRESENT))
    with open_vectors(reader, tmp_path, N, DIM, tmp_path / "scratch") as vectors:
        assert np.flatnonzero(vectors.present).tolist() == PRESENT.tolist()
        np.testing.assert_array_equal(vectors.read(np.array([0, 4, 59])), X[[0, 4, 59]])
        assert vectors.read(np.empty(0, np.int64)).shape == (0, DIM)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("wrong", [0, N, 1 << 62], ids=["a row twice", "beyond the rows", "far beyond"])
def test_rows_that_do_not_exist_or_repeat(tmp_path, X, wrong, reader):
    rows = PRESENT.copy()
    rows[-1] = wrong
    write_index(tmp_path, X, rows)
    with pytest.raises(FormatError, match="rows that the metadata does not have, or two of one row"):
        open_vectors(reader, tmp_path, N, DIM, tmp_path).__enter__()


def test_another_width(tmp_path, X, reader):
    write_index(tmp_path, X, PRESENT)
    with pytest.raises(FormatError, match="expected 16 rows of float32"):
        open_vectors(reader, tmp_path, N, 16, tmp_path).__enter__()


@pytest.mark.parametrize(
    ("n", "match"), [(20, "58 vectors and 58 ids for the 20 rows"), (6000, "do not belong together")]
)
def test_metadata_of_other_cells(tmp_path, X, n, match, reader):
    write_index(tmp_path, X, PRESENT)
    with pytest.raises(FormatError, match=match):
        open_vectors(reader, tmp_path, n, DIM, tmp_path).__enter__()


def test_updates_that_were_not_consolidated(tmp_path, X, reader):
    index = write_index(tmp_path, X, PRESENT)
    write_array(index / "updates", np.ones(3, np.int32), (3,))
    with pytest.raises(FormatError, match="updates that were not consolidated"):
        open_vectors(reader, tmp_path, N, DIM, tmp_path).__enter__()


@pytest.mark.parametrize("values", [3.0, np.nan, 1e30])
def test_embeddings_of_another_length(tmp_path, X, reader, values):
    X[4] = values
    write_index(tmp_path, X, PRESENT)
    with open_vectors(reader, tmp_path, N, DIM, tmp_path) as vectors, pytest.raises(FormatError, match="1 embeddings"):
        vectors.read(np.array([0, 4, 59]))


def test_a_reader_that_dies_is_an_error_that_names_the_array(tmp_path, X):
    write_array(tmp_path / "a", X, (7, 8))
    with open_reader() as reader:
        array = TileArray(reader, tmp_path / "a")
        np.testing.assert_array_equal(array.values((3, 5), (0, DIM)), X[3:5])
        reader._process.kill()
        with pytest.raises(FormatError, match="a' was not read: the process that read it ended.*copy the published"):
            array.values((3, 5), (0, DIM))
    assert reader._process.returncode is not None


def test_a_request_that_takes_too_long_ends(tmp_path, X, monkeypatch):
    write_array(tmp_path / "a", X, (7, 8))
    monkeypatch.setattr("scim.scimilarity._tiledb._LIMIT", 0.0)
    with open_reader() as reader, pytest.raises(FormatError, match="process that read it ended"):
        TileArray(reader, tmp_path / "a")


def test_a_pipe_among_the_files(tmp_path, X, reader):
    write_array(tmp_path / "a", X, (7, 8))
    os.mkfifo(tmp_path / "a" / "__meta" / "x")
    with pytest.raises(FormatError, match="x' is a pipe"):
        TileArray(reader, tmp_path / "a")
