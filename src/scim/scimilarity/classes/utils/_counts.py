"""The matrices of an AnnData as this package and its users know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scim._core.checks import check_adata
from scim._core.errors import CountsError

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS = "counts"
"""`layers`: where raw counts are."""


def raw_counts(data: AnnData) -> Any:
    """Return `layers["counts"]`.

    Raises
    ------
    TypeError
        `data` is no AnnData.
    ValueError
        There is no such layer.
    """
    check_adata(data)
    if COUNTS not in data.layers:
        msg = f"layers['counts'] not found; keep the raw counts there. Present: {list(data.layers)}."
        raise ValueError(msg)
    return data.layers[COUNTS]


def as_csr(matrix: Any) -> Any:
    """Return a matrix as csr of its own type of number; one that is csr as it is."""
    if isinstance(matrix, sparse.csr_matrix):
        return matrix
    return sparse.csr_matrix(matrix)


def refuse_negative(matrix: Any, where: str) -> None:
    """Refuse values below zero.

    Raises
    ------
    CountsError
        There are some.
    """
    lowest = matrix.data.min(initial=0)
    if lowest < 0:
        msg = f"{where} has negative values (lowest {lowest:.3g}); expected counts or log-normalised values."
        raise CountsError(msg)


def row_sums(matrix: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the sum of each row, (n,)."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
