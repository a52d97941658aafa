"""The labelled cells of one input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.errors import CountsError
from scim._core.log import logger
from scim.pp import aligned_chunks, find_counts, genes_of, match_genes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    from scim.io import Cells
    from scim.pp import Counts


@dataclass(frozen=True)
class DataSet:
    """The labelled cells of one AnnData, file, or part of an atlas. Counts stay where they are.

    Attributes
    ----------
    name
        For people.
    counts
        All cells, rows readable by slice.
    genes
        Canonical ids of its genes, each once.
    rows
        (n,) the cells of `counts` that count here, ascending.
    labels, studies
        (n,) their words.
    gene_key
        Column of var that holds the gene names, see :func:`scim.pp.match_genes`.
    """

    name: str
    counts: Counts
    genes: NDArray[np.object_]
    rows: NDArray[np.int64]
    labels: NDArray[np.object_]
    studies: NDArray[np.object_]
    gene_key: str | None = None

    @property
    def n_cells(self) -> int:
        """How many cells count here."""
        return self.rows.size

    def measured(self, genes: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Say which of some canonical genes it measured."""
        return np.isin(genes.astype(str), self.genes.astype(str))

    def blocks(self, genes: NDArray[np.object_]) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Yield the counts of the cells that count here, over some canonical genes, in blocks of bounded size.

        Yields
        ------
        The place of a block among `rows`, and its counts (n, n_genes).
        """
        found = match_genes(self.counts.var, self.genes, gene_key=self.gene_key).onto(genes)
        for chunk in aligned_chunks(self.counts, found):
            here = slice(*np.searchsorted(self.rows, [chunk.rows.start, chunk.rows.stop]).tolist())
            if here.start < here.stop:
                wanted = self.rows[here] - chunk.rows.start
                yield here, chunk.X if wanted.size == chunk.X.shape[0] else chunk.X[wanted]

    def only(self, chosen: NDArray[np.bool_]) -> DataSet:
        """Return the cells of a mask (n,)."""
        return DataSet(
            self.name, self.counts, self.genes, self.rows[chosen], self.labels[chosen], self.studies[chosen],
            self.gene_key,
        )  # fmt: skip


def read(
    name: str,
    adata: AnnData | Cells,
    *,
    label_key: str,
    study_key: str | None,
    layer: str | None,
    gene_key: str | None,
) -> DataSet:
    """Find counts, labels and studies of one input.

    Raises
    ------
    KeyError, ValueError, CountsError
        What is wrong with it.
    """
    labels = _column(adata, name, label_key, "label_key")
    labelled = np.flatnonzero(labels.notna().to_numpy())
    if len(labelled) == 0:
        msg = f"obs[{label_key!r}] of {name!r} has only missing values; training needs labelled cells."
        raise ValueError(msg)
    if study_key is None:
        studies = np.full(len(labelled), name, dtype=object)
    else:
        column = _column(adata, name, study_key, "study_key").iloc[labelled]
        if column.isna().any():
            msg = f"obs[{study_key!r}] of {name!r} is missing for {int(column.isna().sum())} labelled cells."
            raise ValueError(msg)
        studies = column.astype(str).to_numpy(dtype=object)
    try:
        counts = find_counts(adata, layer)
    except (CountsError, KeyError) as error:  # of several, which
        msg = f"{name}: {error.args[0]}"
        raise type(error)(msg) from error
    genes = np.asarray(pd.unique(pd.Series(genes_of(counts.var, gene_key=gene_key))), dtype=object)
    match_genes(counts.var, genes, gene_key=gene_key)  # says now what is wrong with them
    text = labels.iloc[labelled].astype(str).to_numpy(dtype=object)
    logger.info("%s: %d labelled of %d cells, %d genes (%s)", name, len(labelled), adata.n_obs, len(genes), counts.kind)
    return DataSet(name, counts, genes, labelled, text, studies, gene_key)


def _column(adata: AnnData | Cells, name: str, key: str, argument: str) -> pd.Series[Any]:
    if key not in adata.obs:
        msg = f"{argument}={key!r} is not a column of obs of {name!r}. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    column: pd.Series[Any] = adata.obs[key]
    return column
