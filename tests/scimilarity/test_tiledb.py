"""Embeddings of an IVF index of TileDB, which are stored by list: read by row."""

from __future__ import annotations

import numpy as np
import pytest

from scim._core import FormatError
from scim.scimilarity._tiledb import open_vectors

tiledb = pytest.importorskip("tiledb")

N, DIM = 60, 8
PRESENT = np.delete(np.arange(N), [3, 17])


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)


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


def test_vectors_are_read_by_row(tmp_path, X):
    write_index(tmp_path, X, np.random.default_rng(1).permutation(PRESENT))
    with open_vectors(tmp_path, N, DIM, tmp_path / "scratch") as vectors:
        assert np.flatnonzero(vectors.present).tolist() == PRESENT.tolist()
        np.testing.assert_array_equal(vectors.read(np.array([0, 4, 59])), X[[0, 4, 59]])
        assert vectors.read(np.empty(0, np.int64)).shape == (0, DIM)
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("wrong", [0, N, 1 << 62], ids=["a row twice", "beyond the rows", "far beyond"])
def test_rows_that_do_not_exist_or_repeat(tmp_path, X, wrong):
    rows = PRESENT.copy()
    rows[-1] = wrong
    write_index(tmp_path, X, rows)
    with pytest.raises(FormatError, match="rows that the metadata does not have, or two of one row"):
        open_vectors(tmp_path, N, DIM, tmp_path).__enter__()


def test_another_width(tmp_path, X):
    write_index(tmp_path, X, PRESENT)
    with pytest.raises(FormatError, match="expected 16 rows of float32"):
        open_vectors(tmp_path, N, 16, tmp_path).__enter__()


@pytest.mark.parametrize(
    ("n", "match"), [(20, "58 vectors and 58 ids for the 20 rows"), (6000, "do not belong together")]
)
def test_metadata_of_other_cells(tmp_path, X, n, match):
    write_index(tmp_path, X, PRESENT)
    with pytest.raises(FormatError, match=match):
        open_vectors(tmp_path, n, DIM, tmp_path).__enter__()


def test_updates_that_were_not_consolidated(tmp_path, X):
    index = write_index(tmp_path, X, PRESENT)
    write_array(index / "updates", np.ones(3, np.int32), (3,))
    with pytest.raises(FormatError, match="updates that were not consolidated"):
        open_vectors(tmp_path, N, DIM, tmp_path).__enter__()
