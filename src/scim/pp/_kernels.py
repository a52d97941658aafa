"""Columns of csr rows to the genes of a model, without a dense or a coordinate copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.numba import njit_parallel, prange, threads
from scim._core.settings import settings

if TYPE_CHECKING:
    from numpy.typing import NDArray


def align_rows(
    indptr: NDArray[np.integer[Any]],
    indices: NDArray[np.integer[Any]],
    data: NDArray[np.floating[Any]],
    columns: NDArray[np.integer[Any]],
    n_genes: int,
    *,
    repeated: bool = False,
    n_threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Send every column of csr rows to a gene, drop those sent nowhere and sum those sent to the same gene.

    Parameters
    ----------
    indptr, indices, data
        The rows; values of any float dtype.
    columns
        Gene of each column, shape (n_columns,); -1 where it has none.
    n_genes
        Number of genes.
    repeated
        Whether a row may name a column more than once.
    n_threads
        Default: `scim.settings.n_threads`.

    Returns
    -------
    indptr : int64
        Starts of the new rows, from 0.
    indices : int32
        Genes, each at most once a row, in the order in which the row first names them.
    data : float32
        Values; those of one gene are summed.
    """
    columns = np.ascontiguousarray(columns, dtype=np.int32)
    shared = repeated or bool(np.bincount(columns[columns >= 0], minlength=1).max() > 1)
    n_blocks = settings.n_threads if n_threads is None else n_threads
    slots = np.full((n_blocks, n_genes), -1, dtype=np.int64)
    new_indptr = np.zeros(indptr.size, dtype=np.int64)
    with threads(n_blocks):
        _count_rows(indptr, indices, columns, shared, slots, new_indptr[1:])
        np.cumsum(new_indptr, out=new_indptr)
        new_indices = np.empty(new_indptr[-1], dtype=np.int32)
        new_data = np.empty(new_indptr[-1], dtype=np.float32)
        slots.fill(-1)
        _place_rows(indptr, indices, data, columns, shared, slots, new_indptr, new_indices, new_data)
    return new_indptr, new_indices, new_data


@njit_parallel
def _count_rows(indptr: Any, indices: Any, columns: Any, shared: Any, slots: Any, out: Any) -> None:
    n = out.shape[0]
    n_blocks = slots.shape[0]
    for block in prange(n_blocks):
        seen = slots[block]
        for i in range(block * n // n_blocks, (block + 1) * n // n_blocks):
            count = 0
            for q in range(indptr[i], indptr[i + 1]):
                gene = columns[indices[q]]
                if gene < 0 or (shared and seen[gene] == i):
                    continue
                count += 1
                if shared:
                    seen[gene] = i
            out[i] = count


@njit_parallel
def _place_rows(
    indptr: Any,
    indices: Any,
    data: Any,
    columns: Any,
    shared: Any,
    slots: Any,
    new_indptr: Any,
    new_indices: Any,
    new_data: Any,
) -> None:
    n = indptr.shape[0] - 1
    n_blocks = slots.shape[0]
    for block in prange(n_blocks):
        slot = slots[block]
        for i in range(block * n // n_blocks, (block + 1) * n // n_blocks):
            start = new_indptr[i]
            end = start
            for q in range(indptr[i], indptr[i + 1]):
                gene = columns[indices[q]]
                if gene < 0:
                    continue
                value = data[q]
                if shared and slot[gene] >= start:  # this row has named the gene before
                    new_data[slot[gene]] += value
                    continue
                if shared:
                    slot[gene] = end
                new_indices[end] = gene
                new_data[end] = value
                end += 1
