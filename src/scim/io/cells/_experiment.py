"""Cells of a SOMA experiment that is open for reading, as those of the CELLxGENE Census."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from scim._core import FormatError, error_text, refuse_absent
from scim.io.cells._cells import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BUFFER_BYTES = 32 * 2**20
"""Memory that TileDB takes for one column of one read; its own default is 1 GiB."""
ID = "soma_joinid"
_MAX_GAP = 256
"""Rows of a dense array at most this far apart are fetched by one slice."""
_FEW = 0.02
"""Below this share of the cells, reading them by id takes less time than reading all."""
_VAR_NAMES = ("feature_id", "var_id", "gene_id")
_TEXTS = (pa.string(), pa.large_string())
_PANDAS_TYPES = {pa.bool_(): pd.BooleanDtype()}
_PANDAS_TYPES |= dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), pd.Int64Dtype())
"""Types that pandas keeps whether a value is missing or not."""


class Experiment:
    """Read cells of a `tiledbsoma.Experiment` that is open for reading: columns of obs, counts or an embedding.

    `measurement` is the name of the measurement, `layer` that of the counts in its `X`, `obsm` that of an embedding;
    `None` reads none. A damaged experiment raises FormatError.
    """

    def __init__(
        self, experiment: Any, *, measurement: str = "RNA", layer: str | None = "raw", obsm: str | None = None
    ) -> None:
        _check_experiment(experiment)
        self.uri = experiment.uri
        self._obsm = obsm
        with _named_damage(experiment.uri):
            measured = _member(experiment, "ms", measurement, "measurement", "the experiment")
            of = f"of measurement {measurement!r}"
            self._counts = None if layer is None else _member(measured, "X", layer, "layer", f"X {of}")
            self._embedding = None if obsm is None else _member(measured, "obsm", obsm, "obsm", f"obsm {of}")
            self._var, self._obs, self.columns = measured.var, experiment.obs, list(experiment.obs.keys())

    def read(self, columns: Sequence[str], ids: NDArray[np.int64] | None = None) -> Cells:
        """Return cells with these columns of obs; counts and embedding are read by rows, at their use.

        `ids` are ascending `soma_joinid` of the cells, by default of all. obs is indexed by ascending `soma_joinid`,
        var by the ids of the genes; text of few values is categorical.
        """
        refuse_absent(columns, self.columns)
        frame = self._read_obs(ids, [name for name in columns if name != ID])
        ids = frame.index.to_numpy()
        _check_ids(ids, f"{self.uri}/obs")
        with _named_damage(self.uri):
            var = self._var.read().concat().to_pandas().sort_values(ID)
        genes = var.pop(ID).to_numpy()
        _check_ids(genes, self._var.uri)
        name = next((name for name in _VAR_NAMES if name in var), None)
        var.index = pd.Index(genes if name is None else var.pop(name)).astype(str)
        X = None if self._counts is None else _rows_of(self._counts, ids, genes)
        dims = None if self._embedding is None else np.arange(self._embedding.shape[1])
        obsm = {} if dims is None else {str(self._obsm): _rows_of(self._embedding, ids, dims, dense=True)}
        return Cells(frame, var, lambda: X, obsm=obsm)

    def frames(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield `soma_joinid` and columns of obs of all cells, by batches of bounded size; text is categorical."""
        for table in self._batches(columns, None):
            yield table.to_pandas(types_mapper=_PANDAS_TYPES.get)

    def _batches(self, columns: Sequence[str], ids: NDArray[np.int64] | None) -> Iterator[pa.Table]:
        """Yield tables of all cells, or if they are few of those of `ids`; text is dictionary-coded."""
        few = ids is not None and ids.size < _FEW * self._obs.count and tuple(self._obs.index_column_names) == (ID,)
        with _reopened(self._obs) as obs, _named_damage(self._obs.uri):
            for table in obs.read((pa.array(ids),) if few else (), column_names=[ID, *columns]):
                coded = [x.dictionary_encode() if x.type in _TEXTS else x for x in table.itercolumns()]
                yield pa.table(coded, names=table.column_names)

    def _read_obs(self, ids: NDArray[np.int64] | None, columns: list[str]) -> pd.DataFrame:
        tables = [batch if ids is None else _only(batch, ids) for batch in self._batches(columns, ids)]
        none = pa.table({name: [] for name in [ID, *columns]})
        table = pa.concat_tables(tables).unify_dictionaries() if tables else none
        found = table[ID].to_numpy()
        if not (found[1:] > found[:-1]).all():
            table = table.take(pa.array(np.argsort(found)))
        frame: pd.DataFrame = table.select(columns).to_pandas(types_mapper=_PANDAS_TYPES.get)
        for name in columns:
            if isinstance(frame[name].dtype, pd.CategoricalDtype) and 2 * len(frame[name].cat.categories) > len(frame):
                frame[name] = frame[name].astype(object)
        return frame.set_index(pd.Index(table[ID].to_numpy(), name=ID))


