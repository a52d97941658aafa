"""Counts of any genes to log-normalised values of the model's genes, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scim.pp._kernels import align_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.pp._counts import Counts
    from scim.pp._match import GeneMap

CHUNK_VALUES = 4_000_000
"""Non-zero values in flight at a time: 32 MB as csr, whatever the size of the data."""

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
    """
    shape = (X.shape[0], genes.observed.size)
    # Unsorted rows may name a column twice; only sorted ones are known not to.
    repeated = not X.has_canonical_format
    indptr, indices, data = align_rows(X.indptr, X.indices, X.data, genes.columns, shape[1], repeated=repeated)
    return sparse.csr_matrix((data, indices, indptr), shape=shape)


def lognorm(X: sparse.csr_matrix, target_sum: float = 1e4) -> sparse.csr_matrix:
    """Return :math:`\\log(1 + x \\cdot target\\_sum / \\sum x)` of each row; empty rows stay empty."""
    totals = np.asarray(X.sum(axis=1)).ravel()
    scale = np.divide(target_sum, totals, out=np.zeros_like(totals), where=totals > 0).astype(np.float32)
    data = X.data * np.repeat(scale, np.diff(X.indptr))
    return sparse.csr_matrix((np.log1p(data, out=data), X.indices, X.indptr), shape=X.shape)


class Chunk(NamedTuple):
    """Consecutive cells."""

    rows: slice
    X: sparse.csr_matrix
    """(n, n_genes) values of the model's genes."""


def aligned_chunks(counts: Counts, genes: GeneMap) -> Iterator[Chunk]:
    """Yield all cells of `counts`, aligned, in chunks of bounded size."""
    per_row = _values_per_row(counts)
    step = int(max(256, min(16_384, CHUNK_VALUES // per_row)))
    for start in range(0, counts.n_obs, step):
        stop = min(counts.n_obs, start + step)
        yield Chunk(slice(start, stop), align(counts.rows(start, stop), genes))


def lognorm_chunks(counts: Counts, genes: GeneMap, *, target_sum: float = 1e4) -> Iterator[Chunk]:
    """Yield all cells of `counts`, aligned and log-normalised, in chunks of bounded size."""
    for chunk in aligned_chunks(counts, genes):
        yield chunk._replace(X=lognorm(chunk.X, target_sum))


def lognorm_rows(
    counts: Counts, genes: GeneMap, rows: NDArray[np.integer[Any]], *, target_sum: float = 1e4
) -> sparse.csr_matrix:
    """Return some cells, aligned and log-normalised; of data on disk, blocks without any of them are not read.

    Parameters
    ----------
    counts
        From :func:`find_counts`.
    genes
        From :func:`match_genes`.
    rows
        Numbers of the cells, ascending, shape (n,).
    target_sum
        Total of a cell's counts before log(1 + x).

    Returns
    -------
    csr matrix of float32, shape (n, n_genes).
    """
    blocks = np.split(rows, np.flatnonzero(np.diff(rows // _BLOCK_ROWS)) + 1)
    parts = [align(_taken(counts, block), genes) for block in blocks]
    return lognorm(sparse.vstack(parts, format="csr"), target_sum)


def _taken(counts: Counts, rows: NDArray[np.integer[Any]]) -> sparse.csr_matrix:
    start = int(rows[0])
    return counts.rows(start, int(rows[-1]) + 1)[rows - start]


def _values_per_row(counts: Counts) -> float:
    head = counts.rows(0, min(200, counts.n_obs))
    return max(1.0, head.nnz / max(1, head.shape[0]))
