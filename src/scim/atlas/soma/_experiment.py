"""The TileDB-SOMA experiment of an atlas: its arrays, how they are made and opened, and reading of rows by id."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import tiledbsoma
from scipy import sparse

from scim._core import FormatError, keys
from scim.atlas._columns import NULLABLE, TEXT
from scim.atlas.commit import SOMA
from scim.atlas.soma._context import context
from scim.atlas.soma._integrity import named_damage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas.storage import Storage

MEASUREMENT = "RNA"
COUNTS = "counts"
X_PATH = f"ms/{MEASUREMENT}/X"
COUNTS_PATH = f"{X_PATH}/{COUNTS}"
VAR_PATH = f"ms/{MEASUREMENT}/var"
OBSM_PATH = f"ms/{MEASUREMENT}/obsm"

_OBS = pa.schema([("soma_joinid", pa.int64()), *((name, TEXT) for name in keys.ATLAS_COLUMNS)])
VAR = pa.schema([("soma_joinid", pa.int64()), ("gene_id", TEXT), ("symbol", TEXT)])

_TILE_ROWS = 1024  # a dense tile is written and read whole: at most this many embeddings for the sake of one
_TILE_CELLS, _TILE_GENES = 65_536, 2**31 - 1  # as wide as all genes: rows sorted by cell and gene are in TileDB's order
_DENSE_SHARE = 0.02  # from this share of the rows on, one read of the whole column is faster than many of single rows
_NEAR = 256  # ids at most this far apart are fetched by one slice

_CHECK = "ChecksumSHA256Filter"  # compared whenever a tile is read: a flipped bit is an error, and never a value
_PACKED = [{"_type": "ZstdFilter", "level": 3}, _CHECK]


def embedding_path(name: str) -> str:
    """Return the path of an embedding in the experiment."""
    return f"{OBSM_PATH}/{name}"


def open_experiment(storage: Storage, mode: Literal["r", "w"] = "r", *, at: int, n_rows: int = 0) -> Any:
    """Open the experiment as it was at a SOMA time, or to write at that time.

    `FormatError`: it is damaged, or obs has no room for ids below `n_rows`, of which the caller makes arrays.
    """
    uri = storage.child(SOMA)
    with named_damage(storage):
        experiment = tiledbsoma.Experiment.open(uri, mode, tiledb_timestamp=at, context=context(storage))
        if n_rows and (room := experiment.obs.domain[0][1] + 1) < n_rows:
            experiment.close()
            msg = f"{uri!r} has room for {room:,} cells, but atlas.json lists {n_rows:,}: one of them was replaced. "
            raise FormatError(msg + "Restore it from a copy of the atlas.")
    return experiment


def create_experiment(
    storage: Storage, genes: NDArray[np.object_], symbols: NDArray[np.object_], embedding: str, dim: int
) -> None:
    """Make an experiment without cells, with one embedding; its var has the given genes."""
    with tiledbsoma.Experiment.create(storage.child(SOMA), context=context(storage)) as experiment:
        experiment.add_new_dataframe(
            "obs", schema=_OBS, domain=[(0, 0)], index_column_names=["soma_joinid"], platform_config=_frame_config(_OBS)
        )
        rna = experiment.add_new_collection("ms").add_new_collection(MEASUREMENT, tiledbsoma.Measurement)
        var = rna.add_new_dataframe(
            "var",
            schema=VAR,
            domain=[(0, max(0, len(genes) - 1))],
            index_column_names=["soma_joinid"],
            platform_config=_frame_config(VAR),
        )
        if len(genes):
            var.write(pa.table([np.arange(len(genes)), pa.array(genes, TEXT), pa.array(symbols, TEXT)], schema=VAR))
        rna.add_new_collection("X")
        add_embedding(rna.add_new_collection("obsm"), embedding, 1, dim)


def add_embedding(obsm: Any, name: str, n_rows: int, dim: int) -> None:
    """Make an array for an embedding."""
    tiles = {"soma_dim_0": {"tile": _TILE_ROWS}, "soma_dim_1": {"tile": dim}}
    # Noise does not compress: a filter that tries would cost time at every read and save nothing.
    config = _config(dims=tiles, attrs={"soma_data": {"filters": [_CHECK]}})
    obsm.add_new_dense_ndarray(name, type=pa.float32(), shape=(n_rows, dim), platform_config=config)


def add_counts(X: Any, n_rows: int, n_genes: int) -> None:
    """Make an array for counts."""
    dims = {
        "soma_dim_0": {"tile": _TILE_CELLS, "filters": _PACKED},
        "soma_dim_1": {"tile": _TILE_GENES, "filters": ["ByteShuffleFilter", *_PACKED]},
    }
    config = _config(dims=dims, attrs={"soma_data": {"filters": ["ByteShuffleFilter", *_PACKED]}})
    X.add_new_sparse_ndarray(COUNTS, type=pa.float32(), shape=(n_rows, n_genes), platform_config=config)


def _frame_config(schema: pa.Schema) -> dict[str, Any]:
    packed = {name: {"filters": _PACKED} for name in schema.names}
    return _config(
        dims={"soma_joinid": packed.pop("soma_joinid")},
        attrs=packed,
        offsets_filters=["DoubleDeltaFilter", "BitWidthReductionFilter", *_PACKED],
        validity_filters=_PACKED,
    )


def _config(**create: Any) -> dict[str, Any]:
    return {"tiledb": {"create": create}}


def obs_columns(experiment: Any) -> list[str]:
    """Return the names of the obs columns: those that every atlas has, then the others sorted by name."""
    # TileDB returns new columns in no order.
    return [*keys.ATLAS_COLUMNS, *sorted(set(experiment.obs.schema.names) - {"soma_joinid", *keys.ATLAS_COLUMNS})]


def read_obs(experiment: Any, ids: NDArray[np.int64] | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return rows of obs in the order of `ids`, which exist (all rows: `None`), indexed by `soma_joinid`."""
    coords: tuple[Any, ...] = ()
    if ids is not None and (points := np.unique(ids)).size < max(100, _DENSE_SHARE * experiment.obs.count):
        coords = (pa.array(points) if points.size else slice(0, 0),)  # an empty list of points means "all" to TileDB
    table = experiment.obs.read(coords, column_names=["soma_joinid", *columns]).concat()
    rows = _positions(table["soma_joinid"].to_numpy(), ids)
    # Only the rows that are returned become Python's text, which takes longer than the reading.
    table = table if rows is None else table.take(pa.array(rows))
    frame: pd.DataFrame = table.select(list(columns)).to_pandas(types_mapper=NULLABLE.get)
    return frame.set_index(pd.Index(table["soma_joinid"].to_numpy(), name="soma_joinid"))


