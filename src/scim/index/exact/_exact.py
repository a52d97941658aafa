"""Brute force: the oracle of the other kinds, and the fastest for small bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from scim.index._engine import Engine
from scim.index._threads import threads_for
from scim.index.exact._nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scim.index._engine import Passing


class Ranks(NamedTuple):
    """Rows that pass a filter, where place and rank are the same."""

    ranks: NDArray[np.int64]
    """Ascending."""

    @property
    def n(self) -> int:
        """Number of passing rows."""
        return len(self.ranks)


def ranks_of(passing: Passing) -> Ranks:
    """Lay out the rows that pass."""
    return Ranks(np.flatnonzero(passing) if passing.dtype == np.bool_ else passing.astype(np.int64))


class ExactEngine(Engine):
    """All rows, looked at one and all."""

    kind: ClassVar[str] = "exact"
    files: ClassVar[tuple[str, ...]] = ("rows",)
    knobs: ClassVar[tuple[str, ...]] = ("recall",)  # which is 1 whatever is asked for

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.n_rows, self.dim = rows.shape
        self._rows = rows

    def lay_out(self, passing: Passing) -> Ranks:
        """Return the ranks that pass."""
        return ranks_of(passing)

    def search(
        self,
        X: NDArray[np.float32],
        k: int,
        some: Ranks | None,
        n_threads: int | None,
        **knobs: Any,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the nearest."""
        with threads_for(X.size * (self.n_rows if some is None else some.n), n_threads):
            return nearest(X, self._rows, k, which=None if some is None else some.ranks)

    def vectors(self, ranks: NDArray[np.int64], n: int | None = None) -> NDArray[np.float32]:
        """Return the rows of these ranks, or the first `n` numbers of each."""
        return self._rows[ranks, :n]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the rows."""
        return {"rows": self._rows}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], params: dict[str, Any]) -> ExactEngine:  # noqa: ARG003
        """Return the engine of these rows."""
        return cls(arrays["rows"])
