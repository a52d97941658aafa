"""The genes that a model reads: those given, or the markers of every label in every data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import progress, warn
from scim.pp import canonical_genes, lognorm
from scim.training.data._cells import with_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from scim.training.data._data_set import DataSet

LEAST_CELLS = 5  # labels with fewer in a data set have no markers there: their t statistics are noise
SMALL_PANEL = 4000  # a data set with fewer genes was measured with or cut to a panel; its genes are preferred
SINGLE_STUDY_RANK = 30  # genes that one study measured are chosen last unless their rank for a label is below this


def pick_genes(data_sets: Sequence[DataSet], genes: Sequence[str] | None, n_genes: int) -> NDArray[np.object_]:
    """Return the canonical genes that the model reads: those given, or `n_genes` markers of the labels."""
    if genes is not None:
        return _measured(_given_genes(genes), data_sets)
    ranks = []
    for data in data_sets:
        codes, labels = pd.factorize(data.labels)
        ranks.append(marker_ranks(_labelled_blocks(data, codes), len(labels), len(data.genes)))
    return choose_genes([data.genes for data in data_sets], ranks, [data.studies for data in data_sets], n_genes)


def _labelled_blocks(data: DataSet, codes: NDArray[np.intp]) -> Iterator[tuple[sparse.csr_matrix, NDArray[np.intp]]]:
    with progress(total=data.n_cells, desc=f"choose genes: {data.name}", unit="cell") as bar:
        for rows, X in data.blocks(data.genes):
            filled = with_counts(X)  # cells without counts, which do not train, say nothing of markers
            yield X[filled], codes[rows][filled]
            bar.update(X.shape[0])


def marker_ranks(
    blocks: Iterable[tuple[sparse.csr_matrix, NDArray[np.intp]]], n_labels: int, n_genes: int
) -> NDArray[np.int64]:
    """Return for each gene of a data set its best rank, 0 is best, by how well it separates a label from all others.

    Blocks are counts (n, n_genes) with label codes (n,); ranks are by the absolute t statistic of their log-normalised
    values.
    """
    sums, squares = np.zeros((n_labels, n_genes)), np.zeros((n_labels, n_genes))
    sizes = np.zeros(n_labels, np.int64)
    for X, labels in blocks:
        x, n = lognorm(X), X.shape[0]
        member = sparse.csr_matrix((np.ones(n, np.float32), (labels, np.arange(n))), shape=(n_labels, n))
        for total, values in ((sums, x), (squares, x.power(2))):
            product = member @ values
            for label in range(n_labels):  # the product has few rows, and is sparse where labels are many
                row = slice(product.indptr[label], product.indptr[label + 1])
                total[label, product.indices[row]] += product.data[row]
        sizes += np.bincount(labels, minlength=n_labels)
    inside = _moments(sums, squares, sizes[:, None])
    outside = _moments(sums.sum(0) - sums, squares.sum(0) - squares, (sizes.sum() - sizes)[:, None])
    # The small constant keeps genes that are seen in a handful of cells from having no variance at all.
    t = np.abs(inside[0] - outside[0]) / np.sqrt(inside[1] + outside[1] + 1e-5)
    usable = (sizes >= LEAST_CELLS) & (sizes < sizes.sum())
    if not usable.any():
        t, usable = squares.sum(0, keepdims=True), np.ones(1, dtype=bool)  # one label only: the largest values
    order = np.argsort(-t[usable], axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :], axis=1)
    return np.asarray(ranks.min(axis=0))


def choose_genes(
    names: Sequence[NDArray[np.object_]],
    ranks: Sequence[NDArray[np.int64]],
    studies: Sequence[NDArray[np.object_]],
    n_genes: int,
) -> NDArray[np.object_]:
    """Return at most `n_genes` genes of the best rank in any data set, those that link studies first, sorted by id.

    Canonical ids, :func:`marker_ranks` and studies are those of each data set; data sets that share a study count once.
    """
    sizes = [len(ids) for ids in names]
    family, small = np.repeat(_families(studies), sizes), np.repeat([n < SMALL_PANEL for n in sizes], sizes)
    table = pd.DataFrame(
        {"gene": np.concatenate(names), "rank": np.concatenate(ranks), "family": family, "small": small}
    )
    genes = table.groupby("gene", sort=True).agg(rank=("rank", "min"), n=("family", "nunique"), small=("small", "any"))
    n_families = int(table["family"].nunique())
    single = (genes["n"] < min(2, n_families)) & (genes["rank"] >= SINGLE_STUDY_RANK)
    preferred = genes["small"] & (genes["n"] > 1)
    order = genes.assign(single=single, other=~preferred).sort_values(["single", "other", "rank"], kind="stable")
    return np.sort(order.index[:n_genes].to_numpy(dtype=object))


def _families(studies: Sequence[NDArray[np.object_]]) -> list[int]:
    """Return a number for each data set, the same for those that share a study."""
    families = list(range(len(studies)))
    for i, names in enumerate(studies):
        for j in range(i):
            if set(names) & set(studies[j]):
                families = [families[j] if family == families[i] else family for family in families]
    return families


def _moments(
    sums: NDArray[np.float64], squares: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means, and variances of the means."""
    n = np.maximum(n, 1)
    mean = sums / n
    return mean, np.maximum(squares / n - mean**2, 0) / n


def _given_genes(genes: Sequence[str]) -> NDArray[np.object_]:
    if isinstance(genes, str):
        msg = f"genes must be a list of gene names, got the text {genes!r}."
        raise TypeError(msg)
    canonical = canonical_genes([str(gene) for gene in genes])
    if not len(canonical):
        msg = "genes must name at least one gene, got none; leave it out to have markers of the labels chosen."
        raise ValueError(msg)
    if len(set(canonical)) != len(canonical):
        twice = pd.Index(canonical)[pd.Index(canonical).duplicated()].unique().tolist()
        msg = f"genes names {len(twice)} genes more than once: {twice[:5]}."
        raise ValueError(msg)
    return canonical


def _measured(genes: NDArray[np.object_], data_sets: Sequence[DataSet]) -> NDArray[np.object_]:
    """Return the genes that a data set measured: weights of others would stay random."""
    known = np.any([data.measured(genes) for data in data_sets], axis=0)
    if known.all() or not known.any():  # none at all is an error later
        return genes
    absent = genes[~known].tolist()
    warn(f"{len(absent)} of {len(genes)} genes= were measured in no data set, and are left out: {absent[:5]}.")
    return genes[known]
