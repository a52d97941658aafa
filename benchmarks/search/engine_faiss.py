"""faiss: inverted files with several codes, and its graph."""

# ruff: noqa: ARG002, D102  (the signatures are those of `Engine`)

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import faiss
import numpy as np
from engine_hnswlib import EF, EF_WIDE
from engines import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from data import Data
    from filters import Filter
    from numpy.typing import NDArray

_FEW = 1000  # passing rows up to which a hash of them is a better filter than a bitmap


class Faiss(Engine):
    """Methods shared by the faiss indices; the size of an index is that of its file."""

    def empty(self, n: int, dim: int) -> faiss.Index:
        raise NotImplementedError

    def params(self, setting: dict[str, Any], passing: Any) -> faiss.SearchParameters:
        raise NotImplementedError

    def build(self, data: Data, folder: Path, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        index = self.empty(*data.base.shape)
        index.train(data.base)
        index.add(data.base)
        faiss.write_index(index, str(folder / "index"))

    def open(self, folder: Path, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self.index = faiss.read_index(str(folder / "index"))

    def prepare(self, passing: Filter) -> faiss.IDSelector:
        if passing.mask.sum() <= _FEW:
            return faiss.IDSelectorBatch(np.flatnonzero(passing.mask))
        return faiss.IDSelectorBitmap(np.packbits(passing.mask, bitorder="little"))

    def query(
        self, X: NDArray[np.float32], k: int, threads: int, setting: dict[str, Any], passing: Any = None
    ) -> NDArray[np.int64]:
        faiss.omp_set_num_threads(threads)
        return self.index.search(X, k, params=self.params(setting, passing))[1]


class Ivf(Faiss):
    """Inverted lists of whole rows, or of one byte per number."""

    single_threads: ClassVar[tuple[int, ...]] = (1, 2)

    def __init__(self, codes: str, n_lists: int | None = None) -> None:
        self.codes, self.n_lists = codes, n_lists

    def empty(self, n: int, dim: int) -> faiss.Index:
        n_lists = self.n_lists or 2 ** round(np.log2(2 * n**0.5))
        return faiss.index_factory(dim, f"IVF{n_lists},{self.codes}", faiss.METRIC_INNER_PRODUCT)

    def probes(self, k: int) -> tuple[int, ...]:
        return (
            (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
            if k <= 1000
            else (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
        )

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"nprobe": nprobe} for nprobe in self.probes(k)]

    def params(self, setting: dict[str, Any], passing: Any) -> faiss.SearchParameters:
        return faiss.SearchParametersIVF(sel=passing, **setting)


class Refined(Ivf):
    """Small codes, such as 4 bits for 2 numbers, and finer rows: the best `k_factor` k candidates are re-ranked."""

    def __init__(self, codes: str, factors: tuple[float, ...], n_lists: int | None = None) -> None:
        super().__init__(codes, n_lists)
        self.factors = factors

    def sweep(self, k: int) -> list[dict[str, Any]]:
        factors = self.factors if k <= 1000 else self.factors[:2]
        return [{"nprobe": p, "k_factor": f} for p, f in product(self.probes(k)[::2], factors)]

    def params(self, setting: dict[str, Any], passing: Any) -> faiss.SearchParameters:
        inner = faiss.SearchParametersIVF(nprobe=setting["nprobe"], sel=passing)
        return faiss.IndexRefineSearchParameters(k_factor=setting["k_factor"], base_index_params=inner)


class Hnsw(Faiss):
    """M 32, ef_construction 200."""

    def empty(self, n: int, dim: int) -> faiss.Index:
        index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        return index

    def sweep(self, k: int) -> list[dict[str, Any]]:
        return [{"efSearch": ef} for ef in (EF if k <= EF[0] else EF_WIDE)]

    def params(self, setting: dict[str, Any], passing: Any) -> faiss.SearchParameters:
        return faiss.SearchParametersHNSW(sel=passing, **setting)
