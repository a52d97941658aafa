"""Matrices of a SOMA experiment, of which the rows of some cells are read by slice."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import tiledbsoma
from scipy import sparse

from scim._core.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BUFFER_BYTES = 32 * 2**20
"""Memory that TileDB takes for one column of one read; its own default is 1 GiB."""

_NEAR = 256
"""Rows of a dense array at most this far apart are fetched by one slice."""


@contextlib.contextmanager
def soma_named(uri: str) -> Iterator[None]:
    """Say which experiment it is that TileDB cannot read."""
    try:
        yield
    except tiledbsoma.SOMAError as error:
        cause = " ".join(str(error).split()).rstrip(".")
        msg = f"{uri!r} cannot be read: {cause}; restore it from a copy."
        raise FormatError(msg) from error


def bounded(array: Any) -> Any:
    """Open an array again, as it was when it was opened, with read buffers of bounded size."""
    context = array.context.replace(tiledb_config={"soma.init_buffer_bytes": BUFFER_BYTES})
    with soma_named(array.uri):
        return type(array).open(array.uri, context=context, tiledb_timestamp=array.tiledb_timestamp_ms)


class ExperimentMatrix:
    """A sparse matrix of an experiment, over some of its cells.

    Parameters
    ----------
    array
        A :class:`tiledbsoma.SparseNDArray`, open for reading.
    ids
        `soma_joinid` of the cells wanted, ascending.
    columns
        `soma_joinid` of the columns, ascending.
    """

    def __init__(self, array: Any, ids: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        self._array = bounded(array)
        self._ids, self._columns = ids, columns
        self.shape = (ids.size, columns.size)
        self.dtype = np.dtype(array.type.to_pandas_dtype())

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        ids = self._ids[rows]
        parts = [(np.empty(0, self.dtype), np.empty(0, np.intp), np.empty(0, np.intp)), *self._read(ids)]
        values, at, of = (np.concatenate(part) for part in zip(*parts, strict=True))
        return sparse.coo_matrix((values, (at, of)), shape=(ids.size, self.shape[1])).tocsr()

    def _read(self, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]]:
        """Yield values, their rows among `ids` and their columns."""
        if not ids.size:
            return
        # Points cost no more than a slice that is thinned out later, and much less where rows are far apart.
        together = ids[-1] - ids[0] + 1 == ids.size
        wanted = slice(int(ids[0]), int(ids[-1])) if together else pa.array(ids)
        with soma_named(self._array.uri):
            for table in self._array.read((wanted, slice(None))).tables():
                at = np.searchsorted(ids, table["soma_dim_0"].to_numpy())
                yield table["soma_data"].to_numpy(), at, self._places(table["soma_dim_1"].to_numpy())

    def _places(self, found: NDArray[np.int64]) -> NDArray[np.intp]:
        places = np.searchsorted(self._columns, found)
        if (self._columns[np.minimum(places, self._columns.size - 1)] != found).any():
            msg = f"{self._array.uri!r} has values in columns that var does not describe; it is damaged."
            raise FormatError(msg)
        return places


class EmbeddingRows:
    """A sparse embedding of an experiment as rows of numbers; a cell without values has no embedding, which is refused.

    Parameters
    ----------
    array
        A :class:`tiledbsoma.SparseNDArray`, open for reading.
    ids
        `soma_joinid` of the cells wanted, ascending.
    """

    def __init__(self, array: Any, ids: NDArray[np.int64]) -> None:
        self._matrix = ExperimentMatrix(array, ids, np.arange(array.shape[1]))
        self._uri = array.uri
        self.shape, self.dtype = self._matrix.shape, self._matrix.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        part = self._matrix[rows]
        empty = int((np.diff(part.indptr) == 0).sum())
        if empty:
            msg = f"{empty} of {part.shape[0]} cells have no values in {self._uri!r}; leave them out with where=."
            raise ValueError(msg)
        return part.toarray()


class DenseRows:
    """A dense array of an experiment, over some of its cells.

    Parameters
    ----------
    array
        A :class:`tiledbsoma.DenseNDArray`, open for reading.
    ids
        `soma_joinid` of the cells wanted, ascending.
    """

    def __init__(self, array: Any, ids: NDArray[np.int64]) -> None:
        self._array = bounded(array)
        self._ids = ids
        self.shape = (ids.size, *array.shape[1:])
        self.dtype = np.dtype(array.type.to_pandas_dtype())

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        ids = self._ids[rows]
        found = np.empty((ids.size, *self.shape[1:]), dtype=self.dtype)
        if ids.size:
            breaks = [0, *(np.flatnonzero(np.diff(ids) > _NEAR) + 1).tolist(), ids.size]
            for start, stop in itertools.pairwise(breaks):
                run = ids[start:stop]
                with soma_named(self._array.uri):
                    block = self._array.read((slice(int(run[0]), int(run[-1])),)).to_numpy()
                found[start:stop] = block[run - run[0]]
        return found
