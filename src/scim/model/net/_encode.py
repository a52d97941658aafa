"""Embedding of log-normalised rows in batches, without a dense copy of the rows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional

from scim._core.fork import is_fork, usable_threads
from scim._core.numba import njit_parallel, prange, threads
from scim.io.cells import check_sparse
from scim.model.net._fold import apply_layers, fold
from scim.model.net._sparse_linear import SparseLinear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.model.net._net import Encoder

    Rows = sparse.csr_matrix[Any] | sparse.csr_array[Any] | NDArray[np.floating[Any]]

BATCH_SIZE = 4096  # three activations of 16 MB at a width of 1024, and few passes over the first layer's weights


class _Batch(NamedTuple):
    indptr: NDArray[np.integer[Any]]
    indices: NDArray[np.integer[Any]]
    data: NDArray[np.float32]


class FoldedEncoder:
    """An encoder prepared for inference: batch normalisation folded into the weights, the first layer for csr rows.

    Dropout is off and the normalisation uses the running statistics, in any mode of the net; later changes of the net
    do not reach it.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.standardize = bool(encoder.config.standardize)
        first, *self._rest = fold(encoder)
        self.n_genes = first.weight.shape[1]
        self.latent_dim = (self._rest or [first])[-1].weight.shape[0]
        self._first = SparseLinear(first.weight.T.numpy(), first.bias.numpy())
        self._slope = first.slope

    def encode(
        self,
        X: Rows,
        *,
        observed: NDArray[np.bool_] | None = None,
        n_threads: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> NDArray[np.float32]:
        """Embed log-normalised cells (n, n_genes) as unit rows (n, latent_dim); a cell without any value as zeros.

        `observed`, (n_genes,), matters to encoders that standardise; default: all genes. The same cell gets the same
        row, within 1e-6, whatever the other cells, the batch size and the threads.
        """
        if sparse.issparse(X):
            check_sparse(X, "The matrix of cells")
        if X.shape[1] != self.n_genes:
            msg = f"Expected {self.n_genes} columns, one for each gene of the model; got {X.shape[1]}."
            raise ValueError(msg)
        observed = np.ones(self.n_genes, dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
        n_threads = usable_threads(n_threads)
        out = np.zeros((X.shape[0], self.latent_dim), dtype=np.float32)
        with torch.inference_mode(), torch_threads(n_threads), threads(n_threads):
            weight_sum = self._weight_sum(observed, n_threads) if self.standardize else None
            for start in range(0, X.shape[0], batch_size):
                batch = slice(start, start + batch_size)
                out[batch] = self._encode_batch(_batch(X, batch), observed, weight_sum, n_threads)
        return out

    def _weight_sum(self, observed: NDArray[np.bool_], n_threads: int) -> torch.Tensor:
        """Add up the first layer's weights of the observed genes, shape (width,)."""
        indices = np.flatnonzero(observed)
        ones = np.ones(indices.size, dtype=np.float32)
        total = self._first(np.array([0, indices.size]), indices, ones, n_threads=n_threads)
        return torch.from_numpy(total[0] - self._first.bias)

    def _encode_batch(
        self, batch: _Batch, observed: NDArray[np.bool_], weight_sum: torch.Tensor | None, n_threads: int
    ) -> NDArray[np.float32]:
        n_values, mean, sd = _moments(batch, observed)
        if weight_sum is None:
            h = torch.from_numpy(self._first(*batch, n_threads=n_threads))
        else:
            # ((x - mean) / sd) @ W over the observed genes, from x @ W and the sum of W: x stays sparse.
            scale = np.divide(1, sd, out=np.zeros_like(sd), where=sd > 0)
            h = torch.from_numpy(self._first(*batch, scale=scale.astype(np.float32), n_threads=n_threads))
            shift = torch.from_numpy((-mean * scale).astype(np.float32))
            h = h.addr_(shift, weight_sum)
        if self._slope is not None:
            h = functional.prelu(h, self._slope)
        unit: NDArray[np.float32] = apply_layers(h, self._rest).numpy()
        unit[n_values == 0] = 0
        return unit


def _batch(X: Any, rows: slice) -> _Batch:
    if not sparse.issparse(X):
        X, rows = sparse.csr_matrix(X[rows]), slice(None)
    indptr = X.indptr[rows.start : None if rows.stop is None else rows.stop + 1]
    values = slice(indptr[0], indptr[-1])
    return _Batch(indptr - indptr[0], X.indices[values], X.data[values].astype(np.float32, copy=False))


def _moments(
    batch: _Batch, observed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return of each row the number of values other than zero, and mean and standard deviation over observed genes."""
    n_values = np.empty(batch.indptr.size - 1, dtype=np.int64)
    n_hidden, total, squares = np.empty_like(n_values), np.empty(n_values.size), np.empty(n_values.size)
    _sum_rows(*batch, observed, n_values, n_hidden, total, squares)
    if n_hidden.any():
        msg = f"{n_hidden.sum()} values lie in genes that `observed` marks as not measured."
        raise ValueError(msg)
    mean, square = total / max(1, observed.sum()), squares / max(1, observed.sum())
    variance = square - mean**2
    variance[variance < 1e-12 * square] = 0  # rounding alone: every value of the row is the same
    return n_values, mean, np.sqrt(variance)


@njit_parallel
def _sum_rows(
    indptr: Any, indices: Any, data: Any, observed: Any, n_values: Any, n_hidden: Any, total: Any, squares: Any
) -> None:
    for i in prange(n_values.shape[0]):
        count, hidden, s, ss = 0, 0, 0.0, 0.0
        for q in range(indptr[i], indptr[i + 1]):
            x = float(data[q])
            s += x
            ss += x * x
            if x != 0:
                count += 1
                if not observed[indices[q]]:
                    hidden += 1
        n_values[i], n_hidden[i], total[i], squares[i] = count, hidden, s, ss


@contextlib.contextmanager
def torch_threads(n: int | None = None) -> Iterator[None]:
    """Set torch to `n` threads (default: `scim.settings.n_threads`) within a block.

    In a fork it is set to one, for good: with more it would wait for threads that only its parent has.
    """
    n = usable_threads(n)
    before = 1 if is_fork() else torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
