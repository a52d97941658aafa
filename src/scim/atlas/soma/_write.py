"""Writing into the experiment, each step at a SOMA time of its own that nobody reads until it is committed."""

from __future__ import annotations

import gc
import traceback
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import tiledbsoma
from tiledbsoma.options import TileDBWriteOptions

from scim.atlas.commit import SOMA
from scim.atlas.soma._layout import (
    COUNTS,
    COUNTS_PATH,
    MEASUREMENT,
    OBSM_PATH,
    VAR,
    VAR_PATH,
    X_PATH,
    add_counts,
    add_embedding,
    context,
    embedding_path,
    open_experiment,
)
from scim.atlas.soma._read import obs_columns
from scim.atlas.soma._schema import changed_schema
from scim.atlas.source import TEXT
from scim.pp import gene_symbols

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from scipy import sparse

    from scim.atlas.commit import Transaction

_FORMATS = {pa.bool_(): "b", pa.int64(): "l", pa.float64(): "g", TEXT: "U"}
"""Types as the C interface of Arrow spells them, which is how a change of a schema is told to TileDB."""

_MOST_RUNS = 1000
"""Runs of ids that are deleted as slices; beyond, as a list."""


class Writer:
    """Writes at the times of a transaction.

    Parameters
    ----------
    transaction
        Gives the times, and commits them.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction, self._storage = transaction, transaction.storage

    def columns(self) -> dict[str, pa.DataType]:
        """Return the types of the obs columns that there are so far."""
        with open_experiment(self._storage, at=self._transaction.since) as experiment:
            return {name: experiment.obs.schema.field(name).type for name in obs_columns(experiment)}

    def add_columns(self, types: Mapping[str, pa.DataType]) -> None:
        """Add obs columns; cells that are there have no value in them, and nothing is written for them."""
        new = {name: _FORMATS[kind] for name, kind in types.items()}
        if new:
            with (
                self._transaction.by_the_clock(),
                changed_schema(self._storage, "obs") as uri,
                tiledbsoma.DataFrame.open(uri, **self._how(None)) as obs,
            ):
                # tiledbsoma's own `update_obs` would read and write the whole frame for this.
                obs._handle._update_dataframe_schema([], new, {})

    def grow(self, n_rows: int, embedding: str) -> None:
        """Make room for rows in obs and in an embedding."""
        self._grow_frame("obs", n_rows)
        self._grow_array(embedding_path(embedding), n_rows)

    def grow_counts(self, n_rows: int, genes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Make room for counts of cells and genes; return all genes, those that were there first."""
        with open_experiment(self._storage, at=self._transaction.since) as experiment:
            rna = experiment.ms[MEASUREMENT]
            known = rna.var.read(column_names=["gene_id"]).concat()["gene_id"].to_numpy(zero_copy_only=False)
            present = COUNTS in rna.X
        there = set(known)
        new = np.array([gene for gene in dict.fromkeys(genes) if gene not in there], dtype=object)
        union = np.concatenate([known.astype(object), new])
        if present:
            self._grow_array(COUNTS_PATH, n_rows, len(union))
        else:
            at = self._transaction.tick()
            with self._transaction.by_the_clock():
                self._change_group(X_PATH, "w", at, lambda X: add_counts(X, n_rows, len(union)))
        if len(new):
            self._add_genes(new, len(union))
        return union

    def _add_genes(self, new: NDArray[np.object_], n_genes: int) -> None:
        self._grow_frame(VAR_PATH, n_genes)
        rows = [np.arange(n_genes - len(new), n_genes), pa.array(new, TEXT), pa.array(gene_symbols(new), TEXT)]
        how = self._how(self._transaction.tick())
        with tiledbsoma.DataFrame.open(self._uri(VAR_PATH), "w", **how) as var:
            var.write(pa.table(rows, schema=VAR))

    def add_embedding(self, name: str, n_rows: int, dim: int) -> None:
        """Make an array for another embedding."""
        at = self._transaction.tick()
        with self._transaction.by_the_clock():
            self._change_group(OBSM_PATH, "w", at, lambda obsm: add_embedding(obsm, name, n_rows, dim))

    def drop_embedding(self, name: str) -> None:
        """Take an embedding out of the experiment; its files stay for those who read earlier commits."""
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
        """Write rows of cells, all at one time.

        Parameters
        ----------
        ids
            Their ids, ascending; for an embedding without a gap.
        obs
            Columns; those left out have no value.
        embedding
            Name of an embedding, and its rows.
        counts
            Counts over all genes of the store.
        """
        at = self._transaction.tick()
        if obs is not None:
            with self._obs("w", at) as frame:
                frame.write(_table(ids, obs, frame.schema))
        if embedding is not None:
            name, rows = embedding
            with tiledbsoma.DenseNDArray.open(self._uri(embedding_path(name)), "w", **self._how(at)) as array:
                where = (slice(int(ids[0]), int(ids[-1])), slice(0, rows.shape[1] - 1))
                array.write(where, pa.Tensor.from_numpy(np.ascontiguousarray(rows)))
        if counts is not None and counts.nnz:
            with tiledbsoma.SparseNDArray.open(self._uri(COUNTS_PATH), "w", **self._how(at)) as X:
                X.write(_triplets(ids, counts), platform_config=TileDBWriteOptions(sort_coords=False))

    def delete(self, ids: NDArray[np.int64], counted: NDArray[np.int64]) -> None:
        """Remove cells from obs, and those of them that have counts from the counts."""
        at = self._transaction.tick()
        with self._obs("d", at) as obs:
            for rows in _coordinates(ids):
                obs.delete_cells((rows,))
        if len(counted):
            with tiledbsoma.SparseNDArray.open(self._uri(COUNTS_PATH), "d", **self._how(at)) as X:
                for rows in _coordinates(counted):
                    X.delete_cells((rows,))

    def _grow_frame(self, path: str, n_rows: int) -> None:
        how = self._how(self._transaction.tick())
        with changed_schema(self._storage, path) as uri, tiledbsoma.DataFrame.open(uri, "w", **how) as frame:
            if frame.domain[0][1] + 1 < n_rows:
                frame.tiledbsoma_resize_soma_joinid_shape(n_rows)

    def _grow_array(self, path: str, n_rows: int, n_columns: int = 0) -> None:
        how = self._how(self._transaction.tick())
        with changed_schema(self._storage, path) as uri, tiledbsoma.open(uri, "w", **how) as array:
            shape = (max(n_rows, array.shape[0]), max(n_columns, array.shape[1]))
            if shape != tuple(array.shape):
                array.resize(shape)

    def _change_group(self, path: str, mode: Literal["w", "d"], at: int, change: Callable[[Any], object]) -> None:
        try:
            self._in_group(path, mode, at, change)
        except BaseException as error:
            # A group that could not be closed is written when the last that knows it goes, and those are the frames of
            # the error: let that be before all is undone, not after.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
            raise

    def _in_group(self, path: str, mode: Literal["w", "d"], at: int, change: Callable[[Any], object]) -> None:
        group: Any = tiledbsoma.Collection.open(self._uri(path), mode, **self._how(at))
        with group:
            change(group)

    def _obs(self, mode: Literal["w", "d"], at: int) -> Any:
        return tiledbsoma.DataFrame.open(self._uri("obs"), mode, **self._how(at))

    def _uri(self, path: str) -> str:
        return self._storage.child(f"{SOMA}/{path}")

    def _how(self, at: int | None) -> dict[str, Any]:
        return {"tiledb_timestamp": at, "context": context(self._storage)}


def _coordinates(ids: NDArray[np.int64]) -> list[Any]:
    """Return ids as slices, which are kept and compared faster, unless these are many."""
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
    if not counts.data.all():  # zeros that were written out say no more than those that were not
        counts = counts.copy()
        counts.eliminate_zeros()
    rows = np.repeat(ids, np.diff(counts.indptr))
    return pa.table({"soma_dim_0": rows, "soma_dim_1": counts.indices.astype(np.int64), "soma_data": counts.data})
