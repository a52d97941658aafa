"""The training cells over the genes of the model: codes, and counts in memory or beyond a limit in a file."""

from __future__ import annotations

import mmap
import tempfile
import weakref
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import sparse

from scim import ontology
from scim._core import GeneOverlapError, logger, progress
from scim._core.numba import njit
from scim.model import Labels
from scim.pp import lognorm

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.training.data._data_set import DataSet

_FEW_GENES = 50  # fewer are too few to learn from
_RELEASE_EVERY = 64  # batches after which pages of the file are released: they would count as memory


class TrainingCells(NamedTuple):
    """All labelled cells, aligned to the genes of the model."""

    X: CellStore  # (n, n_genes) counts
    panels: NDArray[np.bool_]  # (n_data_sets, n_genes) genes that each data set measured
    panel: NDArray[np.int64]  # (n,) rows of `panels`
    label: NDArray[np.int64]  # (n,) codes into `labels`
    study: NDArray[np.int64]  # (n,) codes into `studies`
    labels: Labels
    studies: tuple[str, ...]
    genes: NDArray[np.object_]  # (n_genes,) canonical ids
    mean_square: NDArray[np.float64]  # (n_genes,) of the log-normalised counts over all cells
    n_empty: dict[str, int]  # cells without counts of these genes, which were left out, by data set


def combine(
    data_sets: Sequence[DataSet],
    genes: NDArray[np.object_],
    *,
    max_memory: int,
    scratch: str | os.PathLike[str] | None = None,
) -> TrainingCells:
    """Return the cells of all data sets over the genes of the model; see :class:`CellStore` for the memory limit.

    Cells without counts of these genes are left out: there is nothing to learn from.
    """
    store = CellStore(len(genes), max_memory=max_memory, scratch=scratch)
    squares, kept = np.zeros(len(genes)), []
    for data in data_sets:
        _check_overlap(data, genes)
        has_counts = np.zeros(data.n_cells, dtype=np.bool_)
        with progress(total=data.n_cells, desc=f"read {data.name}", unit="cell") as bar:
            for rows, X in data.blocks(genes):
                has_counts[rows] = filled = with_counts(X)
                counts = X if filled.all() else X[filled]
                counts.sort_indices()  # the same counts train alike, in whatever order they were stored
                store.write(counts)
                values = lognorm(counts)
                squares += np.bincount(values.indices, np.square(values.data, dtype=np.float64), len(genes))
                bar.update(X.shape[0])
        kept.append(data.select(has_counts))
    n_empty = _report_empty(data_sets, kept)
    labels, label = code_labels(np.concatenate([data.labels for data in kept]))
    study, studies = pd.factorize(np.concatenate([data.studies for data in kept]), sort=True)
    return TrainingCells(
        X=store.finish(),
        panels=np.array([data.measured(genes) for data in kept]),
        panel=np.repeat(np.arange(len(kept)), [data.n_cells for data in kept]),
        label=label,
        study=study.astype(np.int64),
        labels=labels,
        studies=tuple(studies),
        genes=genes,
        mean_square=squares / len(label),
        n_empty=n_empty,
    )


