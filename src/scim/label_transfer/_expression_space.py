"""Principal components of the labels' expression, and Mahalanobis distances of cells of any gene panel in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd

from scim._core.numba import njit_parallel, prange, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from scim._core.types import Bools, Doubles, Floats, Ints

TARGET_SUM = 1e4  # counts of a cell that all genes of the space were measured in
N_NOVELTY = 7  # features of a cell of no label, see `ExpressionPanel.features`
_FEW = 32  # counts whose logarithms are computed once for a cell
_LEAST_DISTANCE = 1e-3
_DIMS = 50  # principal components
_RIDGE = 1e-2  # added to the squared loadings of a panel, so that few genes give no large score
_LEAST_NOISE = 0.05  # share of the variance of a gene that is its own, at least
_LEAST_SD = 0.05
_LEAST_RELIABILITY = 1e-3
_LEAST_SHARE = 1e-6  # of the counts of a typical cell that a panel has, so that counts can be divided by it


class ExpressionFeatures(NamedTuple):
    """Cells compared with the labels by the genes that they measured."""

    distances: Floats
    """(n, n_labels) squared Mahalanobis distance to the nearest mean of each label; inf = the label has no mean."""

    novelty: Doubles
    """(n, 7) features of a cell of no label, see :meth:`ExpressionPanel.features`."""

    share: float
    """Share of the counts of a typical cell that the genes of the panel have."""


@dataclass(frozen=True, eq=False)
class ExpressionSpace:
    """A factor model of log-normalised expression: mean, standard deviation, loadings, and noise of each gene.

    The loadings are the principal components of the means of the pairs of a label and a study and of the covariance
    within labels, all pairs weighing alike. Genes are standardised, and weigh by the root of the share of their
    variance that lies between pairs: many genes that hardly differ would add noise (benchmarks/NOTES.md).
    """

    mean: Doubles  # (n_genes,)
    sd: Doubles  # (n_genes,) standard deviation, over the root of the weight of the gene
    loadings: Doubles  # (n_genes, dims)
    noise: Doubles  # (n_genes,) variance of the standardised gene that the components leave
    share: Floats  # (n_genes,)
    centroids: Doubles  # (n_pairs, dims) scores of the means of the pairs
    within: Doubles  # (dims, dims) covariance of the scores of cells about the means of their pairs, with noise
    batch: Doubles  # (dims, dims) covariance of the means of a label in several studies

    @classmethod
    def of(
        cls,
        means: NDArray[np.float16],
        measured: Bools,
        factor: NDArray[np.float16],
        noise: Floats,
        share: Floats,
        labels: NDArray[np.object_],
    ) -> Self:
        """Fit the space to the arrays of an :class:`ExpressionReference`."""
        M, F = means.astype(np.float32), factor.astype(np.float32)
        n_measured = measured.sum(axis=0).clip(1)
        mean = M.sum(axis=0) / n_measured
        between = np.where(measured, M - mean, 0)
        variance = (between**2).sum(axis=0) / n_measured + (F**2).sum(axis=0) + noise
        reliability = (between**2).sum(axis=0) / n_measured / variance
        sd = np.sqrt(variance).clip(_LEAST_SD) / np.sqrt(reliability.clip(_LEAST_RELIABILITY))
        standardized = between / sd
        rows = np.vstack([standardized / np.sqrt(len(M)), F / sd])
        dims = min(_DIMS, *rows.shape)
        values, vectors = np.linalg.eigh(rows @ rows.T)  # fewer rows than genes
        values, vectors = values[::-1][:dims].clip(1e-9), vectors[:, ::-1][:, :dims]
        loadings = (rows.T @ vectors) / np.sqrt(values)
        own = np.maximum(variance / sd**2 - (loadings**2) @ values, _LEAST_NOISE * variance / sd**2).clip(1e-9)
        centroids = np.empty((len(M), dims))
        of_panel: dict[bytes, list[int]] = {}
        for pair, bits in enumerate(np.packbits(measured, axis=1)):
            of_panel.setdefault(bits.tobytes(), []).append(pair)
        for at in of_panel.values():
            panel = measured[at[0]]
            gram = loadings[panel].T @ loadings[panel] + _RIDGE * np.eye(dims)
            centroids[at] = np.linalg.solve(gram, (standardized[at][:, panel] @ loadings[panel]).T).T
        projected = (F / sd) @ loadings
        within = projected.T @ projected + (loadings.T * (noise / sd**2)) @ loadings
        return cls(mean, sd, loadings, own, share, centroids, within, _between_studies(centroids, labels))

    def panel(self, columns: NDArray[np.int32], pair_labels: Ints, n_labels: int) -> ExpressionPanel:
        """Restrict the space to the genes of a panel, in closed form.

        The scores of a cell are the least squares fit of the loadings of its genes. Their error, which grows as the
        panel gets smaller, adds to the covariance within labels and to that between studies.

        Parameters
        ----------
        columns
            (n_vars,) position of each column of the counts in the gene space, each at most once; -1 = not in it.
        pair_labels
            (n_pairs,) label of each mean.
        n_labels
            Number of labels.
        """
        used = columns >= 0
        at = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
        W, D, sd = (array[columns[used]] for array in (self.loadings, self.noise, self.sd))
        offset = self.mean[columns[used]] / sd
        inverse: Doubles = np.linalg.inv(W.T @ W + _RIDGE * np.eye(W.shape[1])).astype(np.float64)
        error = inverse @ (W.T * D) @ W @ inverse - (self.loadings.T * self.noise) @ self.loadings
        covariance = self.within + self.batch + error
        center = self.centroids.mean(axis=0)
        spread = (self.centroids - center).T @ (self.centroids - center) / len(self.centroids)
        whitening, total = _whitening(covariance), _whitening(covariance + spread)
        weighted = W / D[:, None]
        order = np.argsort(pair_labels, kind="stable")
        labels, first = np.unique(pair_labels[order], return_index=True)
        return ExpressionPanel(
            columns=at,
            share=max(float(self.share[columns[used]].sum()), _LEAST_SHARE),
            n_genes=int(used.sum()),
            weights=(np.hstack([W, weighted]) / sd[:, None]).astype(np.float32),
            square_weights=(1 / (sd**2 * D)).astype(np.float32),
            linear_weights=(2 * offset / (sd * D)).astype(np.float32),
            offset=np.concatenate([offset @ W, offset @ weighted]),
            square_offset=float((offset**2 / D).sum()),
            inverse=inverse,
            gram=W.T @ weighted,
            whitening=whitening,
            centroids=self.centroids[order] @ whitening,
            labels=labels,
            first=first,
            n_labels=n_labels,
            total_whitening=total,
            center=center @ total,
        )


@dataclass(frozen=True, eq=False)
class ExpressionPanel:
    """An :class:`ExpressionSpace` restricted to the genes of the columns of a data set."""

    columns: NDArray[np.int32]  # (n_vars,) position of each column among the genes of the panel; -1 = none of them
    share: float  # of the counts of a typical cell that the panel has
    n_genes: int
    weights: Floats  # (n_genes, 2 dims) loadings over standard deviations, and the same over the noise
    square_weights: Floats  # (n_genes,)
    linear_weights: Floats  # (n_genes,)
    offset: Doubles  # (2 dims,) the products of the means with the weights
    square_offset: float
    inverse: Doubles  # (dims, dims) of the squared loadings
    gram: Doubles  # (dims, dims) squared loadings over the noise
    whitening: Doubles  # (dims, dims) of the scores of cells about the means of their labels
    centroids: Doubles  # (n_pairs, dims) whitened, in the order of the labels
    labels: Ints  # that have a mean, ascending
    first: Ints  # position of the first mean of each of them
    n_labels: int
    total_whitening: Doubles  # (dims, dims) of the scores of all cells
    center: Doubles  # (dims,) of all means, whitened so

    def features(self, counts: sparse.csr_matrix) -> ExpressionFeatures:
        r"""Compare cells (n, n_vars) with the labels.

        With the squared Mahalanobis distances :math:`d_l` of a cell to the labels, the novelty features are
        :math:`\log \min d`, the logarithms of the quartile and of the median of :math:`d_l / \min d`, the logarithms
        of the mean squared residual of the genes over their noise, of the squared distance to the center of all labels,
        of the counts that a cell would have in all genes, and of the number of genes of the panel.
        """
        n, dims = counts.shape[0], len(self.inverse)
        sums = np.zeros((n, 2 * dims), dtype=np.float32)
        squares, totals = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
        with threads():
            project(
                counts.indptr, counts.indices, counts.data.astype(np.float32, copy=False), self.columns,
                self.share * TARGET_SUM, self.weights, self.square_weights, self.linear_weights, sums, squares, totals,
            )  # fmt: skip
        scores = (sums[:, :dims] - self.offset[:dims]) @ self.inverse
        explained = 2 * (sums[:, dims:] - self.offset[dims:]) - scores @ self.gram
        residual = squares + self.square_offset - (explained * scores).sum(axis=1)
        to_pairs = _squared_distances(scores @ self.whitening, self.centroids)
        to_center = ((scores @ self.total_whitening - self.center) ** 2).sum(axis=1)
        found = np.minimum.reduceat(to_pairs, self.first, axis=1)
        distances = np.full((n, self.n_labels), np.inf, dtype=np.float32)
        distances[:, self.labels] = found
        last = len(self.labels) - 1
        ranked = np.partition(found, sorted({0, last // 4, last // 2}), axis=1).clip(_LEAST_DISTANCE)
        features = [
            np.log(ranked[:, 0]),
            np.log(ranked[:, last // 4] / ranked[:, 0]),
            np.log(ranked[:, last // 2] / ranked[:, 0]),
            np.log((residual / max(self.n_genes, 1)).clip(_LEAST_DISTANCE)),
            np.log(to_center.clip(_LEAST_DISTANCE)),
            np.log((totals / self.share).clip(1)),
            np.full(n, np.log(max(self.n_genes, 1))),
        ]
        return ExpressionFeatures(distances, np.stack(features, axis=1), self.share)


def _between_studies(centroids: Doubles, labels: NDArray[np.object_]) -> Doubles:
    """Return the covariance of the scores of a label in several studies, all such labels weighing alike."""
    dims = centroids.shape[1]
    covariance, n_labels = np.zeros((dims, dims)), 0
    for rows in pd.Series(labels).groupby(labels).indices.values():
        if len(rows) > 1:
            apart = centroids[rows] - centroids[rows].mean(axis=0)
            covariance += apart.T @ apart / (len(rows) - 1)
            n_labels += 1
    return covariance / max(n_labels, 1)


def _whitening(covariance: Doubles) -> Doubles:
    """Return W with W @ W.T the inverse of a covariance, whose least eigenvalues are raised."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    whitening: Doubles = vectors / np.sqrt(values.clip(values.max() * 1e-4))
    return whitening


