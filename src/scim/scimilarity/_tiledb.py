"""TileDB arrays of a published folder, which tiledbsoma does not read, and the embeddings of its cells by row."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import FormatError, require
from scim.io import new_array, release_pages
from scim.scimilarity._hnsw import HnswFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_MEMORY_BUDGET = 512 << 20
_MAX_ROWS = 1 << 31
_MAX_COMPRESSION = 100  # embeddings hardly compress
_MAX_ROWS_PER_VECTOR = 100  # no index has lost nearly all of its cells
_KNN, _EMBEDDING = "full_kNN.bin", "cell_embedding"
_SHUFFLED, _IDS, _UPDATES = "shuffled_vectors", "shuffled_vector_ids", "updates"


class Vectors(NamedTuple):
    """Embeddings of cells by row."""

    present: NDArray[np.bool_]  # (n,) whether a row has an embedding; deleted cells have none
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]  # the embeddings of rows, ascending, that are present


@contextlib.contextmanager
def open_array(path: Path) -> Iterator[Any]:
    """Open an array for reading."""
    require("tiledb", "scimilarity")
    import tiledb  # noqa: PLC0415  (only published folders need it)

    budgets = ("sm.mem.total_budget", "sm.memory_budget", "sm.memory_budget_var")
    with reading(path):
        # Absolute: TileDB keeps the working directory of its first use.
        config = tiledb.Config(dict.fromkeys(budgets, _MEMORY_BUDGET))
        opened = tiledb.open(str(path.resolve()), "r", ctx=tiledb.Ctx(config))
    with opened as array:
        yield array


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of TileDB into a `FormatError` that names the array."""
    import tiledb  # noqa: PLC0415

    try:
        yield
    except tiledb.TileDBError as error:
        msg = f"{str(path)!r} cannot be read as a TileDB array ({error})."
        raise FormatError(msg) from error


def n_rows(array: Any, path: Path) -> int:
    """Return the number of rows written into a dense array, from 0 on."""
    written = None if array.schema.sparse else array.nonempty_domain()
    if written is None or int(written[0][0]) != 0 or int(written[0][1]) >= _MAX_ROWS:
        msg = f"{str(path)!r} must be a dense array of rows from 0 on, at most {_MAX_ROWS:,}; it has {written}."
        raise FormatError(msg)
    return int(written[0][1]) + 1


@contextlib.contextmanager
def open_vectors(folder: Path, n: int, dim: int, scratch: Path) -> Iterator[Vectors]:
    """Open the first form of embeddings that `cellsearch` has: hnswlib file, array, TileDB-Vector-Search index.

    `scratch` has room for a copy of the embeddings: an index of TileDB has them in another order.
    """
    knn, embedding = folder / _KNN, folder / _EMBEDDING
    if knn.is_file():
        yield _of_hnsw(knn, n, dim)
    elif embedding.is_dir():
        with open_array(embedding) as array:
            yield _of_array(embedding, array, n, dim)
    elif knn.is_dir():
        with _of_vector_search(knn, n, dim, scratch) as vectors:
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
    return Vectors(positions >= 0, lambda rows: index.vectors(positions[rows]))


def _of_array(path: Path, array: Any, n: int, dim: int) -> Vectors:
    """Read the rows of a dense array with one attribute, `vals` or `data`."""
    written = n_rows(array, path)
    width = int(array.nonempty_domain()[1][1]) + 1 if array.schema.ndim == 2 else 1
    dtype, n_attributes = array.schema.attr(0).dtype, array.schema.nattr
    if n_attributes != 1 or dtype != np.float32 or width != dim or written != n:
        msg = f"{str(path)!r} has {written:,} rows of {width} values {dtype} in {n_attributes} attributes; "
        msg += f"expected {n:,} rows, as the metadata has, of {dim} float32, as the model makes them."
        raise FormatError(msg)
    _check_bytes(path, n * dim * 4)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(rows):
            return np.empty((0, dim), dtype=np.float32)
        first = int(rows[0])
        with reading(path):
            block = array[first : int(rows[-1]) + 1, 0:dim]
        return np.asarray(_values(block)[rows - first], dtype=np.float32)

    return Vectors(np.ones(n, dtype=np.bool_), read)


