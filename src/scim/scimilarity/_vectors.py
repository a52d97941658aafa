"""Embeddings of the cells of a published folder by row, in each of the forms that it may have."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core import FormatError
from scim.io import map_npy, new_array, release_pages
from scim.scimilarity._hnsw import HnswFile
from scim.scimilarity._tiledb import TileArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from scim.scimilarity._tiledb import Reader

_MAX_COMPRESSION = 100  # embeddings hardly compress
_MAX_ROWS_PER_VECTOR = 100  # no index has lost nearly all of its cells
_TOLERANCE = 1e-3  # of a squared length of 1; float32 rounds it by 1e-7
_KNN, _EMBEDDING = "full_kNN.bin", "cell_embedding"
_SHUFFLED, _IDS, _UPDATES = "shuffled_vectors", "shuffled_vector_ids", "updates"


class Vectors(NamedTuple):
    """Embeddings of cells by row."""

    present: NDArray[np.bool_]  # (n,) whether a row has an embedding; deleted cells have none
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]  # the embeddings of rows, ascending, that are present


@contextlib.contextmanager
def open_vectors(reader: Reader, folder: Path, n: int, dim: int, scratch: Path) -> Iterator[Vectors]:
    """Open the first form of embeddings that `cellsearch` has: hnswlib file, array, TileDB-Vector-Search index.

    `scratch` has room for a copy of the embeddings: an index of TileDB has them in another order.
    """
    knn, embedding = folder / _KNN, folder / _EMBEDDING
    if knn.is_file():
        yield _of_hnsw(knn, n, dim)
    elif embedding.is_dir():
        yield _of_array(TileArray(reader, embedding), n, dim)
    elif knn.is_dir():
        with _of_vector_search(reader, knn, n, dim, scratch) as vectors:
            yield vectors
    else:
        msg = f"{str(folder)!r} has no embeddings: neither {_KNN!r} (a file of hnswlib or a folder) nor {_EMBEDDING!r}."
        raise FormatError(msg)


def _of_hnsw(file: Path, n: int, dim: int) -> Vectors:
    index = HnswFile(file, dim)
    if n > _MAX_ROWS_PER_VECTOR * (index.n + 1):
        msg = f"{str(file)!r} has {index.n:,} elements, for {n:,} rows of metadata; they do not belong together."
        raise FormatError(msg)
    positions = index.positions(n)
    return Vectors(positions >= 0, lambda rows: checked_units(index.vectors(positions[rows]), file))


def _of_array(array: TileArray, n: int, dim: int) -> Vectors:
    """Read the rows of a dense array with one attribute, `vals` or `data`."""
    attributes, written = array.schema.attributes, array.schema.written or []
    width = written[1][1] + 1 if len(written) == 2 else 1
    if [*attributes.values()] != ["float32"] or len(written) != 2 or width != dim or array.n_rows != n:
        msg = f"{str(array.path)!r} has {array.n_rows:,} rows of {width} values {attributes}; "
        msg += f"expected {n:,} rows, as the metadata has, of {dim} float32, as the model makes them."
        raise FormatError(msg)
    _check_bytes(array, n * dim * 4)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(rows):
            return np.empty((0, dim), dtype=np.float32)
        first = int(rows[0])
        block = array.values((first, int(rows[-1]) + 1), (0, dim))
        return checked_units(np.asarray(block[rows - first], dtype=np.float32), array.path)

    return Vectors(np.ones(n, dtype=np.bool_), read)


@contextlib.contextmanager
def _of_vector_search(reader: Reader, folder: Path, n: int, dim: int, scratch: Path) -> Iterator[Vectors]:
    """Copy the vectors of an IVF index of TileDB, which are stored by list, into a file in the order of the rows."""
    shuffled, ids = folder / _SHUFFLED, folder / _IDS
    if not (shuffled.is_dir() and ids.is_dir()):
        names = sorted(path.name for path in folder.iterdir())[:8]
        msg = f"{str(folder)!r} must have {_SHUFFLED!r} and {_IDS!r}, as an IVF index of TileDB; it has {names}."
        raise FormatError(msg)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".scimilarity-", ignore_cleanup_errors=True) as temporary:
        file = Path(temporary) / "embeddings.npy"
        present = np.zeros(n, dtype=np.bool_)
        vectors, vector_ids = TileArray(reader, shuffled), TileArray(reader, ids)
        _check_vector_search(reader, folder, vectors, vector_ids, n, dim)
        _write_in_order(file, vectors, vector_ids, present, dim)
        mapped = map_npy(file, "r")

        def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            block: NDArray[np.float32] = np.array(mapped[rows])
            release_pages(mapped)
            return checked_units(block, shuffled)

        yield Vectors(present, read)


def _check_vector_search(
    reader: Reader, folder: Path, vectors: TileArray, vector_ids: TileArray, n: int, dim: int
) -> None:
    written, dtypes = vectors.schema.written or [], [*vectors.schema.attributes.values()]
    if len(written) != 2 or written[0] != (0, dim - 1) or written[1][0] != 0 or dtypes != ["float32"]:
        msg = f"{str(vectors.path)!r} has {written} of {dtypes}; expected {dim} rows of float32."
        raise FormatError(msg)
    n_ids, n_vectors = vector_ids.n_rows, written[1][1] + 1
    if n_ids != n_vectors or n_vectors > n or [*vector_ids.schema.attributes.values()] != ["uint64"]:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors and {n_ids:,} ids for the {n:,} rows of the metadata."
        raise FormatError(msg)
    _check_bytes(vectors, n_vectors * dim * 4)
    if n > _MAX_ROWS_PER_VECTOR * n_vectors:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors for {n:,} rows of metadata; they do not belong together."
        raise FormatError(msg)
    updates = folder / _UPDATES
    if updates.is_dir() and TileArray(reader, updates).schema.written is not None:
        msg = f"{str(folder)!r} has updates that were not consolidated; consolidate the index with its package."
        raise FormatError(msg)


def _write_in_order(
    file: Path, vectors: TileArray, vector_ids: TileArray, present: NDArray[np.bool_], dim: int
) -> None:
    """Write the vectors by row; whole tiles are read, as a part of a tile takes as long."""
    n_vectors = vector_ids.n_rows
    step = min(vectors.schema.tile or 1 << 17, 1 << 20)
    out = new_array(file, (len(present), dim), np.float32)
    for start in range(0, n_vectors, step):
        tile = (start, min(start + step, n_vectors))
        rows = vector_ids.values(tile).astype(np.int64)
        if (rows < 0).any() or (rows >= len(present)).any() or present[rows].any() or len(np.unique(rows)) < len(rows):
            msg = f"{str(vector_ids.path)!r} has rows that the metadata does not have, or two of one row."
            raise FormatError(msg)
        present[rows] = True
        out[rows] = vectors.values((0, dim), tile).T
    out.flush()  # type: ignore[attr-defined]  # a memory map


def checked_units(vectors: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Return vectors of length 1, or of zeros for a cell without counts; FormatError for others, which are damaged."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
        wrong = ~((np.abs(squares - 1) < _TOLERANCE) | (squares == 0))
    if wrong.any():
        length = float(np.sqrt(squares[wrong][0]))
        msg = f"{str(path)!r} is damaged: {int(wrong.sum())} embeddings have a length other than 1, as {length:g}."
        raise FormatError(msg)
    return vectors


def _check_bytes(array: TileArray, n_bytes: int) -> None:
    """Refuse embeddings far larger than their files: their rows were never written."""
    if n_bytes > _MAX_COMPRESSION * array.n_bytes:
        msg = f"{str(array.path)!r} is damaged: {n_bytes:,} bytes of embeddings in {array.n_bytes:,} of files."
        raise FormatError(msg)
