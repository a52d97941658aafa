"""The TileDB-SOMA experiment inside an atlas: its layout, and how it is opened, made and grown."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import tiledbsoma

from scim._core import keys
from scim._core.errors import FormatError
from scim._core.settings import settings
from scim.atlas._columns import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FOLDER = "soma"
MEASUREMENT = "RNA"
COUNTS = "counts"

_OBS = pa.schema([("soma_joinid", pa.int64()), *((name, TEXT) for name in keys.ATLAS_COLUMNS)])
VAR = pa.schema([("soma_joinid", pa.int64()), ("gene_id", TEXT), ("symbol", TEXT)])

_TILE_ROWS = 1024
"""A dense tile is written and read whole: at most this many embeddings for the sake of one."""

READ_BUFFER_BYTES = 128 * 2**20
"""Memory that TileDB takes for one column of one read; its own default is 1 GiB."""


def _context() -> Any:
    n = str(settings.n_threads)
    config: dict[str, str | float] = {
        "sm.compute_concurrency_level": n,
        "sm.io_concurrency_level": n,
        "soma.init_buffer_bytes": READ_BUFFER_BYTES,
    }
    return tiledbsoma.SOMATileDBContext(tiledb_config=config)


def open_soma(path: Path, mode: Literal["r", "w"] = "r", *, timestamp: int | None = None) -> Any:
    """Open the experiment of the atlas at `path`, as it was at `timestamp`.

    Raises
    ------
    FormatError
        It is not there, or damaged.
    """
    with damage_named(path):
        return tiledbsoma.Experiment.open(str(path / FOLDER), mode, tiledb_timestamp=timestamp, context=_context())


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Say of which atlas a file is damaged or missing when TileDB cannot read it."""
    try:
        yield
    except tiledbsoma.SOMAError as error:
        msg = f"The store in {str(path / FOLDER)!r} is damaged: {error}. Restore it from a copy of the atlas."
        raise FormatError(msg) from error


def create_soma(path: Path, genes: NDArray[np.object_], symbols: NDArray[np.object_], latent_dim: int) -> None:
    """Make an experiment without cells, whose var are the model's genes."""
    with tiledbsoma.Experiment.create(str(path / FOLDER), context=_context()) as experiment:
        experiment.add_new_dataframe("obs", schema=_OBS, domain=[(0, 0)], index_column_names=["soma_joinid"])
        rna = experiment.add_new_collection("ms").add_new_collection(MEASUREMENT, tiledbsoma.Measurement)
        var = rna.add_new_dataframe("var", schema=VAR, domain=[(0, len(genes) - 1)], index_column_names=["soma_joinid"])
        var.write(pa.table([np.arange(len(genes)), pa.array(genes, TEXT), pa.array(symbols, TEXT)], schema=VAR))
        rna.add_new_collection("X")
        rna.add_new_collection("obsm").add_new_dense_ndarray(
            keys.EMBEDDING, type=pa.float32(), shape=(1, latent_dim), platform_config=_embedding_config(latent_dim)
        )


def _embedding_config(latent_dim: int) -> dict[str, Any]:
    tiles = {"soma_dim_0": {"tile": _TILE_ROWS}, "soma_dim_1": {"tile": latent_dim}}
    # Noise does not compress: a filter would cost time at every read and save nothing.
    return {"tiledb": {"create": {"dims": tiles, "attrs": {"soma_data": {"filters": []}}}}}


def grow_frame(frame: Any, n_rows: int) -> None:
    """Make room for `n_rows`; an append that died may have made more already, and TileDB refuses to shrink."""
    if frame.domain[0][1] + 1 < n_rows:
        frame.tiledbsoma_resize_soma_joinid_shape(n_rows)


def grow_array(array: Any, n_rows: int, n_columns: int = 0) -> None:
    """Make room for `n_rows` rows and `n_columns` columns, where there is less."""
    shape = (max(n_rows, array.shape[0]), max(n_columns, array.shape[1]))
    if shape != tuple(array.shape):
        array.resize(shape)


def now() -> int:
    """Return a SOMA time after everything written so far and before everything written from here on."""
    # Two writes of one millisecond have no order: stand clear of the last and of the next.
    time.sleep(0.002)
    timestamp = time.time_ns() // 1_000_000
    time.sleep(0.002)
    return timestamp