def _positions(stored: NDArray[np.int64], ids: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the positions of `ids` (all, ascending: `None`) among the ids that were read; `None` = as they are."""
    order = None if _ascending(stored) else np.argsort(stored)
    if ids is None:
        return order
    positions = np.searchsorted(stored, ids, sorter=order).clip(max=max(len(stored) - 1, 0))
    positions = positions if order is None else order[positions]
    if ids.size and not (stored.size and np.array_equal(stored[positions], ids)):
        msg = "'soma/obs' lacks cells that the atlas lists: its files were replaced. scim.atlas.verify() names them."
        raise FormatError(msg)
    return positions


def read_embeddings(experiment: Any, name: str, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return embeddings in the order of `ids`, shape (n, dim)."""
    array = experiment.ms[MEASUREMENT].obsm[name]
    unique, inverse = (ids, None) if _ascending(ids) else np.unique(ids, return_inverse=True)
    rows = np.empty((unique.size, array.shape[1]), dtype=np.float32)
    # A dense array is read by slices: join ids that are close into one, so that few reads fetch little too much.
    breaks = [0, *(np.flatnonzero(np.diff(unique) > _NEAR) + 1).tolist(), unique.size]
    for start, stop in itertools.pairwise(breaks):
        run = unique[start:stop]
        if run.size:
            block = array.read((slice(int(run[0]), int(run[-1])),)).to_numpy()
            rows[start:stop] = block if len(block) == run.size else block[run - run[0]]
    return rows if inverse is None else rows[inverse]


def read_counts(experiment: Any, start: int, stop: int) -> sparse.csr_matrix:
    """Return the counts of ids `start` to `stop` over all genes of the store; removed cells have none."""
    X = experiment.ms[MEASUREMENT].X[COUNTS]
    shape = (stop - start, X.shape[1])
    table = X.read((slice(start, min(stop, X.shape[0]) - 1),)).tables().concat()
    row, column = table["soma_dim_0"].to_numpy() - start, table["soma_dim_1"].to_numpy()
    return sparse.coo_matrix((table["soma_data"].to_numpy(), (row, column)), shape=shape).tocsr()


def _ascending(ids: NDArray[np.int64]) -> bool:
    return bool((ids[1:] > ids[:-1]).all())
