"""The contract of every index, and what all kinds share: checks, ids, filling up of short answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from scim._core.checks import check_count
from scim.index._check import check_allowed, check_matrix, unit_rows
from scim.index._files import write_index

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray


_BATCH = 8192
"""Queries that are worked on together, so that memory does not grow with their number."""


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first.

    Attributes
    ----------
    distances
        float32 (n, k): cosine distances, ascending; `inf` where there are fewer than k answers.
    ids
        int64 (n, k): ids of the rows; -1 where there are fewer than k answers.
    """

    distances: NDArray[np.float32]
    ids: NDArray[np.int64]


class Index(ABC):
    """Rows of unit length with an id each, that can be asked for the nearest of any vector.

    Made by :func:`scim.index.build` or :func:`scim.index.open`.
    Inside, a row goes by its *rank*, the place of its id among all ids in ascending order,
    so that ties by rank are ties by id.
    """

    kind: ClassVar[str]
    """Name of the kind, as :func:`scim.index.build` takes it."""

    files: ClassVar[tuple[str, ...]]
    """Names of the arrays that a saved index consists of, beside `ids`."""

    def __init__(self, ids: NDArray[np.int64], dim: int) -> None:
        self._ids = ids
        self._dim = dim

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self._ids)

    @property
    def dim(self) -> int:
        """Number of columns."""
        return self._dim

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all rows, ascending; read-only."""
        ids = self._ids.view()
        ids.flags.writeable = False
        return ids

    @property
    def params(self) -> dict[str, Any]:
        """How the index was built and what it measured of itself, as JSON types."""
        return {}

    def __repr__(self) -> str:
        return f"<scim index: {self.kind}, {self.n_rows:,} rows x {self.dim}>"

    def query(
        self, X: ArrayLike, k: int, *, allowed: ArrayLike | None = None, n_threads: int | None = None
    ) -> Neighbors:
        """Return the `k` nearest rows of each query.

        The distance is 1 - dot of the rows scaled to unit length, at least 0 and at most 2.
        A row of zeros, as a query or in the base, has dot 0 with everything: its distances are all 1.
        Ties go by id, ascending. An answer does not depend on the number of threads, nor on the other queries.

        Parameters
        ----------
        X
            Queries (n, dim), float16, float32 or float64, of any length but finite;
            a single query of shape (dim,) is answered as (1, k).
        k
            Number of answers wanted, at least 1; may exceed the number of rows.
        allowed
            Ids that may be answered, in any order; ids that the index does not have are passed over.
            There are never fewer than min(k, number of allowed rows) answers. `None` allows all.
        n_threads
            Number of threads; default `scim.settings.n_threads`.

        Returns
        -------
        `Neighbors` with `distances` (n, k), ascending, and `ids` (n, k); `inf` and -1 where there are no more answers.
        """
        check_count("k", k)
        if n_threads is not None:
            check_count("n_threads", n_threads)
        queries = check_matrix(X, what="queries", dim=self.dim)
        ranks_allowed = None if allowed is None else self._ranks_of(check_allowed(allowed))
        n_answers = min(k, self.n_rows if ranks_allowed is None else len(ranks_allowed))
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        for start in range(0, len(queries), _BATCH):
            part = slice(start, start + _BATCH)
            units = unit_rows(queries[part], what="queries", first=start)
            if n_answers:
                near, ranks = self._search(units, n_answers, ranks_allowed, n_threads)
                distances[part, :n_answers] = near
                ids[part, :n_answers] = self._ids[ranks]
        return Neighbors(distances, ids)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the index as a folder of `index.json` and one npy file an array; :func:`scim.index.open` reads it.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false.
        """
        facts = {"kind": self.kind, "n_rows": self.n_rows, "dim": self.dim, "params": self.params}
        write_index(path, facts, {"ids": self.ids, **self._arrays()}, overwrite=overwrite)

    def _ranks_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ranks of ascending distinct ids, without those that the index does not have."""
        n = self.n_rows
        if self._ids[0] == 0 and self._ids[-1] == n - 1:  # distinct and ascending: they are 0 ... n - 1
            first, last = np.searchsorted(ids, (0, n))
            return ids[first:last]
        ranks = np.searchsorted(self._ids, ids)
        known = self._ids[np.minimum(ranks, n - 1)] == ids
        found: NDArray[np.int64] = ranks[known]
        return found

    @abstractmethod
    def _search(
        self, X: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None, n_threads: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return distances and ranks (n, k) of unit rows, k <= number of (allowed) rows; `allowed` are ranks."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""

    @classmethod
    @abstractmethod
    def _restore(cls, ids: NDArray[np.int64], arrays: dict[str, NDArray[Any]], params: dict[str, Any]) -> Index:
        """Return the index that `_arrays` and `params` came from."""
