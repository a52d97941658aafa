"""From rows and ids to an index of a kind."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scim._core.checks import check_count
from scim._core.types import IndexKind
from scim.index._check import check_ids, check_matrix, unit_rows
from scim.index._kinds import index_class

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim.index._base import Index


_EXACT_UP_TO = 50_000  # rows that brute force searches in a few milliseconds
_CHUNK = 65_536
_LISTS = 64  # multiplications for each number of the base that building takes at least


def build(
    X: ArrayLike,
    ids: ArrayLike | None = None,
    *,
    kind: IndexKind = "auto",
    rng: int | np.random.Generator | None = None,
    n_threads: int | None = None,
    **params: Any,
) -> Index:
    """Build an index of the rows of a matrix.

    Parameters
    ----------
    X
        Rows (n, dim), float16, float32 or float64, finite, of any length: they are scaled to unit length.
        Rows of zeros are allowed and at distance 1 from everything. May be a memory map.
    ids
        One integer a row, distinct and not negative; default 0 ... n - 1.
    kind
        `"exact"` measures every row. `"ivf"` groups the rows and looks into the nearest groups.
        `"graph"` walks along a graph of neighbours made by pynndescent.
        `"auto"` is `"exact"` up to 50,000 rows and `"ivf"` beyond.
    rng
        Seed or generator; the same seed gives the same index.
    n_threads
        Number of threads; default `scim.settings.n_threads`. It does not change the index.
    params
        For `"ivf"`: `recall` (share of the true 50 nearest to be found, default 0.99) and `n_lists`.
        For `"graph"`: `n_neighbors` (default 24) and `effort` (rows kept in view during a walk, default 128).
        `"auto"` takes those of `"ivf"`, and passes over them where it is `"exact"`.

    Returns
    -------
    An `Index`.
    """
    if kind not in get_args(IndexKind):
        msg = f"`kind` must be one of {', '.join(map(repr, get_args(IndexKind)))}; got {kind!r}."
        raise ValueError(msg)
    if n_threads is not None:
        check_count("n_threads", n_threads)
    matrix = check_matrix(X, what="rows")
    if 0 in matrix.shape:
        msg = f"An index needs at least one row and one column, got shape {matrix.shape}."
        raise ValueError(msg)
    _check_params("ivf" if kind == "auto" else kind, params)
    if kind == "auto":
        kind = "exact" if len(matrix) <= _EXACT_UP_TO else "ivf"
        params = {} if kind == "exact" else params
    rows, ids_ascending = _by_id(matrix, check_ids(ids, len(matrix)))
    from scim.index._threads import threads_for  # noqa: PLC0415  (`import scim.index` is to be quick)

    with threads_for(rows.size * _LISTS, n_threads):
        index: Index = index_class(kind).from_rows(rows, ids_ascending, np.random.default_rng(rng), **params)
    return index


def _check_params(kind: str, params: dict[str, Any]) -> None:
    known = list(inspect.signature(index_class(kind).from_rows).parameters)[3:]
    unknown = sorted(set(params) - set(known))
    if unknown:
        msg = f"Unknown parameter {unknown[0]!r} of an index of kind {kind!r}; it takes {known or 'none'}."
        raise TypeError(msg)


def _by_id(X: NDArray[Any], ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return unit rows in the order of their ids, and the ids."""
    order = None if (ids[1:] > ids[:-1]).all() else np.argsort(ids)
    rows = np.empty(X.shape, dtype=np.float32)
    for start in range(0, len(X), _CHUNK):
        stop = min(start + _CHUNK, len(X))
        units = unit_rows(X[start:stop], what="rows", first=start)  # read in the order in which a file has them
        rows[slice(start, stop) if order is None else np.searchsorted(ids, ids[start:stop], sorter=order)] = units
    return rows, ids if order is None else ids[order]
