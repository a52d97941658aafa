"""Counts of any genes as log-normalised values of a model's genes, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scim._core import CountsError
from scim._core.fork import usable_threads
from scim._core.numba import njit_parallel, prange, threads
from scim.io.cells import check_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.pp._counts import Counts
    from scim.pp._match import GeneMap

_LEAST_TOTAL = 1e-30  # of a cell in float32, whose least number with all its digits is 1e-38
_CHUNK_VALUES = 4_000_000  # non-zero values of a chunk: 32 MB as csr
_BLOCK_ROWS = 4096


def align(X: sparse.csr_matrix, genes: GeneMap) -> sparse.csr_matrix:
    """Bring the columns of a csr matrix into the order of the model's genes.

    Columns that are not genes of the model are dropped; columns of the same gene are summed.

    Parameters
    ----------
    X
        Counts, shape (n, n_vars).
    genes
        From :func:`match_genes`.

    Returns
    -------
    csr matrix of float32, shape (n, n_genes).

    Raises
    ------
    FormatError
        The index arrays of `X` are inconsistent.
    CountsError
        `X` has not as many columns as the data of which the genes were matched.
    """
    check_sparse(X, "The counts")
    if X.shape[1] != genes.columns.size:
        msg = f"The counts have {X.shape[1]} columns, expected the {genes.columns.size} whose genes were matched."
        raise CountsError(msg)
    shape = (X.shape[0], genes.observed.size)
    repeated = not X.has_canonical_format  # unsorted rows may hold a column twice
    indptr, indices, data = align_rows(X.indptr, X.indices, X.data, genes.columns, shape[1], repeated=repeated)
    return sparse.csr_matrix((data, indices, indptr), shape=shape)


def lognorm(
    X: sparse.csr_matrix, target_sum: float = 1e4, *, source: str = "the counts", first: int = 0
) -> sparse.csr_matrix:
    r"""Return :math:`\log(1 + c \, x / \sum x)` of each row, with :math:`c` = `target_sum`; empty rows stay empty.

    Raise CountsError, which calls the rows cells of `source`, numbered from `first` on, for a total that is nearly 0,
    negative or not finite.
    """
    check_sparse(X, source)
    totals = np.asarray(X.sum(axis=1)).ravel()
    usable = (totals == 0) | ((totals > _LEAST_TOTAL) & np.isfinite(totals))
    if not usable.all():
        cell = int(np.argmin(usable))
        msg = f"Cell {first + cell} of {source} has values in the genes used that add up to {totals[cell]:.3g}, from "
        msg += "which no relative counts follow; leave it out, or correct its values."
        raise CountsError(msg)
    scale = np.divide(target_sum, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
    data = X.data * np.repeat(scale, np.diff(X.indptr))
    return sparse.csr_matrix((np.log1p(data, out=data), X.indices, X.indptr), shape=X.shape)


class Chunk(NamedTuple):
    """Consecutive cells."""

    rows: slice
    X: sparse.csr_matrix
    """(n, n_genes) values of the model's genes"""


def aligned_chunks(counts: Counts, genes: GeneMap) -> Iterator[Chunk]:
    """Yield all cells of `counts`, aligned, in chunks of bounded size."""
    head = counts.rows(0, min(200, counts.n_obs))
    values_per_row = max(1.0, head.nnz / max(1, head.shape[0]))
    step = int(max(256, min(16_384, _CHUNK_VALUES // values_per_row)))
    for start in range(0, counts.n_obs, step):
        stop = min(counts.n_obs, start + step)
        yield Chunk(slice(start, stop), align(counts.rows(start, stop), genes))


def lognorm_chunks(counts: Counts, genes: GeneMap, *, target_sum: float = 1e4) -> Iterator[Chunk]:
    """Yield all cells of `counts`, aligned and log-normalised, in chunks of bounded size."""
    for chunk in aligned_chunks(counts, genes):
        yield chunk._replace(X=lognorm(chunk.X, target_sum, source=counts.place, first=chunk.rows.start))


def lognorm_rows(
    counts: Counts, genes: GeneMap, rows: NDArray[np.integer[Any]], *, target_sum: float = 1e4
) -> sparse.csr_matrix:
    """Return chosen cells, aligned and log-normalised, as csr float32; blocks on disk without any are not read.

    Parameters
    ----------
    counts
        From :func:`find_counts`.
    genes
        From :func:`match_genes`.
    rows
        Positions of the cells, ascending, shape (n,).
    target_sum
        Total of a cell's counts before log(1 + x).
    """
    parts = []
    for block in np.split(rows, np.flatnonzero(np.diff(rows // _BLOCK_ROWS)) + 1):
        start = int(block[0])
        parts.append(align(counts.rows(start, int(block[-1]) + 1)[block - start], genes))
    return lognorm(sparse.vstack(parts, format="csr"), target_sum)


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
    """Rename the columns of csr rows to genes; drop columns that are no gene (-1), and sum those of the same gene.

    Return `indptr` from 0, the genes, each at most once a row in the order of their first column, and their values.
    `repeated`: a row may hold a column more than once.
    """
    columns = np.ascontiguousarray(columns, dtype=np.int32)
    shared = repeated or bool(np.bincount(columns[columns >= 0], minlength=1).max() > 1)
    n_blocks = usable_threads(n_threads)
    slots = np.full((n_blocks, n_genes), -1, dtype=np.int64)
    new_indptr = np.zeros(indptr.size, dtype=np.int64)
    with threads(n_blocks):
        _count_rows(indptr, indices, columns, shared, slots, new_indptr[1:])
        np.cumsum(new_indptr, out=new_indptr)
        new_indices = np.empty(new_indptr[-1], dtype=np.int32)
        new_data = np.empty(new_indptr[-1], dtype=np.float32)
        slots.fill(-1)
        _fill_rows(indptr, indices, data, columns, shared, slots, new_indptr, new_indices, new_data)
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
def _fill_rows(
    indptr: Any, indices: Any, data: Any, columns: Any, shared: Any, slots: Any, new_indptr: Any, new_indices: Any,
    new_data: Any
) -> None:  # fmt: skip
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
                if shared and slot[gene] >= start:  # the row has the gene already
                    new_data[slot[gene]] += value
                    continue
                if shared:
                    slot[gene] = end
                new_indices[end] = gene
                new_data[end] = value
                end += 1
