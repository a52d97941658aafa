"""What a kind of index must do: store unit rows, and find the nearest of them to unit queries.

An engine knows a row by its *rank*, the place of its id among all ids in ascending order, so that ties by rank are ties
by id; and by its *place*, where it keeps it. Filters speak of places, answers of ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Passing = NDArray[np.bool_] | NDArray[np.int64]
    """Rows that pass a filter: a mask over places, or ascending places."""


class Engine(ABC):
    """Rows of unit length, or zero, as one kind of index keeps them."""

    kind: ClassVar[str]
    """Name of the kind, as :func:`scim.index.build` takes it."""

    files: ClassVar[tuple[str, ...]]
    """Names of the arrays that it is saved as."""

    knobs: ClassVar[tuple[str, ...]] = ()
    """Names of what :meth:`search` can be told beyond what every kind can."""

    scanned: ClassVar[tuple[str, ...]] = ()
    """Names of the large arrays that a search reads throughout; empty if those are all."""

    n_rows: int
    dim: int

    @property
    def params(self) -> dict[str, Any]:
        """How it was built and what it measured of itself, as JSON types."""
        return {}

    @abstractmethod
    def lay_out(self, passing: Passing) -> Any:
        """Return the rows that pass a filter as :meth:`search` wants them; has their number as `n`."""

    @abstractmethod
    def search(
        self, X: NDArray[np.float32], k: int, some: Any, n_threads: int | None, **knobs: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return distances and ranks (n, k), by distance and then by rank.

        `some` is what `lay_out` returned, or `None` for all rows; there are at least `k` of them.
        """

    @abstractmethod
    def vectors(self, ranks: NDArray[np.int64], n: int | None = None) -> NDArray[np.float32]:
        """Return the rows of these ranks, (n_ranks, dim), or the first `n` numbers of each."""

    def places_of(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the rows of these ranks are kept."""
        return ranks

    def ranks_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ranks of the rows at these places."""
        return places

    def ranks_in(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the ranks, ascending, of the rows at the places where `mask` is true."""
        return np.flatnonzero(mask)

    @property
    def resident(self) -> dict[str, int]:
        """Bytes of the arrays that a search reads throughout."""
        return {name: array.nbytes for name, array in self.arrays().items()}

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays named in `files`."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], params: dict[str, Any]) -> Engine:
        """Return the engine that `arrays` and `params` came from.

        Raises
        ------
        FormatError
            The arrays do not fit each other.
        """
