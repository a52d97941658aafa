"""List the engines by name, and define their common interface.

Settings are dictionaries, the cheapest first. All engines return row numbers of the base, -1 for none.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from data import Data
    from filters import Filter
    from numpy.typing import NDArray

ENGINES = {
    "scim": ("engine_scim", "Scim", {}),
    "scim-exact": ("engine_scim", "ScimOther", {"kind": "exact"}),
    "scim-graph": ("engine_scim", "ScimOther", {"kind": "graph"}),
    "hnswlib-16": ("engine_hnswlib", "Hnswlib", {"M": 16}),
    "hnswlib-32": ("engine_hnswlib", "Hnswlib", {"M": 32}),
    "faiss-ivfflat": ("engine_faiss", "Ivf", {"codes": "Flat"}),
    "faiss-sq8": ("engine_faiss", "Ivf", {"codes": "SQ8"}),
    "faiss-fp16": ("engine_faiss", "Ivf", {"codes": "SQfp16"}),
    "faiss-sq8-refined": ("engine_faiss", "Refined", {"codes": "SQ8,RFlat", "factors": (1.2, 2)}),
    "faiss-sq8-fp16": ("engine_faiss", "Refined", {"codes": "SQ8,Refine(SQfp16)", "factors": (1.2, 2)}),
    "faiss-pqfs": ("engine_faiss", "Refined", {"codes": "PQ64x4fs,RFlat", "factors": (4, 8, 16, 32)}),
    "faiss-pqfs-residual": ("engine_faiss", "Refined", {"codes": "PQ64x4fsr,RFlat", "factors": (2, 4, 8, 16)}),
    "faiss-pqfs-fp16": ("engine_faiss", "Refined", {"codes": "PQ64x4fs,Refine(SQfp16)", "factors": (4, 8, 16, 32)}),
    "faiss-hnsw": ("engine_faiss", "Hnsw", {}),
    "pynndescent": ("engine_pynndescent", "PyNNDescent", {}),
}


class Engine(ABC):
    """An index: built and saved by one process, opened and searched by another."""

    single_threads: ClassVar[tuple[int, ...]] = (1,)
    """Numbers of threads for a single query; the fastest counts."""

    compiles: ClassVar[bool] = False
    """Whether the first build compiles kernels; the measured time excludes compilation."""

    @abstractmethod
    def build(self, data: Data, folder: Path, threads: int) -> None:
        """Build and save."""

    @abstractmethod
    def open(self, folder: Path, threads: int) -> None:
        """Open the saved index."""

    @abstractmethod
    def sweep(self, k: int) -> list[dict[str, Any]]:
        """Return the settings to try for `k` neighbours."""

    @abstractmethod
    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        """Return the row numbers of the nearest rows, (n_queries, k)."""

    def bytes(self, folder: Path) -> int:
        """Return the size of an open index in memory; by default that of its files."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def prepare(self, passing: Filter) -> Any:
        """Return the filter in the form that `query` takes; not timed."""
        msg = f"{type(self).__name__} has no filter, for {passing.name!r}."
        raise NotImplementedError(msg)


def engine(name: str) -> Engine:
    """Make an engine by its name; `faiss-sq8@4096` has 4,096 lists instead of the default."""
    name, _, n_lists = name.partition("@")
    module, cls, arguments = ENGINES[name]
    return getattr(importlib.import_module(module), cls)(**arguments, **({"n_lists": int(n_lists)} if n_lists else {}))