@contextlib.contextmanager
def _of_vector_search(folder: Path, n: int, dim: int, scratch: Path) -> Iterator[Vectors]:
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
        with open_array(shuffled) as vectors, open_array(ids) as vector_ids:
            _check_vector_search(folder, vectors, vector_ids, n, dim)
            with reading(folder):
                _write_in_order(file, vectors, vector_ids, present, dim)
        mapped = np.load(file, mmap_mode="r")

        def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            block: NDArray[np.float32] = np.array(mapped[rows])
            release_pages(mapped)
            return block

        yield Vectors(present, read)


def _check_vector_search(folder: Path, vectors: Any, vector_ids: Any, n: int, dim: int) -> None:
    dense = vectors.schema.ndim == 2 and not vectors.schema.sparse
    written, dtype = vectors.nonempty_domain() if dense else None, vectors.schema.attr(0).dtype
    if written is None or written[0] != (0, dim - 1) or dtype != np.float32:
        msg = f"{str(folder / _SHUFFLED)!r} has {written} of {dtype}; expected {dim} rows of float32."
        raise FormatError(msg)
    n_ids, n_vectors = n_rows(vector_ids, folder / _IDS), int(written[1][1]) + 1
    if n_ids != n_vectors or n_vectors > n or vector_ids.schema.attr(0).dtype != np.uint64:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors and {n_ids:,} ids for the {n:,} rows of the metadata."
        raise FormatError(msg)
    _check_bytes(folder / _SHUFFLED, n_vectors * dim * 4)
    if n > _MAX_ROWS_PER_VECTOR * n_vectors:
        msg = f"{str(folder)!r} has {n_vectors:,} vectors for {n:,} rows of metadata; they do not belong together."
        raise FormatError(msg)
    if (folder / _UPDATES).is_dir():
        with open_array(folder / _UPDATES) as updates:
            if updates.nonempty_domain() is not None:
                msg = f"{str(folder)!r} has updates that were not consolidated; consolidate the index with its package."
                raise FormatError(msg)


def _write_in_order(file: Path, vectors: Any, vector_ids: Any, present: NDArray[np.bool_], dim: int) -> None:
    """Write the vectors by row; whole tiles are read, as a part of a tile takes as long."""
    stop = int(vectors.nonempty_domain()[1][1]) + 1
    step = min(int(vectors.schema.domain.dim(1).tile or 1 << 17), 1 << 20)
    out = new_array(file, (len(present), dim), np.float32)
    for start in range(0, stop, step):
        tile = slice(start, min(start + step, stop))
        rows = _values(vector_ids[tile]).astype(np.int64)
        if (rows < 0).any() or (rows >= len(present)).any() or present[rows].any() or len(np.unique(rows)) < len(rows):
            msg = f"{str(file)!r} has vectors of rows that the metadata does not have, or two of one row."
            raise FormatError(msg)
        present[rows] = True
        out[rows] = _values(vectors[0:dim, tile]).T
    out.flush()  # type: ignore[attr-defined]  # a memory map


def _values(block: Any) -> NDArray[Any]:
    """Return the values read from an array with one attribute."""
    return np.asarray(next(iter(block.values())) if isinstance(block, dict) else block)


def _check_bytes(path: Path, n_bytes: int) -> None:
    """Refuse embeddings far larger than their files: their rows were never written."""
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if n_bytes > _MAX_COMPRESSION * on_disk:
        msg = f"{str(path)!r} claims {n_bytes:,} bytes of embeddings, in files of {on_disk:,}; it is damaged."
        raise FormatError(msg)
