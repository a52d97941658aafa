"""Writing into the experiment, each step at a SOMA time of its own that readers open after the commit only."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import tiledbsoma
from tiledbsoma.options import TileDBWriteOptions

from scim.atlas._columns import TEXT
from scim.atlas.commit import SOMA
from scim.atlas.soma._context import context
from scim.atlas.soma._experiment import (
    COUNTS,
    COUNTS_PATH,
    MEASUREMENT,
    OBSM_PATH,
    VAR,
    VAR_PATH,
    X_PATH,
    add_counts,
    add_embedding,
    embedding_path,
    obs_columns,
    open_experiment,
)
from scim.atlas.soma._integrity import IntegrityChecker
from scim.pp import gene_symbols

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from scipy import sparse

    from scim.atlas.commit import Transaction
    from scim.atlas.storage import Storage

# Types as the C interface of Arrow spells them, for a change of a schema.
_FORMATS = {pa.bool_(): "b", pa.int64(): "l", pa.float64(): "g", TEXT: "U"}
_GROUP_BYTES = 1 << 18  # far more than a group or a new array: TileDB may end the process that cannot write a group
_MOST_RUNS = 1000  # runs of ids that are deleted as slices; more are deleted as a list


class Writer:
    """Writes at the times of a transaction, which records the names of the written files."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction, self._storage = transaction, transaction.storage

    def columns(self) -> dict[str, pa.DataType]:
        """Return the types of the obs columns that exist so far."""
        with open_experiment(self._storage, at=self._transaction.since) as experiment:
            return {name: experiment.obs.schema.field(name).type for name in obs_columns(experiment)}

    def add_columns(self, types: Mapping[str, pa.DataType]) -> None:
        """Add obs columns; stored cells have no value in them, and nothing is written for them."""
        new = {name: _FORMATS[kind] for name, kind in types.items()}
        if not new:
            return
        with self._transaction.at_wall_clock() as begun:
            with changed_schema(self._storage, "obs") as uri, tiledbsoma.DataFrame.open(uri, **self._how(None)) as obs:
                # tiledbsoma's own `update_obs` would read and write the whole frame for this.
                obs._handle._update_dataframe_schema([], new, {})
            self._transaction.wrote("obs/__schema", begun)

    def grow(self, n_rows: int, embedding: str) -> None:
        """Make room for rows in obs and in an embedding."""
        self._grow("obs", n_rows)
        self._grow(embedding_path(embedding), n_rows)

    def grow_counts(self, n_rows: int, genes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Make room for counts of cells and genes; return all genes, the stored ones first."""
        IntegrityChecker(self._storage, self._transaction.manifest).check(VAR_PATH)
        with open_experiment(self._storage, at=self._transaction.since) as experiment:
            rna = experiment.ms[MEASUREMENT]
            known = rna.var.read(column_names=["gene_id"]).concat()["gene_id"].to_numpy(zero_copy_only=False)
            present = COUNTS in rna.X
        stored = set(known)
        new = np.array([gene for gene in dict.fromkeys(genes) if gene not in stored], dtype=object)
        union = np.concatenate([known.astype(object), new])
        if present:
            self._grow(COUNTS_PATH, n_rows, len(union))
        else:
            self._add_array(X_PATH, COUNTS, lambda X: add_counts(X, n_rows, len(union)))
        if len(new):
            self._grow(VAR_PATH, len(union))
            rows = [np.arange(len(known), len(union)), pa.array(new, TEXT), pa.array(gene_symbols(new), TEXT)]
            with self._writing(VAR_PATH, self._transaction.tick()) as var:
                var.write(pa.table(rows, schema=VAR))
        return union

    def add_embedding(self, name: str, n_rows: int, dim: int) -> None:
        """Make an array for another embedding."""
        self._add_array(OBSM_PATH, name, lambda obsm: add_embedding(obsm, name, n_rows, dim))

    def drop_embedding(self, name: str) -> None:
        """Remove an embedding from the experiment; its files stay for readers of earlier commits."""
        at = self._transaction.tick()
        self._change_group(OBSM_PATH, "d", at, lambda obsm: obsm.__delitem__(name))

    def block(
        self,
        ids: NDArray[np.int64],
        *,
        obs: Mapping[str, pa.Array] | None = None,
        embedding: tuple[str, NDArray[np.float32]] | None = None,
        counts: sparse.csr_matrix | None = None,
    ) -> None:
        """Write rows of cells at one SOMA time; ids ascend, for an embedding without a gap.

        Columns that `obs` lacks have no value there; `counts` are over all genes of the store.
        """
        at = self._transaction.tick()
        if obs is not None:
            with self._writing("obs", at) as frame:
                frame.write(_table(ids, obs, frame.schema))
        if embedding is not None:
            name, rows = embedding
            with self._writing(embedding_path(name), at) as array:
                where = (slice(int(ids[0]), int(ids[-1])), slice(0, rows.shape[1] - 1))
                array.write(where, pa.Tensor.from_numpy(np.ascontiguousarray(rows)))
        if counts is not None and counts.nnz:
            with self._writing(COUNTS_PATH, at) as X:
                X.write(_triplets(ids, counts), platform_config=TileDBWriteOptions(sort_coords=False))

    def delete(self, ids: NDArray[np.int64], counted: NDArray[np.int64]) -> None:
        """Remove cells from obs, and those of them that have counts from the counts."""
        at = self._transaction.tick()
        for path, rows in (("obs", ids), (COUNTS_PATH, counted)):
            runs = _coordinates(rows) if len(rows) else []
            if runs:
                with self._writing(path, at, "d", n=len(runs)) as array:
                    for run in runs:
                        array.delete_cells((run,))

    @contextlib.contextmanager
    def _writing(self, path: str, at: int, mode: Literal["w", "d"] = "w", n: int = 1) -> Iterator[Any]:
        """Yield an array that is open at a SOMA time for `n` writes."""
        with tiledbsoma.open(self._storage.child(f"{SOMA}/{path}"), mode, **self._how(at)) as array:
            yield array
        self._transaction.wrote(f"{path}/__commits", at, n)

    def _grow(self, path: str, n_rows: int, n_columns: int = 0) -> None:
        at = self._transaction.tick()
        with changed_schema(self._storage, path) as uri, tiledbsoma.open(uri, "w", **self._how(at)) as array:
            if isinstance(array, tiledbsoma.DataFrame):
                if grows := array.domain[0][1] + 1 < n_rows:
                    array.tiledbsoma_resize_soma_joinid_shape(n_rows)
            else:
                shape = (max(n_rows, array.shape[0]), max(n_columns, array.shape[1]))
                if grows := shape != tuple(array.shape):
                    array.resize(shape)
        self._transaction.wrote(f"{path}/__schema", at, n=int(grows))

    def _add_array(self, group: str, name: str, add: Callable[[Any], object]) -> None:
        at = self._transaction.tick()
        with self._transaction.at_wall_clock():
            self._change_group(group, "w", at, add)
            self._transaction.wrote(f"{group}/{name}", at, n=2)  # its schema and its metadata

    def _change_group(self, path: str, mode: Literal["w", "d"], at: int, change: Callable[[Any], object]) -> None:
        try:
            self._in_group(path, mode, at, change)
        except BaseException as error:
            # A group that could not be closed is written when the last reference to it goes, and the frames of the
            # error hold one: drop them before the roll back, not after.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
            raise
        self._transaction.wrote(f"{path}/__group", at)

    def _in_group(self, path: str, mode: Literal["w", "d"], at: int, change: Callable[[Any], object]) -> None:
        self._storage.check_room(_GROUP_BYTES)
        group: Any = tiledbsoma.Collection.open(self._storage.child(f"{SOMA}/{path}"), mode, **self._how(at))
        with group:
            change(group)

    def _how(self, at: int | None) -> dict[str, Any]:
        return {"tiledb_timestamp": at, "context": context(self._storage)}


@contextlib.contextmanager
def changed_schema(storage: Storage, path: str) -> Iterator[str]:
    """Yield the address of an array for a change of its schema that readers see whole or not at all.

    TileDB reads all schemas of an array at every time, and writes one in place: a writer that dies, or a full disk,
    would leave an array that cannot be opened at any time. In a folder the change is therefore made in a copy without
    cells, and the new schema moves over in one step. On S3 files appear whole.
    """
    if storage.path is None:
        yield storage.child(f"{SOMA}/{path}")
        return
    array = storage.path / SOMA / path
    with tempfile.TemporaryDirectory(dir=storage.path, prefix=".schema-", suffix=".tmp") as room:
        copy = Path(room) / array.name
        shutil.copytree(array / "__meta", copy / "__meta")
        (copy / "__schema").mkdir()
        last = max(file for file in (array / "__schema").iterdir() if file.is_file())  # names begin with the time
        shutil.copy(last, copy / "__schema")
        yield str(copy)
        for new in sorted(file for file in (copy / "__schema").iterdir() if file.is_file() and file.name != last.name):
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.rename(array / "__schema" / new.name)


def _coordinates(ids: NDArray[np.int64]) -> list[Any]:
    """Return ids as slices, which TileDB compares faster, unless these are many."""
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return [slice(int(run[0]), int(run[-1])) for run in runs] if len(runs) <= _MOST_RUNS else [pa.array(ids)]


def _table(ids: NDArray[np.int64], obs: Mapping[str, pa.Array], schema: pa.Schema) -> pa.Table:
    columns = [
        pa.array(ids) if field.name == "soma_joinid" else obs.get(field.name, pa.nulls(len(ids), field.type))
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _triplets(ids: NDArray[np.int64], counts: sparse.csr_matrix) -> pa.Table:
    if not counts.has_sorted_indices:
        counts = counts.sorted_indices()
    if not counts.data.all():  # stored zeros mean the same as absent ones
        counts = counts.copy()
        counts.eliminate_zeros()
    rows = np.repeat(ids, np.diff(counts.indptr))
    return pa.table({"soma_dim_0": rows, "soma_dim_1": counts.indices.astype(np.int64), "soma_data": counts.data})
