"""Reading the experiment: rows of obs and embeddings by id, only what is asked for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from scim._core import keys
from scim.atlas.soma._layout import COUNTS, MEASUREMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DENSE_SHARE = 0.02
"""From this share of the rows on, one read of the whole column is faster than many of single rows."""

NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
"""Types that pandas keeps whether a value is missing or not."""

_NEAR = 256
"""Ids at most this far apart are fetched by one slice."""


def obs_columns(experiment: Any) -> list[str]:
    """Return the names of the obs columns: those that every atlas has, then the others by name."""
    # TileDB gives new columns in no order.
    return [*keys.ATLAS_COLUMNS, *sorted(set(experiment.obs.schema.names) - {"soma_joinid", *keys.ATLAS_COLUMNS})]


def read_obs(experiment: Any, ids: NDArray[np.int64] | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return rows of obs in the order of `ids`, which exist (all rows: `None`), indexed by `soma_joinid`."""
    wanted = None if ids is None else np.unique(ids)
    few = wanted is not None and wanted.size < max(100, _DENSE_SHARE * experiment.obs.count)
    coords = (pa.array(wanted),) if few else ()
    if few and wanted is not None and wanted.size == 0:
        coords = (slice(0, 0),)  # an empty list of points means "all" to TileDB
    table = experiment.obs.read(coords, column_names=["soma_joinid", *columns]).concat()
    rows = _rows_of(table["soma_joinid"].to_numpy(), ids)
    # Only what is wanted becomes Python's text, which takes longer than the reading.
    table = table if rows is None else table.take(pa.array(rows))
    frame: pd.DataFrame = table.select(list(columns)).to_pandas(types_mapper=NULLABLE.get)
    return frame.set_index(pd.Index(table["soma_joinid"].to_numpy(), name="soma_joinid"))


def _rows_of(found: NDArray[np.int64], ids: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return where each of `ids` (all, ascending: `None`) is among the ids that were read; `None` = as they are."""
    ascending = bool((found[1:] > found[:-1]).all())
    order = None if ascending else np.argsort(found)
    if ids is None:
        return order
    places = np.searchsorted(found, ids, sorter=order)
    return places if order is None else order[places]


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