def with_counts(X: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Return which cells (n, n_genes) have a count, (n,)."""
    return np.asarray(X.sum(axis=1)).ravel() > 0


def _report_empty(data_sets: Sequence[DataSet], kept: Sequence[DataSet]) -> dict[str, int]:
    """Return the number of cells without counts by data set, and log it; raise ValueError if no others are left."""
    n_empty = {before.name: before.n_cells - after.n_cells for before, after in zip(data_sets, kept, strict=True)}
    n_cells, total = sum(data.n_cells for data in data_sets), sum(n_empty.values())
    if total == n_cells:
        msg = f"None of the {n_cells} labelled cells of {[*n_empty]} has a count in the model's genes; expected counts."
        raise ValueError(msg)
    if total:
        logger.info(
            "%d of %d labelled cells (%.1f %%) have no count in the model's genes and are left out: %s",
            total,
            n_cells,
            100 * total / n_cells,
            {name: n for name, n in n_empty.items() if n},
        )
    return n_empty


def _check_overlap(data: DataSet, genes: NDArray[np.object_]) -> None:
    n = int(data.measured(genes).sum())
    if n < min(_FEW_GENES, max(1, len(genes) // 10)):
        msg = (
            f"{data.name!r} measured only {n} of the {len(genes)} genes that the model reads, too few to learn from. "
            "Leave it out, or name genes that it has with genes=."
        )
        raise GeneOverlapError(msg)


def code_labels(texts: NDArray[np.object_]) -> tuple[Labels, NDArray[np.int64]]:
    """Return labels in order of their names, and their codes (n,): one for all texts of one Cell Ontology term."""
    distinct = sorted(set(texts))
    ids = {text: ontology.term_id(text) for text in distinct}
    names = {text: text if (term := ids[text]) is None else ontology.term_name(term) for text in distinct}
    order = sorted(set(names.values()))
    position = {name: i for i, name in enumerate(order)}
    id_of = {names[text]: ids[text] for text in distinct}
    codes = pd.Series(texts).map({text: position[names[text]] for text in distinct}).to_numpy(dtype=np.int64)
    return Labels(tuple(order), tuple(id_of[name] for name in order)), codes


class CellStore:
    """Rows of a csr matrix, written once by blocks and read by number in any order.

    Up to `max_memory` bytes stay in memory; more goes to a mapped file in `scratch`, of which about 200 MB are in
    memory at a time, and which the system removes with the process. The default of `scratch` is the system's folder.
    """

    def __init__(self, n_genes: int, *, max_memory: int, scratch: str | os.PathLike[str] | None = None) -> None:
        self.n_genes = n_genes
        self._max_memory, self._scratch = max_memory, scratch
        self._lengths: list[NDArray[np.int64]] = []
        self._parts: list[tuple[NDArray[Any], NDArray[np.float32]]] = []
        self._files: list[Any] | None = None
        self._index_type = np.uint16 if n_genes <= 2**16 else np.int32
        self._maps: list[mmap.mmap] = []
        self._n_read = 0
        self._checksums = [0, 0]

    @property
    def checksums(self) -> tuple[int, ...]:
        """CRC-32 of all genes and of all values that were written."""
        return tuple(self._checksums)

    @property
    def on_disk(self) -> bool:
        """Whether it is in a file."""
        return self._files is not None

    @property
    def n_bytes(self) -> int:
        """Size of genes and values."""
        return int(sum(lengths.sum() for lengths in self._lengths)) * (np.dtype(self._index_type).itemsize + 4)

    def write(self, X: sparse.csr_matrix) -> None:
        """Append rows (n, n_genes); a full disk is an `OSError`."""
        part = X.indices.astype(self._index_type), X.data.astype(np.float32, copy=False)
        self._lengths.append(np.diff(X.indptr).astype(np.int64))
        self._parts.append(part)
        self._checksums = [zlib.crc32(array.data, before) for array, before in zip(part, self._checksums, strict=True)]
        if self._files is None and self.n_bytes > self._max_memory:
            self._spill()
        if self._files is not None:
            for arrays in self._parts:
                for file, array in zip(self._files, arrays, strict=True):
                    self._append(file, array)
            self._parts.clear()

    def finish(self) -> Self:
        """Make the rows readable, after the last block."""
        lengths = np.concatenate([np.empty(0, np.int64), *self._lengths])
        self.indptr = np.concatenate([[0], np.cumsum(lengths)])
        if self._files is None:
            self._join()
        else:
            self.indices, self.data = map(self._mapped, self._files, (self._index_type, np.float32))
            logger.info("training cells: %.1f GB in %s", self.n_bytes / 1e9, self._scratch or tempfile.gettempdir())
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and genes."""
        return self.indptr.size - 1, self.n_genes

    def __getitem__(self, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        """Return rows by number, as a copy (n, n_genes)."""
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        _gather(self.indptr, self.indices, self.data, rows, indptr, indices, data)
        self._n_read += 1
        if self._maps and self._n_read % _RELEASE_EVERY == 0 and hasattr(mmap, "MADV_DONTNEED"):
            for part in self._maps:
                part.madvise(mmap.MADV_DONTNEED)
        return sparse.csr_matrix((data, indices, indptr), shape=(rows.size, self.n_genes))

    def _join(self) -> None:
        # Part by part, each freed when it is copied: all at once would need twice the memory.
        self.indices = np.empty(self.indptr[-1], self._index_type)
        self.data = np.empty(self.indptr[-1], np.float32)
        start = 0
        self._parts.reverse()
        while self._parts:
            indices, data = self._parts.pop()
            stop = start + data.size
            self.indices[start:stop], self.data[start:stop] = indices, data
            start = stop
            del indices, data

    def _spill(self) -> None:
        # Files without a name: the system removes them, however the process ends.
        self._files = []
        for _ in range(2):
            file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115  (lives as long as the store)
            weakref.finalize(self, file.close)
            self._files.append(file)

    def _append(self, file: Any, array: NDArray[Any]) -> None:
        # Not `tofile`, which loses the content of its buffer silently when the disk is full.
        remaining = array.view(np.uint8)
        while remaining.size:
            try:
                remaining = remaining[file.write(remaining) :]
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._scratch or tempfile.gettempdir())) from error

    def _mapped(self, file: Any, dtype: Any) -> NDArray[Any]:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        self._maps.append(mapped)
        return np.frombuffer(mapped, dtype=dtype)


@njit
def _gather(indptr: Any, indices: Any, data: Any, rows: Any, to: Any, to_indices: Any, to_data: Any) -> None:
    for i in range(rows.shape[0]):
        start = indptr[rows[i]]
        for q in range(to[i + 1] - to[i]):
            to_indices[to[i] + q] = indices[start + q]
            to_data[to[i] + q] = data[start + q]
