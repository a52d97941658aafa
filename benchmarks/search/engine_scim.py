"""scim: an index opened from its folder with the codes in memory and the full-precision rows on disk."""

# ruff: noqa: ARG002, D102  (the signatures are those of `Engine`)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from engines import Engine

import scim

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from data import Data
    from filters import Filter
    from numpy.typing import NDArray


class Scim(Engine):
    """The inverted file, searched with a target recall; filters are conditions on its columns."""

    single_threads: ClassVar[tuple[int, ...]] = (1, 2)
    compiles: ClassVar[bool] = True

    def build(self, data: Data, folder: Path, threads: int) -> None:
        scim.index.build(data.base, kind="ivf", obs=data.obs or None, path=folder / "index", rng=0, n_threads=threads)

    def open(self, folder: Path, threads: int) -> None:
        self.index = scim.index.open(folder / "index", resident="codes")

    def bytes(self, folder: Path) -> int:
        return sum(self.index.nbytes.values())

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"recall": recall} for recall in (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)]

    def prepare(self, passing: Filter) -> str:
        return passing.where

    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        return self.index.query(X, k, n_threads=threads, where=passing, **setting).ids


class ScimOther(Scim):
    """The kinds without a target recall."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def build(self, data: Data, folder: Path, threads: int) -> None:
        scim.index.build(data.base, kind=self.kind, rng=0, n_threads=threads).save(folder / "index")

    def open(self, folder: Path, threads: int) -> None:
        self.index = scim.index.open(folder / "index")

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{}]
