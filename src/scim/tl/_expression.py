"""Find the counts of query cells again, for the genes that an atlas keeps expression statistics of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scim._core import CountsError, GeneOverlapError, ScimWarning, logger
from scim._core.adata import embedding_record
from scim.pp import align, find_counts, match_genes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.label_transfer import ExpressionReference, LabelTransfer
    from scim.pp import Counts, GeneMap


class QueryExpression(NamedTuple):
    """Counts of query cells, and the genes of an atlas's expression statistics among their columns."""

    counts: Counts
    """The counts as they are in the AnnData."""

    genes: GeneMap
    """Their columns as genes of the statistics."""

    reference: ExpressionReference
    """The statistics."""

    is_repeated: bool
    """Whether several columns are one gene of the statistics, as orthologs of mouse genes may be."""

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.counts.n_obs

    @property
    def names(self) -> NDArray[np.object_]:
        """Canonical id of the gene of each column of :meth:`rows`; empty text for genes that were not measured."""
        return np.where(self.genes.observed, self.reference.genes, "") if self.is_repeated else self.genes.names

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return counts of cells `start` to `stop`, in which each gene has one column."""
        part = self.whole_rows(start, stop)
        return align(part, self.genes) if self.is_repeated else part

    def whole_rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return counts of cells `start` to `stop`, (n, n_vars)."""
        if self.counts.are_counts:
            return self.counts.whole_rows(start, stop)
        return whole_counts(self.counts.rows(start, stop))


def query_expression(
    adata: AnnData, transfer: LabelTransfer, use_rep: str, record: dict[str, Any] | None = None
) -> QueryExpression | None:
    """Find the counts again that `tl.embed` read; `None`, and a line of the log with the reason, without them.

    The record of the embedding says where they are; default: that in uns. Counts that were log-normalised in place
    since then are used with the logarithm undone.
    """
    found = _found(adata, transfer.expression, embedding_record(adata, use_rep) if record is None else record)
    if isinstance(found, str):
        logger.info("the expression of the genes is not used: %s", found)
        return None
    n_genes = found.genes.observed.size
    logger.info("expression: %d of the %d genes of the atlas's statistics", found.genes.n_matched, n_genes)
    return found


def _found(adata: AnnData, reference: ExpressionReference | None, record: dict[str, Any]) -> QueryExpression | str:
    """Return the counts of the cells, or the reason why there are none."""
    species = record.get("species", "human")
    if reference is None:
        return "the atlas has no expression statistics"
    if not record:
        return "the embedding was not made by scim.tl.embed"
    if species == "mapping":
        return "scim.tl.embed was given a mapping of genes, which is not kept"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)  # tl.embed gave them
        try:
            counts = find_counts(adata, record.get("layer") or None, record.get("transform_given") or None)
            gene_key = record.get("gene_key") or None
            genes = match_genes(counts.var, reference.genes, gene_key=gene_key, species=species)
        except (CountsError, GeneOverlapError, KeyError) as error:
            return str(error.args[0])
    used = genes.columns[genes.columns >= 0]
    return QueryExpression(counts, genes, reference, is_repeated=len(used) > genes.n_matched)


def whole_counts(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return relative counts of cells as counts: the smallest of a cell is most likely a count of one."""
    positive = np.where(X.data > 0, X.data, np.inf)
    filled = np.flatnonzero(np.diff(X.indptr))
    least = np.ones(X.shape[0], dtype=np.float32)
    least[filled] = np.minimum.reduceat(positive, X.indptr[filled]) if filled.size else 1
    with np.errstate(over="ignore"):
        data = X.data / np.repeat(np.where(np.isfinite(least), least, 1), np.diff(X.indptr))
    if not np.isfinite(data).all():
        msg = f"Values of a cell are {least.min():.3g} and up to {X.data.max():.3g}: they are no relative counts."
        raise CountsError(msg)
    return sparse.csr_matrix((data.astype(np.float32), X.indices, X.indptr), shape=X.shape)
