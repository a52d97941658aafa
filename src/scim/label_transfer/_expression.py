"""Expression of the labels: means, and covariance within labels, which classify cells of any gene panel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import FormatError
from scim.io import check_array
from scim.label_transfer._expression_space import TARGET_SUM, ExpressionSpace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from scim._core.types import Bools, Doubles, Floats, Ints

_MAX_GENES = 8_000  # of the gene space, those that differ most between labels
_STUDIES = 4  # of a label that have a mean, those with most cells
_RANK, _OVERSAMPLING, _POWER = 60, 20, 2  # of the covariance within labels, beside its diagonal
_CELLS = 4_000  # of which the covariance within labels is measured
LEAST_GENES = 20  # of the gene space that a study, or a query, must have measured
_LARGE_PANEL = 0.9  # of the genes of the largest panel: such panels give the shares of the genes in a cell
_SEED = 0
_MOST_PAIRS, _MOST_RANK = 20_000, 1_000  # of a file: its covariance has a row for each, and is no larger than 3 GB
_STORED: dict[str, tuple[str, tuple[str, ...], float | None, float | None]] = {
    "genes": ("U", ("genes",), None, None),
    "labels": ("U", ("pairs",), None, None),
    "studies": ("U", ("pairs",), None, None),
    "share": ("f", ("genes",), 0, 1),
    "n_cells": ("iu", ("pairs",), 0, None),
    "means": ("f", ("pairs", "genes"), 0, 100),
    "factor": ("f", ("rank", "genes"), -1e4, 1e4),
    "noise": ("f", ("genes",), 1e-6, 1e6),
    "measured": ("u", ("pairs", "bytes"), None, None),
}
"""Kinds, axes, and least and largest value of the arrays of a file: logarithms of counts, and their variance."""


class CountSample(NamedTuple):
    """Counts of some reference cells that share a gene panel."""

    ids: NDArray[np.int64]
    """(n,) ids of the cells, ascending."""

    counts: sparse.csr_matrix
    """(n, n_genes) counts."""

    genes: NDArray[np.object_]
    """(n_genes,) canonical ids of the genes that were measured, each once."""

    def among(self, ids: Bools) -> CountSample:
        """Return the cells of which `ids` (n_ids,) is true."""
        kept = ids[self.ids]
        return self if kept.all() else CountSample(self.ids[kept], self.counts[kept], self.genes)

    def counted(self) -> CountSample:
        """Return the cells that have counts."""
        kept = np.asarray(self.counts.sum(axis=1)).ravel() > 0
        return self if kept.all() else CountSample(self.ids[kept], self.counts[kept], self.genes)


@dataclass(frozen=True, eq=False)
class ExpressionReference:
    """Mean log-normalised expression of each label in its largest studies, and the covariance within labels.

    Cells are normalised over the gene space: a cell of a panel with the share :math:`f` of the counts of a typical cell
    is scaled to a total of :math:`10^4 f`, so that panels are comparable.
    """

    genes: NDArray[np.object_]
    """(n_genes,) canonical ids of the gene space."""

    share: NDArray[np.float32]
    """(n_genes,) share of each gene in the counts of a typical cell; sum 1."""

    labels: NDArray[np.object_]
    """(n_pairs,) label of each pair of a label and a study."""

    studies: NDArray[np.object_]
    """(n_pairs,) its study."""

    n_cells: NDArray[np.int32]
    """(n_pairs,) number of cells of the mean."""

    means: NDArray[np.float16]
    """(n_pairs, n_genes) mean of log(1 + x); 0 where the study did not measure the gene.

    Of a study of several panels, a gene that a cell's panel lacks counts as 0 in that cell."""

    measured: NDArray[np.bool_]
    """(n_pairs, n_genes) whether the study measured the gene."""

    factor: NDArray[np.float16]
    """(rank, n_genes): the covariance within labels is `factor.T @ factor + diag(noise)`."""

    noise: NDArray[np.float32]
    """(n_genes,)."""

    @classmethod
    def of(
        cls,
        samples: Sequence[CountSample],
        labels: NDArray[np.object_],
        studies: NDArray[np.object_],
        genes: NDArray[np.object_] | None = None,
        share: NDArray[np.float32] | None = None,
    ) -> ExpressionReference | None:
        """Measure labelled cells; `None` if none has counts of enough genes, or no gene differs between labels.

        Parameters
        ----------
        samples
            Counts of cells, a sample for each gene panel.
        labels, studies
            Label and study of each id, (n_ids,); `None` = unlabelled.
        genes, share
            Gene space, and share of each gene in a typical cell, of the reference that the result is merged with.
            Default: the genes that differ most between labels, at most 8,000, and their shares in these cells.
        """
        samples = [sample.among(pd.notna(labels)).counted() for sample in samples]
        samples = [sample for sample in samples if len(sample.ids)]
        if not samples:
            return None
        ids = np.concatenate([sample.ids for sample in samples])
        pair, pairs = pd.factorize(pd.MultiIndex.from_arrays([labels[ids], studies[ids]]))
        kept = _largest(np.array([label for label, _ in pairs], dtype=object), np.bincount(pair))
        codes = np.full(len(pairs), -1)
        codes[kept] = np.arange(len(kept))
        pair, pairs = codes[pair], pairs[kept]
        if genes is None:
            genes = pd.unique(np.concatenate([sample.genes for sample in samples]))
            means, measured, _, _ = _measure(samples, pair, len(pairs), genes)
            genes = genes[_variable(means, measured)]
        if not len(genes):
            return None
        means, measured, share, X = _measure(samples, pair, len(pairs), genes, share)
        factor, noise = _within(X, pair, means, measured)
        reference = cls(
            genes=genes,
            share=share,
            labels=np.array([label for label, _ in pairs], dtype=object),
            studies=np.array([study for _, study in pairs], dtype=object),
            n_cells=np.bincount(pair[pair >= 0], minlength=len(pairs)).astype(np.int32),
            means=means.astype(np.float16),
            measured=measured,
            factor=factor.astype(np.float16),
            noise=noise,
        )
        return reference.among(measured.sum(axis=1) >= min(LEAST_GENES, len(genes)))

    def merged(self, other: ExpressionReference) -> ExpressionReference:
        """Return the pairs of both, on the gene space of this one, which `other` has too; equal pairs are its own."""
        ours = set(zip(self.labels, self.studies, strict=True))
        new = np.array([pair not in ours for pair in zip(other.labels, other.studies, strict=True)], dtype=np.bool_)
        names = ("labels", "studies", "n_cells", "means", "measured")
        rows = {name: np.concatenate([getattr(self, name), getattr(other, name)[new]]) for name in names}
        kept = _largest(rows["labels"], rows["n_cells"])
        parts = {name: array[kept] for name, array in rows.items()}
        return ExpressionReference(self.genes, self.share, factor=self.factor, noise=self.noise, **parts)

    def among(self, pairs: Bools) -> ExpressionReference | None:
        """Return the pairs of which `pairs` (n_pairs,) is true; `None` without any."""
        if pairs.all():
            return self
        if not pairs.any():
            return None
        names = ("labels", "studies", "n_cells", "means", "measured")
        kept = {name: getattr(self, name)[pairs] for name in names}
        return ExpressionReference(self.genes, self.share, factor=self.factor, noise=self.noise, **kept)

    @cached_property
    def space(self) -> ExpressionSpace:
        """The principal components of the labels, in which cells are compared with them."""
        return ExpressionSpace.of(self.means, self.measured, self.factor, self.noise, self.share, self.labels)

    def mean(self, label: str) -> Floats:
        """Return the mean log-normalised expression of a label over its studies, (n_genes,); NaN = not measured."""
        rows = self.labels == label
        n_studies = self.measured[rows].sum(axis=0)
        with np.errstate(invalid="ignore"):
            mean: Floats = (self.means[rows].sum(axis=0, dtype=np.float32) / n_studies).astype(np.float32)
        return mean

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return plain arrays, for a file."""
        texts = {name: getattr(self, name).astype(str) for name in ("genes", "labels", "studies")}
        numbers = {name: getattr(self, name) for name in ("share", "n_cells", "means", "factor", "noise")}
        return texts | numbers | {"measured": np.packbits(self.measured, axis=1)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], where: str, *, remedy: str) -> Self:
        """Return what :meth:`to_arrays` returned, read from the file `where`; `remedy` ends errors.

        Raises
        ------
        FormatError
            An array is missing, of another type or shape, or has values that no expression reference has.
        """
        if absent := sorted({*_STORED} - set(arrays)):
            msg = f"{where!r} has no array {absent[0]!r} of an expression reference. {remedy}"
            raise FormatError(msg)
        n_genes, n_pairs = arrays["genes"].size, arrays["labels"].size
        lengths = {"genes": n_genes, "pairs": n_pairs, "bytes": -(-n_genes // 8), "rank": None}
        for name, (kinds, axes, least, most) in _STORED.items():
            shape = tuple(lengths[axis] for axis in axes)
            check_array(arrays[name], f"{where}/{name}", kinds, shape, least=least, most=most, remedy=remedy)
        genes, rank = arrays["genes"], len(arrays["factor"])
        if not (0 < len(np.unique(genes)) == n_genes and 0 < n_pairs <= _MOST_PAIRS and rank <= _MOST_RANK):
            msg = (
                f"{where!r} has {n_genes} genes, {n_pairs} pairs and rank {rank}; expected genes that occur once, 1 to "
            )
            msg += f"{_MOST_PAIRS:,} pairs, and at most rank {_MOST_RANK:,}. {remedy}"
            raise FormatError(msg)
        texts = {name: arrays[name].astype(object) for name in ("genes", "labels", "studies")}
        numbers = {name: arrays[name] for name in ("share", "n_cells", "means", "factor", "noise")}
        bits = np.unpackbits(arrays["measured"].astype(np.uint8), axis=1, count=n_genes)
        return cls(**texts, **numbers, measured=bits.astype(np.bool_))


def sample_rows(labels: NDArray[np.object_], studies: NDArray[np.object_], most: int = 60) -> Ints:
    """Return the positions of at most `most` cells of each label in each study, evenly spaced, ascending."""
    labelled = np.flatnonzero(pd.notna(labels))
    if not labelled.size:
        return labelled
    pair = pd.factorize(pd.MultiIndex.from_arrays([labels[labelled], studies[labelled]]))[0]
    parts = []
    for members in pd.Series(labelled).groupby(pair).indices.values():
        step = max(1.0, len(members) / most)
        parts.append(labelled[members[(np.arange(min(len(members), most)) * step).astype(np.int64)]])
    return np.sort(np.concatenate(parts))


def _largest(labels: NDArray[np.object_], size: Ints) -> Ints:
    """Return the positions of the pairs of each label that have most cells, ascending."""
    order = np.lexsort((-size, pd.factorize(labels)[0]))
    rank = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    return np.sort(order[rank < _STUDIES])


def _measure(
    samples: Sequence[CountSample],
    pair: Ints,
    n_pairs: int,
    genes: NDArray[np.object_],
    share: NDArray[np.float32] | None = None,
) -> tuple[Floats, Bools, Floats, sparse.csr_matrix]:
    """Return the means of pairs and whether genes were measured, the share of each gene, and the cells, normalised."""
    positions = [pd.Index(genes).get_indexer(pd.Index(sample.genes)) for sample in samples]
    aligned = [_aligned(sample.counts, at, len(genes)) for sample, at in zip(samples, positions, strict=True)]
    counts = sparse.vstack(aligned, format="csr")
    panel = np.repeat(np.arange(len(samples)), [len(sample.ids) for sample in samples])
    observed = np.zeros((len(samples), len(genes)), dtype=np.bool_)
    for row, at in zip(observed, positions, strict=True):
        row[at[at >= 0]] = True
    measured = np.zeros((n_pairs, len(genes)), dtype=np.bool_)
    for at_pair, at_panel in np.unique(np.stack([pair, panel], axis=1)[pair >= 0], axis=0):
        measured[at_pair] |= observed[at_panel]
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    if share is None:
        shares = _pair_means(_scaled(counts, 1 / totals), pair, n_pairs)
        large = measured.sum(axis=1) >= _LARGE_PANEL * measured.sum(axis=1).max()
        share = shares[large].mean(axis=0)
        share = (share / max(share.sum(), 1e-12)).astype(np.float32)
    X = _scaled(counts, TARGET_SUM * (observed @ share)[panel] / totals)
    np.log1p(X.data, out=X.data)
    return _pair_means(X, pair, n_pairs), measured, share, X


def _aligned(counts: sparse.csr_matrix, positions: Ints, n_genes: int) -> sparse.csr_matrix:
    """Move each column to its position, (n, n_genes); columns at -1 are left out."""
    kept = np.flatnonzero(positions >= 0)
    ones = np.ones(len(kept), dtype=np.float32)
    return counts @ sparse.csr_matrix((ones, (kept, positions[kept])), shape=(counts.shape[1], n_genes))


def _scaled(X: sparse.csr_matrix, factors: Doubles) -> sparse.csr_matrix:
    """Multiply each row by its factor."""
    data = (X.data * np.repeat(factors, np.diff(X.indptr))).astype(np.float32)
    return sparse.csr_matrix((data, X.indices, X.indptr), shape=X.shape)


def _pair_means(X: sparse.csr_matrix, pair: Ints, n_pairs: int) -> Floats:
    """Return the mean of the rows of each pair, (n_pairs, n_genes); rows of pair -1 are in none."""
    rows = np.flatnonzero(pair >= 0)
    weights = 1 / np.bincount(pair[rows], minlength=n_pairs)[pair[rows]]
    members = sparse.csr_matrix((weights.astype(np.float32), (pair[rows], rows)), shape=(n_pairs, X.shape[0]))
    means: Floats = (members @ X).toarray()
    return means


def _variable(means: Floats, measured: Bools) -> Ints:
    """Return the positions of the genes that differ most between pairs, of those that enough studies measured."""
    n_measured = measured.sum(axis=0)
    enough = n_measured >= 0.5 * n_measured.max()
    mean = means.sum(axis=0) / n_measured.clip(1)
    variance = (np.where(measured, means - mean, 0) ** 2).sum(axis=0) / n_measured.clip(1)
    score = np.where(enough & (variance > 0), variance / (mean + 0.1), -1)
    order = np.argsort(-score, kind="stable")[:_MAX_GENES]
    return np.sort(order[score[order] > 0])


def _within(X: sparse.csr_matrix, pair: Ints, means: Floats, measured: Bools) -> tuple[Floats, Floats]:
    """Return low-rank factor and diagonal of the covariance within pairs; a pair weighs as the root of its cells."""
    random = np.random.default_rng(_SEED)
    rows = np.flatnonzero(pair >= 0)
    rows = np.sort(random.permutation(rows)[:_CELLS])
    of_pair = pair[rows]
    n_cells = np.bincount(of_pair, minlength=len(means))
    weights = np.where(n_cells[of_pair] > 1, 1 / np.sqrt(n_cells[of_pair]), 0)  # one cell varies about no mean
    weights /= max(weights.sum(), 1e-12)
    unbiased = np.sqrt(n_cells / np.maximum(n_cells - 1, 1))[of_pair] * np.sqrt(weights)
    cells = _scaled(X[rows], unbiased)
    members = sparse.csr_matrix((unbiased, (np.arange(len(rows)), of_pair)), shape=(len(rows), len(means)))
    n_cells_measured = measured[of_pair].T @ weights  # of a gene that few studies measured, few cells count
    total = np.asarray(cells.multiply(cells).sum(axis=0)).ravel() - ((members.T @ members).diagonal() @ means**2)
    total = np.maximum(total, 0)
    rank = min(_RANK, len(rows) - 1, X.shape[1])
    basis = random.normal(size=(len(rows), rank + _OVERSAMPLING)).astype(np.float32)
    for _ in range(_POWER):  # randomized singular value decomposition of cells - members @ means
        basis = np.linalg.qr(cells.T @ basis - means.T @ (members.T @ basis))[0]
        basis = np.linalg.qr(cells @ basis - members @ (means @ basis))[0]
    compressed = (cells.T @ basis - means.T @ (members.T @ basis)).T
    factor = _principal(compressed, rank)
    scale = 1 / np.sqrt(np.maximum(n_cells_measured, 1e-3))
    scaled = factor * scale
    noise = np.maximum(total * scale**2 - (scaled**2).sum(axis=0), 1e-3)
    return scaled.astype(np.float32), noise.astype(np.float32)


def _principal(rows: Floats, rank: int) -> Floats:
    """Return as many rows, orthogonal, with the largest part of the same sum of outer products."""
    vectors = np.linalg.eigh(rows @ rows.T)[1]
    factor: Floats = vectors[:, ::-1][:, :rank].T @ rows
    return factor
