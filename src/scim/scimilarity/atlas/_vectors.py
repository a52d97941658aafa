"""The embeddings of the cells of a published search index, by row, whichever of its three forms the folder has."""

from __future__ import annotations

import contextlib
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from scim._core.errors import FormatError
from scim._core.folder import new_array
from scim._core.mmap import release_pages
from scim.scimilarity.atlas._hnsw import HnswFile
from scim.scimilarity.atlas._tiledb import check_bytes, n_rows, opened_array, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_KNN, _EMBEDDING = "full_kNN.bin", "cell_embedding"
_SHUFFLED, _IDS, _UPDATES = "shuffled_vectors", "shuffled_vector_ids", "updates"
_ROWS = 1 << 17
_MOST_COLUMNS = 1 << 20
_MOST_MISSING = 100
"""Times as many rows as elements, at most: no index has lost nearly all of its cells."""


class Read(Protocol):
    """Reads embeddings."""

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of cells that are there, by their rows, ascending."""


class Vectors(NamedTuple):
    """Embeddings of cells by row."""

    source: Path
    present: NDArray[np.bool_]
    """(n,) whether each row has one; deleted cells have none."""

    read: Read


@contextlib.contextmanager
def open_vectors(folder: Path, n: int, dim: int, beside: Path) -> Iterator[Vectors]:
    """Open the first that there is: an index file of hnswlib, the array of embeddings, an index of TileDB.

    Parameters
    ----------
    folder
        `cellsearch`.
    n
        Number of rows of the metadata.
    dim
        Length of an embedding.
    beside
        Folder in which there is room for a copy of the embeddings: an index of TileDB has them in another order.

    Raises
    ------
    FormatError
        There is none, or it is damaged, of another width, or not of these cells.
    """
    knn, embedding = folder / _KNN, folder / _EMBEDDING
    if knn.is_file():
        yield _of_hnsw(knn, n, dim)
    elif embedding.is_dir():
        with opened_array(embedding) as array:
            yield _of_array(embedding, array, n, dim)
    elif knn.is_dir():
        with _of_vector_search(knn, n, dim, beside) as vectors:
            yield vectors
    else:
        msg = f"{str(folder)!r} has no embeddings: neither {_KNN!r} (a file of hnswlib or a folder) nor {_EMBEDDING!r}."
        raise FormatError(msg)


def _of_hnsw(file: Path, n: int, dim: int) -> Vectors:
    index = HnswFile(file, dim)
    if n > _MOST_MISSING * (index.n + 1):
        msg = f"{str(file)!r} has {index.n:,} elements, for {n:,} rows of metadata; they do not belong together."
        raise FormatError(msg)
    places = index.places(n)
    return Vectors(file, places >= 0, lambda rows: index.vectors(places[rows]))


def _of_array(path: Path, array: Any, n: int, dim: int) -> Vectors:
    """Read the rows of a dense array; its only attribute is called `vals` or `data`."""
    _check_table(path, array, n, dim)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(rows):
            return np.empty((0, dim), dtype=np.float32)
        first = int(rows[0])
        with reading(path):
            block = array[first : int(rows[-1]) + 1, 0:dim]
        return np.asarray(_values(block)[rows - first], dtype=np.float32)

    return Vectors(path, np.ones(n, dtype=np.bool_), read)


def _check_table(path: Path, array: Any, n: int, dim: int) -> None:
    written = n_rows(array, path)
    width = int(array.nonempty_domain()[1][1]) + 1 if array.schema.ndim == 2 else 1
    attribute = array.schema.attr(0)
    if array.schema.nattr != 1 or attribute.dtype != np.float32 or width != dim or written != n:
        msg = (
            f"{str(path)!r} has {written:,} rows of {width} values {attribute.dtype} in {array.schema.nattr} "
            f"attributes; expected {n:,} rows, as the metadata has, of {dim} float32, as the model makes them."
        )
        raise FormatError(msg)
    check_bytes(path, n * dim * 4)


@contextlib.contextmanager
def _of_vector_search(folder: Path, n: int, dim: int, beside: Path) -> Iterator[Vectors]:
    """Copy the vectors of an index of TileDB, which lie by list, into a file in the order of the rows."""
    shuffled, ids = folder / _SHUFFLED, folder / _IDS
    if not (shuffled.is_dir() and ids.is_dir()):
        found = sorted(path.name for path in folder.iterdir())[:8]
        msg = f"{str(folder)!r} must have {_SHUFFLED!r} and {_IDS!r}, as an IVF index of TileDB; it has {found}."
        raise FormatError(msg)
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".scimilarity-", ignore_cleanup_errors=True) as room:
        file = Path(room) / "embeddings.npy"
        present = np.zeros(n, dtype=np.bool_)
        with opened_array(shuffled) as vectors, opened_array(ids) as numbers:
            _check_shuffled(folder, vectors, numbers, n, dim)
            with reading(folder):
                _write_in_order(file, vectors, numbers, present, dim)
        yield Vectors(folder, present, partial(_read, np.load(file, mmap_mode="r")))


def _check_shuffled(folder: Path, vectors: Any, numbers: Any, n: int, dim: int) -> None:
    height = None if vectors.schema.ndim != 2 or vectors.schema.sparse else vectors.nonempty_domain()
    if height is None or height[0] != (0, dim - 1) or vectors.schema.attr(0).dtype != np.float32:
        kind = vectors.schema.attr(0).dtype
        msg = f"{str(folder / _SHUFFLED)!r} has {height} of {kind}; expected {dim} rows of float32."
        raise FormatError(msg)
    n_ids, n_vectors = n_rows(numbers, folder / _IDS), int(height[1][1]) + 1
    if n_ids != n_vectors or n_vectors > n or numbers.schema.attr(0).dtype != np.uint64:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors and {n_ids:,} ids for the {n:,} rows of the metadata."
        raise FormatError(msg)
    check_bytes(folder / _SHUFFLED, n_vectors * dim * 4)
    if n > _MOST_MISSING * n_vectors:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors for {n:,} rows of metadata; they do not belong together."
        raise FormatError(msg)
    if (folder / _UPDATES).is_dir():
        with opened_array(folder / _UPDATES) as updates:
            if updates.nonempty_domain() is not None:
                msg = f"{str(folder)!r} has updates that were not consolidated; consolidate the index with its package."
                raise FormatError(msg)


def _write_in_order(file: Path, vectors: Any, numbers: Any, present: NDArray[np.bool_], dim: int) -> None:
    """Write the vectors by row; they are read a tile at a time, as a part of one costs as much."""
    stop = int(vectors.nonempty_domain()[1][1]) + 1
    step = min(int(vectors.schema.domain.dim(1).tile or _ROWS), _MOST_COLUMNS)
    out = new_array(file, (len(present), dim), np.float32)
    for start in range(0, stop, step):
        part = slice(start, min(start + step, stop))
        rows = _values(numbers[part]).astype(np.int64)
        if (rows < 0).any() or (rows >= len(present)).any() or present[rows].any() or len(np.unique(rows)) < len(rows):
            msg = f"{str(file)!r} has vectors of rows that the metadata does not have, or of one twice."
            raise FormatError(msg)
        present[rows] = True
        out[rows] = _values(vectors[0:dim, part]).T
    out.flush()  # type: ignore[attr-defined]  # a memory map


def _values(block: Any) -> NDArray[Any]:
    """Return what was read of an array with one attribute."""
    return np.asarray(next(iter(block.values())) if isinstance(block, dict) else block)


def _read(mapped: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.array(mapped[rows])
    release_pages(mapped)
    return found
