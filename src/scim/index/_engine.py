"""The contract of a kind of index: store unit rows, and find the nearest of them to unit queries.

An engine identifies a row by its *rank*, the position of its id among all ids in ascending order, so that ties by rank
are ties by id; and by its *offset*, the position at which it is stored. Filters hold offsets, results hold ranks.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scim._core.cosine import are_unit, is_directed
from scim._core.nearest import nearest
from scim._core.numba import threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scim._core.types import Bools, Floats, Ints
    from scim.index._files import Arrays

    Hits = tuple[Floats, Ints]  # distances and ranks, (n, k)
    Passing = Bools | Ints  # rows that pass a filter: a mask over offsets, or ascending offsets


class Engine(ABC):
    """Rows of unit length, or zero, as one kind of index stores them."""

    kind: ClassVar[str]  # as `scim.index.build` takes it
    files: ClassVar[Mapping[str, str]]  # types of the arrays that it is saved as, by name
    small: ClassVar[tuple[str, ...]] = ()  # those that are always read into memory
    scanned: ClassVar[tuple[str, ...]] = ()  # the large ones that a search reads throughout; empty if all are
    build_params: ClassVar[tuple[str, ...]] = ()  # what `scim.index.build` takes for this kind
    search_params: ClassVar[tuple[str, ...]] = ()  # what a query takes for this kind
    params: dict[str, Any]  # it was built with, and what was measured of it, as JSON types
    n_rows: int
    dim: int

    @abstractmethod
    def compile_filter(self, passing: Passing) -> Any:
        """Return the rows that pass a filter in the form that :meth:`search` takes."""

    @abstractmethod
    def search(self, X: Floats, k: int, row_filter: Any, n_threads: int | None, **params: Any) -> Hits:
        """Return distances and ranks (n, k), by distance and then by rank.

        No query is a row of zeros. `row_filter` is what `compile_filter` returned, or `None` for all rows; at least `k`
        rows pass, none of them a row of zeros.
        """

    @property
    @abstractmethod
    def empty(self) -> Ints:
        """Offsets, ascending, of the rows of zeros, which no query finds."""

    @abstractmethod
    def vectors(self, ranks: Ints, n: int | None = None) -> Floats:
        """Return the rows of these ranks, (n_ranks, dim), or the first `n` numbers of each."""

    def offsets_of(self, ranks: Ints) -> Ints:
        """Return the offsets of the rows of these ranks."""
        return ranks

    def ranks_at(self, offsets: Ints) -> Ints:
        """Return the ranks of the rows at these offsets."""
        return offsets

    def ranks_in(self, mask: Bools) -> Ints:
        """Return the ranks, ascending, of the rows at the offsets where `mask` is true."""
        return np.flatnonzero(mask)

    @property
    def given(self) -> dict[str, Any]:
        """The parameters to build the same index with from other rows."""
        return {name: value for name, value in self.params.items() if name in self.build_params}

    @property
    def resident(self) -> dict[str, int]:
        """Bytes of the arrays that a search reads throughout."""
        return {name: array.nbytes for name, array in self.arrays().items()}

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Arrays, params: dict[str, Any]) -> Engine:
        """Return the engine that `arrays` and `params` were saved from.

        Raise FormatError for values that kernels could not work with: they check no position that they read or write.
        """


class ExactEngine(Engine):
    """Rows in full precision that are all measured: the oracle of the other kinds, and the fastest for few rows."""

    kind: ClassVar[str] = "exact"
    files: ClassVar[Mapping[str, str]] = {"rows": "<f4"}
    search_params: ClassVar[tuple[str, ...]] = ("recall",)  # which is always 1

    def __init__(self, rows: Floats) -> None:
        self.n_rows, self.dim = rows.shape
        self._rows, self.params = rows, {}

    def compile_filter(self, passing: Passing) -> Ints:
        """Return the ranks that pass, ascending; they are the offsets."""
        return np.flatnonzero(passing) if passing.dtype == np.bool_ else passing.astype(np.int64)

    def search(self, X: Floats, k: int, row_filter: Ints | None, n_threads: int | None, **_: Any) -> Hits:
        """Return the exact nearest rows."""
        with threads(n_threads, work=X.size * (self.n_rows if row_filter is None else len(row_filter))):
            return nearest(X, self._rows, k, which=row_filter)

    @functools.cached_property
    def empty(self) -> Ints:
        """Offsets of the rows of zeros."""
        return np.flatnonzero(~is_directed(self._rows))

    def vectors(self, ranks: Ints, n: int | None = None) -> Floats:
        """Return the rows of these ranks, or the first `n` numbers of each."""
        return self._rows[ranks, :n]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the rows."""
        return {"rows": self._rows}

    @classmethod
    def restore(cls, arrays: Arrays, params: dict[str, Any]) -> ExactEngine:  # noqa: ARG003
        """Return the engine of these rows."""
        return cls(read_rows(arrays, "rows"))


def read_rows(arrays: Arrays, name: str) -> Floats:
    """Return the rows of an array, of unit length or zero."""
    rows = arrays[name]
    arrays.check(name, "rows that are not of unit length", unless=rows.ndim == 2 and are_unit(rows))
    return rows
