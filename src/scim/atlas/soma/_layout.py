"""The layout of the experiment: its arrays, how they are kept, and how they are opened and made."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import tiledbsoma

from scim._core import keys
from scim._core.errors import FormatError, StorageError
from scim._core.settings import settings
from scim.atlas.commit import SOMA
from scim.atlas.soma._failure import cause_of, refused, tiledb_errors
from scim.atlas.source import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

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

_TILE_ROWS = 1024
"""A dense tile is written and read whole: at most this many embeddings for the sake of one."""

_TILE_CELLS, _TILE_GENES = 65_536, 2**31 - 1
"""A tile of counts is as wide as all genes, so that rows sorted by cell and gene are in TileDB's own order."""

_BUFFER_BYTES = 128 * 2**20
"""Memory that TileDB takes for one column of one read; its own default is 1 GiB."""

_UNREACHED = re.compile(r"curl|HTTP Response Code: (-1|4\d\d|5\d\d)|timed? ?out|connection", re.IGNORECASE)
"""What TileDB says of S3 when the fault is not in the files."""

# Checksums of tiles are compared whenever one is read: a flipped bit is an error, and never a value.
_CHECK = "ChecksumSHA256Filter"
_PACKED = [{"_type": "ZstdFilter", "level": 3}, _CHECK]


def embedding_path(name: str) -> str:
    """Return where an embedding is in the experiment."""
    return f"{OBSM_PATH}/{name}"


def context(storage: Storage) -> Any:
    """Return what TileDB needs to know; one for all that ask for the same, because each has threads of its own."""
    return _context(settings.n_threads, tuple(sorted(storage.tiledb_config().items())))


@functools.lru_cache(maxsize=8)
def _context(n_threads: int, config: tuple[tuple[str, str], ...]) -> Any:
    own: dict[str, str | float] = {
        "sm.compute_concurrency_level": str(n_threads),
        "sm.io_concurrency_level": str(n_threads),
        "soma.init_buffer_bytes": _BUFFER_BYTES,
    }
    return tiledbsoma.SOMATileDBContext(tiledb_config=own | dict(config))


def open_experiment(storage: Storage, mode: Literal["r", "w"] = "r", *, at: int) -> Any:
    """Open the experiment as it was at a SOMA time, or to write at that time.

    Raises
    ------
    FormatError
        It is not there, or damaged.
    """
    with damage_named(storage):
        return tiledbsoma.Experiment.open(storage.child(SOMA), mode, tiledb_timestamp=at, context=context(storage))


@contextlib.contextmanager
def damage_named(storage: Storage) -> Iterator[None]:
    """Say of which atlas a file is damaged or missing, or cannot be reached, when TileDB fails.

    Raises
    ------
    StorageError
        S3 does not answer.
    FormatError
        Anything else.
    """
    try:
        yield
    except tiledb_errors() as error:
        if isinstance(error, RuntimeError) and "TileDB" not in str(error):
            raise
        code = refused(error)
        if code is not None:  # as no permission: not the file's fault
            raise OSError(code, cause_of(error)) from error
        said, where = " ".join(str(error).split()), storage.child(SOMA)
        if storage.path is None and _UNREACHED.search(said):
            msg = f"Could not reach {where!r}: {said}. Check scim.settings.storage."
            raise StorageError(msg) from error
        msg = (
            f"The store in {where!r} cannot be read: {said}. scim.atlas.verify() names what is damaged; "
            "if the atlas was vacuumed since it was opened, open it again."
        )
        raise FormatError(msg) from error


def create_experiment(
    storage: Storage, genes: NDArray[np.object_], symbols: NDArray[np.object_], embedding: str, dim: int
) -> None:
    """Make an experiment without cells, with one embedding; its var are the given genes."""
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
