"""The Mahalanobis distance of a positive semi-definite matrix, which may have a low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

from scim.io.cells import check_sparse

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    Rows: TypeAlias = NDArray[np.floating[Any]] | sparse.csr_matrix[Any] | sparse.csr_array[Any]

_ROUNDING = 1e-9  # share of the largest eigenvalue below which an eigenvalue is 0


@dataclass(frozen=True, eq=False)
class Metric:
    r"""The distance :math:`D_M(x, y) = \sqrt{(x - y)^T M (x - y)}` with :math:`M = L^T L` (:cite:t:`Mahalanobis1936`).

    M is symmetric and positive semi-definite whatever L is, and its rank is at most the number of rows of L. Save L
    with :func:`numpy.save`; `Metric(numpy.load(...))` is the metric again.

    Attributes
    ----------
    L
        float64, shape (rank, dim).

    Examples
    --------
    >>> import numpy as np
    >>> import scim
    >>> metric = scim.model.Metric(np.array([[2.0, 0.0]]))
    >>> metric.distances(np.zeros((1, 2)), np.array([[1.0, 7.0]]))
    array([[2.]])
    """

    L: NDArray[np.float64]

    def __post_init__(self) -> None:
        L = np.asarray(self.L, dtype=np.float64)
        if L.ndim != 2 or not np.isfinite(L).all():
            msg = f"L must be a matrix (rank, dim) of finite numbers, got shape {L.shape}."
            raise ValueError(msg)
        object.__setattr__(self, "L", L)

    def __repr__(self) -> str:
        return f"Metric of {self.L.shape[1]} dimensions, rank at most {self.L.shape[0]}"

    @classmethod
    def from_matrix(cls, M: NDArray[np.floating[Any]]) -> Self:
        """Return the metric of a symmetric, positive semi-definite matrix, shape (dim, dim).

        Raises
        ------
        ValueError
            `M` is not square, not symmetric, or has a negative eigenvalue.
        """
        M = np.asarray(M, dtype=np.float64)
        if M.ndim != 2 or M.shape[0] != M.shape[1] or not np.isfinite(M).all():
            msg = f"M must be a square matrix of finite numbers, got shape {M.shape}."
            raise ValueError(msg)
        if not np.allclose(M, M.T, rtol=1e-6, atol=1e-9 * float(np.abs(M).max(initial=0))):
            msg = "M must be symmetric; the metric of a map L is that of L.T @ L."
            raise ValueError(msg)
        size, V = np.linalg.eigh((M + M.T) / 2)
        least = _ROUNDING * float(np.abs(size).max(initial=0))
        if (size < -least).any():
            msg = f"M must be positive semi-definite; its smallest eigenvalue is {size.min():.3g}."
            raise ValueError(msg)
        kept = size > least
        return cls((V[:, kept] * np.sqrt(size[kept])).T)

    @property
    def M(self) -> NDArray[np.float64]:  # noqa: N802  (its name in the formula)
        """The matrix, shape (dim, dim)."""
        return self.L.T @ self.L

    def transform(self, X: Rows) -> NDArray[np.float64]:
        """Return coordinates, (n, rank), whose Euclidean distances are those of the metric between rows of X (n, dim).

        They can be used wherever coordinates are, such as `scanpy.pp.neighbors(use_rep=)`.

        Raises
        ------
        ValueError
            `X` does not have `dim` columns.
        """
        if sparse.issparse(X):
            check_sparse(X, "X")
        else:
            X = np.asarray(X)
        if X.ndim != 2 or X.shape[1] != self.L.shape[1]:
            msg = f"Expected rows of {self.L.shape[1]} values, as the metric has; got shape {X.shape}."
            raise ValueError(msg)
        coordinates: NDArray[np.float64] = X @ self.L.T
        return coordinates

    def distances(self, A: Rows, B: Rows | None = None) -> NDArray[np.float64]:
        """Return the distance of each row of A, (n, dim), from each row of B, (m, dim); default: of A. Shape (n, m)."""
        Y = self.transform(A)
        found: NDArray[np.float64] = cdist(Y, Y if B is None else self.transform(B))
        return found


def mahalanobis(A: Rows, B: Rows, M: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    r"""Return the distances :math:`D_M(a, b) = \sqrt{(a - b)^T M (a - b)}` of rows, :cite:t:`Mahalanobis1936`.

    Parameters
    ----------
    A, B
        Rows, shapes (n, dim) and (m, dim); csr or dense.
    M
        Symmetric, positive semi-definite, of any rank, shape (dim, dim): the inverse of a covariance, or
        :attr:`Metric.M`.

    Returns
    -------
    float64, shape (n, m).

    Raises
    ------
    ValueError
        `M` is not a metric, or does not have the columns of `A` and `B`.

    Examples
    --------
    >>> import numpy as np
    >>> import scim
    >>> scim.model.mahalanobis(np.zeros((1, 2)), np.array([[1.0, 2.0]]), np.diag([2.0, 0.5]))
    array([[2.]])
    """
    return Metric.from_matrix(M).distances(A, B)
