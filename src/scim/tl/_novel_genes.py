"""Compare the expression of clusters of cells with the labels of an atlas, gene by gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scim.label_transfer._expression_space import TARGET_SUM
from scim.pp import align

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.adata import Groups
    from scim._core.types import Doubles
    from scim.label_transfer import ExpressionReference
    from scim.pp import GeneMap
    from scim.tl._expression import QueryExpression

_ROWS = 4096  # of counts that are read at a time
_FEW_KNOWN = 10  # known cells; fewer do not show what is technical


def gene_table(
    clusters: Groups, known: Groups, nearest: pd.Series, query: QueryExpression | None, n_genes: int
) -> pd.DataFrame:
    """Return the genes of each cluster that exceed the mean of its nearest label most; empty without a query.

    `known` are the cells of the query that are not novel, by their label. A row is a cluster and a gene; the columns
    are in :func:`scim.tl.novel`.
    """
    columns: dict[str, list[Any]] = {"cluster": [], "gene": [], "log_fold_change": [], "share": []}
    if query is not None:
        expression = _measure(clusters, known, query)
        for i, (cluster, label) in enumerate(zip(clusters.names, nearest, strict=True)):
            change = expression.change(i, label)
            top = np.argsort(-np.nan_to_num(change, nan=-np.inf), kind="stable")[:n_genes]
            top = top[change[top] > 0]
            columns["cluster"] += [cluster] * len(top)
            columns["gene"] += expression.names[top].tolist()
            columns["log_fold_change"] += change[top].tolist()
            columns["share"] += expression.shares[i, top].tolist()
    frame = pd.DataFrame(columns, index=[str(i) for i in range(len(columns["gene"]))])
    return frame.astype({"cluster": object, "gene": object, "log_fold_change": np.float32, "share": np.float32})


class _Expression(NamedTuple):
    """Expression of clusters, over the genes of the atlas's statistics and all others of the query."""

    names: NDArray[np.object_]
    """(n_genes,) names of the genes in the query; empty text for one that it did not measure."""

    means: Doubles
    """(n_clusters, n_genes) means of the log-normalised counts."""

    shares: Doubles
    """(n_clusters, n_genes) shares of the cells that express a gene, 0 to 1."""

    shift: Doubles | float
    """(n_genes,) mean of the known cells of the query less that of their labels in the atlas, where it is above 0."""

    reference: ExpressionReference

    def change(self, cluster: int, label: str) -> Doubles:
        """Return the log fold changes of a cluster, (n_genes,); NaN where query or label did not measure a gene."""
        change = self.means[cluster] - _label_mean(self.reference, label, len(self.names)) - self.shift
        return np.where(self.names != "", change, np.nan)


def _label_mean(reference: ExpressionReference, label: str, n_genes: int) -> Doubles:
    """Return the mean of a label, and 0 for genes that the statistics leave out: hardly a label expresses them."""
    mean = np.zeros(n_genes)
    mean[: len(reference.genes)] = reference.mean(label)
    return mean


def _measure(clusters: Groups, known: Groups, query: QueryExpression) -> _Expression:
    """Return the expression of clusters on the scale of the atlas's statistics, and what sets known cells apart."""
    reference, names = query.reference, pd.Index(query.genes.unique_names)
    genes = np.append(reference.genes, names[~names.isin(reference.genes)])
    target = TARGET_SUM * float(reference.share[query.genes.observed].sum())
    wide = query.genes.onto(genes)
    n = len(clusters.names)
    has_mean = np.append(np.isin(known.names, reference.labels), False)  # the last is that of code -1
    known = known._replace(codes=np.where(has_mean[known.codes], known.codes, -1))
    codes = np.where(known.codes >= 0, n, clusters.codes)  # all known cells are the last group
    sums, n_expressing = (np.zeros((n + 1, len(genes))) for _ in range(2))
    for start in range(0, query.n_obs, _ROWS):
        part = codes[start : start + _ROWS]
        rows = np.flatnonzero(part >= 0)
        if rows.size:
            counts = align(query.whole_rows(start, start + len(part))[rows], wide)
            X = _lognorm(counts, len(reference.genes), target)
            ones = np.ones(rows.size, dtype=np.float32)
            members = sparse.csr_matrix((ones, (part[rows], np.arange(rows.size))), shape=(n + 1, rows.size))
            sums += (members @ X).toarray()
            n_expressing += (members @ (X > 0)).toarray()
    size = np.bincount(codes[codes >= 0], minlength=n + 1)[:, None].clip(1)
    means, shares = sums / size, n_expressing / size
    shift = _shift(means[n], known, reference)
    return _Expression(_own_names(query.counts.var.index, wide), means[:n], shares[:n], shift, reference)


def _shift(mean: Doubles, known: Groups, reference: ExpressionReference) -> Doubles | float:
    """Return how much more the known cells express each gene than their labels do, such as nuclei some RNA."""
    n_cells = np.bincount(known.codes[known.codes >= 0], minlength=len(known.names))
    if n_cells.sum() < _FEW_KNOWN:
        return 0.0
    expected, weight = np.zeros(len(mean)), np.zeros(len(mean))
    for code in np.flatnonzero(n_cells):
        of_label = _label_mean(reference, known.names[code], len(mean))
        weight += n_cells[code] * ~np.isnan(of_label)
        expected += n_cells[code] * np.nan_to_num(of_label)
    return np.where(weight > 0, mean - expected / weight.clip(1), 0).clip(0)


def _lognorm(X: sparse.csr_matrix, n_space: int, target: float) -> sparse.csr_matrix:
    """Return log(1 + x) of cells that are scaled to a total of `target` in the first `n_space` genes."""
    totals = np.asarray(X[:, :n_space].sum(axis=1)).ravel()
    data = np.log1p(X.data * np.repeat(target / np.maximum(totals, 1), np.diff(X.indptr)))
    return sparse.csr_matrix((data, X.indices, X.indptr), shape=X.shape)


def _own_names(var_names: pd.Index, genes: GeneMap) -> NDArray[np.object_]:
    """Return for each gene the name of the first column that is it; empty text where none is."""
    names = np.full(genes.observed.size, "", dtype=object)
    columns = np.flatnonzero(genes.columns >= 0)[::-1]
    names[genes.columns[columns]] = var_names.to_numpy(dtype=object)[columns]
    return names
