"""The index as a transformer of scikit-learn's, for `scanpy.pp.neighbors` and for pipelines.

Imported by name, on first use: scikit-learn takes longer to import than a search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from scim._core import IndexKind, check_choice, check_count, check_recall
from scim._core.cosine import is_directed
from scim.index._build import build
from scim.index._check import check_matrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scim._core.types import Floats, Ints

Metric = Literal["euclidean", "cosine"]

_METRICS = ("euclidean", "cosine")
_UNIT = 1e-4  # largest deviation from 1 of the length of a unit row: float16 rows deviate by 1e-4 at most
_CHUNK_BYTES = 1 << 26  # of the differences of rows that are measured at a time


class NeighborsTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Find the nearest rows of each row by an index, with the interface of scikit-learn's `KNeighborsTransformer`.

    For :func:`scanpy.pp.neighbors`, which takes an instance as `transformer`; its own `n_neighbors`, `metric` and
    `random_state` are ignored then.

    Parameters
    ----------
    n_neighbors
        Neighbours of a row. As scikit-learn's, a transform returns one more: a fitted row is its own first neighbour.
        :func:`scanpy.pp.neighbors` counts the cell itself, and takes the first `n_neighbors` of what is returned.
        A row of zeros, as of a cell without counts, has none, and is no neighbour of another.
    metric
        `"euclidean"` for rows of unit length, as those of :func:`scim.tl.embed`; `"cosine"` for any.
    kind
        Kind of the index, as of :func:`scim.index.build`.
    recall
        Share of the true neighbours to be found; 1 compares all rows. An index of kind `"exact"` ignores it.
    rng
        Seed or generator; the same seed gives the same neighbours.
    n_threads
        Number of threads; default `scim.settings.n_threads`.

    Attributes
    ----------
    neighbors_index_
        The :class:`Index` of the fitted rows, with their positions as ids.
    n_features_in_
        Number of columns of the fitted rows.

    Examples
    --------
    >>> import scanpy as sc
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> sc.pp.neighbors(adata, use_rep="X_scim", transformer=scim.index.NeighborsTransformer(n_neighbors=15))
    >>> adata.obsp["distances"].shape == (adata.n_obs, adata.n_obs)
    True
    """

    def __init__(
        self,
        n_neighbors: int = 15,
        *,
        metric: Metric = "euclidean",
        kind: IndexKind = "auto",
        recall: float = 0.99,
        rng: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.kind = kind
        self.recall = recall
        self.rng = rng
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: None = None) -> NeighborsTransformer:  # noqa: ARG002  (scikit-learn's signature)
        """Build the index of rows (n, dim), finite float16, float32 or float64.

        Raises
        ------
        ValueError
            A parameter is out of range, there are not more rows than `n_neighbors` that are not zero, a row is not
            finite, or `metric` is `"euclidean"` and a row is neither of unit length nor zero.
        TypeError
            `X` is sparse or not of floating point.
        """
        rows = self._checked(X)
        n_directed = int(is_directed(rows).sum())
        if n_directed <= self.n_neighbors:
            came = f"{n_directed}" + (f" that are not zero, of {len(rows)}" if n_directed < len(rows) else "")
            msg = f"n_neighbors={self.n_neighbors} needs more rows than that, got {came}; pass fewer neighbours."
            raise ValueError(msg)
        check_recall(self.recall)
        exact = self.kind == "exact" or self.recall == 1
        params: dict[str, Any] = {"kind": "exact"} if exact else {"kind": self.kind, "recall": self.recall}
        self.neighbors_index_ = build(rows, rng=self.rng, n_threads=self.n_threads, **params)
        self.n_features_in_ = rows.shape[1]
        self._rows = rows
        return self

    def transform(self, X: ArrayLike) -> sparse.csr_matrix:
        """Return the distances of rows (n, dim) to their `n_neighbors` + 1 nearest fitted rows, (n, n_fitted), float32.

        Each row has its neighbours from the nearest on; a distance of 0 is stored. A fitted row is its own neighbour.
        Nothing is stored for a row of zeros.
        """
        check_is_fitted(self)
        rows = self._checked(X, self.n_features_in_)
        return self._matrix(rows, *self._neighbours(rows))

    def fit_transform(self, X: ArrayLike, y: None = None) -> sparse.csr_matrix:  # noqa: ARG002
        """Return the distances of all rows to themselves and their `n_neighbors` nearest, (n, n), float32.

        Each row itself comes first, even where it has duplicates. A row of zeros has itself in all places, since
        :func:`scanpy.pp.neighbors` takes as many entries of each row: it is linked with no other.
        """
        self.fit(X)
        distances, ids = self._neighbours(self._rows)
        return self._matrix(self._rows, *_itself_first(distances, ids))

    def _checked(self, X: ArrayLike, dim: int | None = None) -> NDArray[Any]:
        check_count("n_neighbors", self.n_neighbors)
        check_choice("metric", self.metric, _METRICS)
        rows = check_matrix(X, what="rows")
        if dim is not None and rows.shape[1] != dim:
            msg = f"Expected rows of {dim} columns, as the fitted ones, got {rows.shape[1]}."
            raise ValueError(msg)
        if self.metric == "euclidean":
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
            wrong = np.flatnonzero((np.abs(lengths - 1) > _UNIT) & (lengths > 0))
            if wrong.size:
                first = f"{wrong.size} of {len(rows)} have not, row {wrong[0]} has length {lengths[wrong[0]]:.3g}"
                msg = f"metric='euclidean' needs rows of length 1; {first}. Scale them, or pass metric='cosine'."
                raise ValueError(msg)
        return rows

    def _neighbours(self, rows: NDArray[Any]) -> tuple[Floats, Ints]:
        found = self.neighbors_index_.query(rows, int(self.n_neighbors) + 1, n_threads=self.n_threads)
        return found.distances, found.ids

    def _matrix(self, X: NDArray[Any], distances: Floats, ids: Ints) -> sparse.csr_matrix:
        if self.metric == "euclidean":
            distances = np.where(distances > 0, _euclidean(X, self._rows, ids), np.float32(0))  # 0 below 1e-6
        found = ids >= 0
        starts = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        shape = len(ids), self.neighbors_index_.n_rows
        return sparse.csr_matrix((distances[found], ids[found], starts), shape=shape)


def _itself_first(distances: Floats, ids: Ints) -> tuple[Floats, Ints]:
    """Put each row first among its neighbours, at distance 0; where it is not among them, the farthest is dropped.

    The places of neighbours that were not found get the row itself too.
    """
    itself = ids == np.arange(len(ids))[:, None]
    itself[~itself.any(axis=1), -1] = True
    order = np.argsort(~itself, axis=1, kind="stable")
    distances, ids = np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)
    distances[:, 0], ids[:, 0] = 0, np.arange(len(ids))
    return np.where(ids >= 0, distances, np.float32(0)), np.where(ids >= 0, ids, ids[:, :1])


def _euclidean(X: NDArray[Any], rows: NDArray[Any], ids: Ints) -> Floats:
    """Return Euclidean distances (n, k) of the rows: roots of cosine distances would have half of the digits."""
    out = np.empty(ids.shape, dtype=np.float32)
    step = max(1, _CHUNK_BYTES // (8 * ids.shape[1] * rows.shape[1]))
    for start in range(0, len(ids), step):
        chunk = slice(start, start + step)
        differences = X[chunk, None].astype(np.float64) - rows[ids[chunk]]
        out[chunk] = np.sqrt(np.einsum("ijk,ijk->ij", differences, differences))
    return out