def _squared_distances(A: Doubles, B: Doubles) -> Doubles:
    distances: Doubles = (A**2).sum(axis=1)[:, None] - 2 * A @ B.T + (B**2).sum(axis=1)
    return distances.clip(0)


@njit_parallel
def project(
    indptr: Any, indices: Any, data: Any, columns: Any, target: float, weights: Any, square_weights: Any,
    linear_weights: Any, sums: Any, squares: Any, totals: Any,
) -> None:  # fmt: skip
    """Log-normalise each cell over the genes of the panel, and add up what its scores and its residual need."""
    for i in prange(totals.size):
        total = np.float32(0)
        for q in range(indptr[i], indptr[i + 1]):
            if columns[indices[q]] >= 0:
                total += data[q]
        totals[i] = total
        if total <= 0:
            continue
        scale = np.float32(target) / total
        few = np.log1p(scale * np.arange(_FEW, dtype=np.float32))  # most counts are small whole numbers
        row = sums[i]
        for q in range(indptr[i], indptr[i + 1]):
            gene = columns[indices[q]]
            if gene < 0:
                continue
            count = data[q]
            whole = int(min(count, np.float32(_FEW - 1)))
            value = few[whole] if whole == count else np.log1p(scale * count)
            squares[i] += value * (value * square_weights[gene] - linear_weights[gene])
            gene_weights = weights[gene]
            for j in range(row.size):
                row[j] += value * gene_weights[j]