class SparseRows:
    """A `tiledbsoma.SparseNDArray`, of which the rows of some cells are read by slice.

    `ids` and `columns` are the ascending `soma_joinid` of its cells and columns. With `dense`, rows are returned as an
    array, and a row without values is an error.
    """

    def __init__(self, array: Any, ids: NDArray[np.int64], columns: NDArray[np.int64], *, dense: bool = False) -> None:
        self._array = _reopened(array)
        self._ids, self._columns, self._dense = ids, columns, dense
        self.shape = (ids.size, columns.size)
        self.dtype = np.dtype(array.type.to_pandas_dtype())

    def __getitem__(self, rows: slice) -> Any:
        ids = self._ids[rows]
        parts = [(np.empty(0, self.dtype), np.empty(0, np.intp), np.empty(0, np.intp)), *self._read(ids)]
        values, row, column = (np.concatenate(part) for part in zip(*parts, strict=True))
        part = sparse.coo_matrix((values, (row, column)), shape=(ids.size, self.shape[1])).tocsr()
        if not self._dense:
            return part
        if n_empty := int((np.diff(part.indptr) == 0).sum()):
            msg = f"{n_empty} of {ids.size} cells have no values in {self._array.uri!r}; leave them out with where=."
            raise ValueError(msg)
        return part.toarray()

    def _read(self, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]]:
        """Yield values, their rows among `ids` and their columns."""
        if not ids.size:
            return
        # Points cost no more than a slice that is thinned out later, and much less where rows are far apart.
        adjacent = ids[-1] - ids[0] + 1 == ids.size
        points = slice(int(ids[0]), int(ids[-1])) if adjacent else pa.array(ids)
        with _named_damage(self._array.uri):
            for table in self._array.read((points, slice(None))).tables():
                row = self._positions(ids, table["soma_dim_0"].to_numpy(), "rows that were not asked for")
                column = self._positions(self._columns, table["soma_dim_1"].to_numpy(), "columns that var lacks")
                yield table["soma_data"].to_numpy(), row, column

    def _positions(self, known: NDArray[np.int64], found: NDArray[Any], what: str) -> NDArray[np.intp]:
        """Return the positions of ids among the ascending `known` ones; FormatError if one is not there."""
        at = np.searchsorted(known, found)
        if found.size and not (known.size and np.array_equal(known[np.minimum(at, known.size - 1)], found)):
            msg = f"{self._array.uri!r} has values in {what}; it is damaged. Restore it from a copy."
            raise FormatError(msg)
        return at


class DenseRows:
    """A dense array of an experiment, of which the rows of some cells (ascending `ids`) are read by slice."""

    def __init__(self, array: Any, ids: NDArray[np.int64]) -> None:
        self._array = _reopened(array)
        self._ids = ids
        self.shape = (ids.size, *array.shape[1:])
        self.dtype = np.dtype(array.type.to_pandas_dtype())

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        ids = self._ids[rows]
        values = np.empty((ids.size, *self.shape[1:]), dtype=self.dtype)
        if ids.size:
            breaks = [0, *(np.flatnonzero(np.diff(ids) > _MAX_GAP) + 1).tolist(), ids.size]
            for start, stop in itertools.pairwise(breaks):
                run = ids[start:stop]
                with _named_damage(self._array.uri):
                    block = self._array.read((slice(int(run[0]), int(run[-1])),)).to_numpy()
                if block.shape != (run[-1] - run[0] + 1, *self.shape[1:]):
                    msg = f"{self._array.uri!r} returned {block.shape} for {run.size} cells; it is damaged."
                    raise FormatError(msg)
                values[start:stop] = block[run - run[0]]
        return values


def _check_experiment(experiment: Any) -> None:
    kind = getattr(experiment, "soma_type", None)
    if kind != "SOMAExperiment":
        has_parts = kind == "SOMACollection" and not experiment.closed
        inside = f", which has {sorted(experiment)}: pass the experiment in it" if has_parts else ""
        msg = f"Expected a tiledbsoma.Experiment, got {type(experiment).__name__}{inside}; "
        msg += "open one with tiledbsoma.Experiment.open(uri)."
        raise TypeError(msg)
    if experiment.closed or experiment.mode != "r":
        state = "closed" if experiment.closed else f"open with mode {experiment.mode!r}"
        msg = f"The experiment at {experiment.uri!r} is {state}; open it for reading: tiledbsoma.Experiment.open(uri)."
        raise ValueError(msg)


def _member(parent: Any, part: str, name: str, argument: str, of: str) -> Any:
    present = sorted(parent[part]) if part in parent else []
    if name not in present:
        msg = f"{argument}={name!r} is not in {of}. Present: {present}."
        raise KeyError(msg)
    return parent[part][name]


def _rows_of(array: Any, ids: NDArray[np.int64], columns: NDArray[np.int64], *, dense: bool = False) -> Any:
    is_sparse = array.soma_type == "SOMASparseNDArray"  # its class is tiledbsoma's, which this room does not import
    return SparseRows(array, ids, columns, dense=dense) if is_sparse else DenseRows(array, ids)


def _reopened(array: Any) -> Any:
    """Open an array again, at the same time stamp, with read buffers of bounded size."""
    context = array.context.replace(tiledb_config={"soma.init_buffer_bytes": BUFFER_BYTES})
    with _named_damage(array.uri):
        return type(array).open(array.uri, context=context, tiledb_timestamp=array.tiledb_timestamp_ms)


@contextlib.contextmanager
def _named_damage(uri: str) -> Iterator[None]:
    """Raise errors of TileDB as a `FormatError` with the address."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("tiledbsoma", "pyarrow"):
            raise
        msg = f"{uri!r} cannot be read: {error_text(error)}; restore it from a copy."
        raise FormatError(msg) from error


def _check_ids(ids: NDArray[Any], uri: str) -> None:
    """Raise FormatError unless ids are whole numbers, each once, ascending from 0 on: rows are found by them."""
    if ids.size and (ids.dtype.kind not in "iu" or ids[0] < 0 or (ids[1:] <= ids[:-1]).any()):
        msg = f"{uri!r} has a {ID} that is missing, negative or there twice; it is damaged. Restore it from a copy."
        raise FormatError(msg)


def _only(batch: pa.Table, ids: NDArray[np.int64]) -> pa.Table:
    """Return the cells of `ids` (ascending)."""
    found = batch[ID].to_numpy()
    positions = np.minimum(np.searchsorted(ids, found), ids.size - 1)
    return batch.filter(pa.array(ids[positions] == found))
