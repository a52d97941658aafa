"""Brute force: the oracle of the other kinds, and the fastest for small bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from scim.index._base import Index
from scim.index._nearest import nearest
from scim.index._threads import threads_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExactIndex(Index):
    """All rows, looked at one and all."""

    kind: ClassVar[str] = "exact"
    files: ClassVar[tuple[str, ...]] = ("rows",)

    def __init__(self, rows: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        super().__init__(ids, rows.shape[1])
        self._rows = rows

    @classmethod
    def from_rows(cls, rows: NDArray[np.float32], ids: NDArray[np.int64], rng: np.random.Generator) -> ExactIndex:  # noqa: ARG003  (every kind is built with a generator)
        """Build from unit rows and ascending ids."""
        return cls(rows, ids)

    def _search(
        self, X: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None, n_threads: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        n_candidates = self.n_rows if allowed is None else len(allowed)
        with threads_for(X.size * n_candidates, n_threads):
            return nearest(X, self._rows, k, which=allowed)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"rows": self._rows}

    @classmethod
    def _restore(cls, ids: NDArray[np.int64], arrays: dict[str, NDArray[Any]], params: dict[str, Any]) -> ExactIndex:  # noqa: ARG003  (nothing was chosen)
        return cls(arrays["rows"], ids)
