"""Build an index of a kind from rows, ids and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scim._core import IndexKind, check_choice, check_count, check_flags, check_path, check_rng
from scim.index._check import check_ids, check_matrix
from scim.index._files import HEADER, write_segments
from scim.index._index import Index
from scim.index._make import KINDS, MatrixSource, in_memory, make_engine
from scim.index._open import open as open_index
from scim.index._segments import Segment
from scim.index.filter import columns_of
from scim.io import new_array, new_folder

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

    from scim.index._make import Allocate
    from scim.index.filter._column import Table

_EXACT_UP_TO = 50_000  # rows that brute force searches in a few milliseconds


def build(
    X: ArrayLike,
    ids: ArrayLike | None = None,
    *,
    obs: Table | None = None,
    kind: IndexKind = "auto",
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    rng: int | np.random.Generator | None = None,
    n_threads: int | None = None,
    **params: Any,
) -> Index:
    """Build an index of the rows of a matrix.

    Parameters
    ----------
    X
        Rows (n, dim), float16, float32 or float64, finite; they are scaled to unit length. Rows of zeros are kept, and
        never found. A memory map is read chunk by chunk: an `ivf` index of it needs memory for itself
        (2.6 bytes a number of the matrix, none with `path`), 12 bytes a row, and 64 rows a list to train on.
    ids
        One integer a row, distinct and not negative; default 0 ... n - 1.
    obs
        Columns for `where` in a query: a DataFrame or a mapping of names to one value a row. Text, numbers, booleans,
        any of them missing. A text with `" || "` in it is several values.
    kind
        `"exact"` measures every row. `"ivf"`, an inverted file, groups the rows in lists and probes the nearest lists.
        `"graph"` walks along a graph of neighbours made by pynndescent.
        `"auto"` is `"exact"` up to 50,000 rows and `"ivf"` beyond: a graph was slower in both, for rows spread evenly
        too (benchmarks/NOTES.md).
    path
        Where to write the index while it is built; it is opened from there. Default: in memory.
    overwrite
        Whether to replace an index at `path`.
    rng
        Seed or generator; the same seed gives the same index.
    n_threads
        Number of threads; default `scim.settings.n_threads`. It does not change the index.
    params
        For `"ivf"`: `recall` (share of the true 50 nearest to be found, default 0.99) and `n_lists`.
        For `"graph"`: `n_neighbors` (links of a row, default 24), and `recall` (as above), or `ef_search`, the
        candidates that a walk holds, instead of the number that was measured for a recall.
        `"auto"` takes those of `"ivf"`, and ignores them where it is `"exact"`.

    Returns
    -------
    An `Index`.
    """
    check_choice("kind", kind, get_args(IndexKind))
    check_flags(overwrite=overwrite)
    generator = check_rng(rng)
    if path is not None:
        check_path("path", path)
    if n_threads is not None:
        check_count("n_threads", n_threads)
    matrix = check_matrix(X, what="rows")
    if 0 in matrix.shape:
        msg = f"An index needs at least one row and one column, got shape {matrix.shape}."
        raise ValueError(msg)
    parametrized = "ivf" if kind == "auto" else kind
    known = list(KINDS[parametrized].build_params)
    unknown = sorted(set(params) - set(known))
    if unknown:
        msg = f"Unknown parameter {unknown[0]!r} of an index of kind {parametrized!r}; it takes {known or 'none'}."
        raise TypeError(msg)
    if kind == "auto":
        kind = "exact" if len(matrix) <= _EXACT_UP_TO else "ivf"
        params = {} if kind == "exact" else params
    row_ids = check_ids(ids, len(matrix))
    columns = columns_of(obs, len(matrix))

    def segment(allocate: Allocate) -> Segment:
        source = MatrixSource(matrix, row_ids)
        engine = make_engine(kind, source, generator, n_threads, allocate, **params)
        rows = source.rows_of(engine.ranks_at(np.arange(engine.n_rows)))
        ordered = source.rows_of(np.arange(engine.n_rows))
        sorted_ids = row_ids if ids is None else row_ids[ordered]
        consecutive = sorted_ids[0] == 0 and sorted_ids[-1] == len(row_ids) - 1
        taken = {name: columns.pop(name).take(rows) for name in list(columns)}  # only one column is held twice
        return Segment(engine, None if consecutive else sorted_ids, taken)

    if path is None:
        return Index([segment(in_memory)])
    with new_folder(path, marker=HEADER, overwrite=overwrite) as folder:
        write_segments(folder, [segment(lambda name, shape, dtype: new_array(folder / f"{name}.npy", shape, dtype))])
    return open_index(path)
