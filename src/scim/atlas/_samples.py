"""Counts of a sample of the labelled cells, kept from an append on for the expression reference of the next build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import FormatError
from scim.atlas.commit import REMEDY, address, check_ids, load_arrays, store_arrays
from scim.io import check_array
from scim.label_transfer import CountSample
from scim.pp import align
from scim.pp._gene_names import known_genes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scim.atlas.commit import StoredArray
    from scim.atlas.storage import Storage
    from scim.pp import GeneMap

MOST_CELLS = 20_000  # of an append, and of a build: 0.5 GB at 3,000 genes a cell
_ARRAYS = "genes", "indptr", "indices", "counts"  # of a sample, beside its ids
_OF_A_PAIR = 60  # of a label in a study at most


def draw(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Draw at most 60 cells of each pair of a label and a study, evenly spaced; fewer if all were more than 20,000.

    `pairs` (n,) has the pair of each cell as a number; of -1 none is drawn. Return which cells are drawn, (n,).
    """
    order = np.argsort(pairs, kind="stable")[np.count_nonzero(pairs < 0) :]
    _, first, size = np.unique(pairs[order], return_index=True, return_counts=True)
    most = _OF_A_PAIR
    while most > 1 and np.minimum(size, most).sum() > MOST_CELLS:
        most -= 1
    n_drawn = np.minimum(size, most)
    of_pair = np.repeat(np.arange(len(size)), n_drawn)
    step = np.arange(len(of_pair)) - np.repeat(np.cumsum(n_drawn) - n_drawn, n_drawn)
    drawn = np.zeros(len(pairs), dtype=np.bool_)
    drawn[order[first[of_pair] + step * size[of_pair] // n_drawn[of_pair]]] = True
    return drawn


class SampleCollector:
    """The counts of the drawn cells of one source, collected block by block.

    They are kept in all human genes of the source, and in the genes of the model: one column a gene.
    """

    def __init__(self, genes: GeneMap) -> None:
        kept = known_genes(genes.names) | (genes.columns >= 0)  # neither is true of columns that are left out
        self._names = pd.unique(genes.names[kept])
        self._genes = genes.onto(self._names)
        self._ids: list[NDArray[np.int64]] = []
        self._counts: list[sparse.csr_matrix] = []

    def add(self, ids: NDArray[np.int64], counts: sparse.csr_matrix) -> None:
        """Add the counts of cells, in the columns of the source."""
        self._ids.append(ids)
        self._counts.append(_small(align(counts, self._genes)))

    @property
    def n_cells(self) -> int:
        """Number of cells that were added."""
        return sum(map(len, self._ids))

    def write(self, storage: Storage, name: str) -> StoredArray:
        """Write what was collected as a file of the atlas."""
        counts = sparse.vstack(self._counts, format="csr")
        return write_sample(storage, name, CountSample(np.concatenate(self._ids), counts, self._names))


def write_sample(storage: Storage, name: str, sample: CountSample) -> StoredArray:
    """Write a sample as a file of the atlas."""
    counts = _small(sample.counts)
    counts.sort_indices()
    arrays = {
        "ids": sample.ids,
        "genes": sample.genes.astype(str),
        "indptr": counts.indptr.astype(np.int64),
        "indices": counts.indices.astype(np.min_scalar_type(max(0, len(sample.genes) - 1))),
        "counts": counts.data,
    }
    return store_arrays(storage, name, arrays, len(sample.ids))


def _small(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return counts as whole numbers of 16 bits where they are such, else as float32."""
    data: NDArray[np.float32 | np.uint16] = counts.data.astype(np.float32, copy=False)
    if data.max(initial=0) <= np.iinfo(np.uint16).max and np.array_equal(small := data.astype(np.uint16), data):
        data = small
    return sparse.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)


def read_ids(storage: Storage, entries: Iterable[StoredArray], n_rows: int) -> NDArray[np.int64]:
    """Return the ids, below `n_rows`, of the cells of all samples; errors as of :func:`read_sample`."""
    parts = [_ids(storage, entry, n_rows) for entry in entries]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def read_sample(storage: Storage, entry: StoredArray, n_rows: int) -> CountSample:
    """Return a sample of cells with ids below `n_rows`.

    `FormatError`: the file is missing, does not have its checksum, or holds something else.
    """
    where, arrays = address(storage, entry), load_arrays(storage, entry, *_ARRAYS)
    ids, (genes, indptr, indices, counts) = _ids(storage, entry, n_rows), (arrays[name] for name in _ARRAYS)
    check_array(genes, where, "U", (None,), remedy=REMEDY)
    check_array(counts, where, "uf", (None,), least=0, most=float(np.finfo(np.float32).max), remedy=REMEDY)
    check_array(indices, where, "u", counts.shape, most=len(genes) - 1, remedy=REMEDY)
    check_array(indptr, where, "i", (len(ids) + 1,), remedy=REMEDY)
    if indptr[0] != 0 or indptr[-1] != len(counts) or (indptr[1:] < indptr[:-1]).any():
        msg = f"{where!r} has rows that do not follow each other. {REMEDY}"
        raise FormatError(msg)
    parts = counts.astype(np.float32), indices.astype(np.int32), indptr
    matrix = sparse.csr_matrix(parts, shape=(len(ids), len(genes)))
    return CountSample(ids, matrix, genes.astype(object))


def _ids(storage: Storage, entry: StoredArray, n_rows: int) -> NDArray[np.int64]:
    ids = load_arrays(storage, entry, "ids")["ids"]
    return check_ids(ids, address(storage, entry), entry.n, n_rows)


def without_removed(
    storage: Storage, entries: Sequence[StoredArray], present: NDArray[np.bool_], number: int
) -> tuple[StoredArray, ...]:
    """Return the samples without cells of which `present` (n_rows,) is false; commit `number` writes them again."""
    kept = []
    for i, entry in enumerate(entries):
        n_present = int(present[_ids(storage, entry, len(present))].sum())
        if n_present == entry.n:
            kept.append(entry)
        elif n_present:
            sample = read_sample(storage, entry, len(present)).among(present)
            kept.append(write_sample(storage, f"samples/{number:06d}-{i}.npz", sample))
    return tuple(kept)
