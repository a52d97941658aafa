"""Real cells, by the symbols of a gene order: log-normalised counts, with labels where their files have them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

import anndata as ad
import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LABELLED = {"zheng_facs": "celltype", "pbmc3k": "cell_type", "baron_human234": "cell_ontology_class"}
"""The files whose genes are many and whose cells are labelled, and by which column."""


class RealCells(NamedTuple):
    """Cells of several studies in one gene order."""

    counts: sp.csr_matrix
    """Counts, (n, n_genes) float32."""
    X: sp.csr_matrix
    """The same, 10,000 a cell, log1p."""
    label: NDArray[np.object_]
    """Names of the Cell Ontology, (n,)."""
    study: NDArray[np.object_]
    """The name of each cell's file, (n,)."""


def lognorm(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Return log(1 + 10,000 x share of a cell's counts); a cell without counts stays zero."""
    total = np.asarray(counts.sum(axis=1), np.float64).ravel()
    X = sp.diags(1e4 / np.where(total == 0, 1, total)).dot(counts).tocsr().astype(np.float32)
    X.data = np.log1p(X.data)
    return X


def read_cells(folder: Path, name: str) -> ad.AnnData:
    """Return a file's cells with symbols as names and `obs["label"]`, a name of the Cell Ontology ("" if none)."""
    adata = ad.read_h5ad(folder / f"{name}.h5ad")
    if "symbol" in adata.var:
        adata.var_names = adata.var["symbol"].astype(str)
    adata.var_names_make_unique()
    with (folder / "label_to_cl.csv").open() as file:
        names = {row["label"]: row["cell_type"] for row in csv.DictReader(file) if row["file"] == name}
    own = adata.obs[LABELLED[name]].astype(object)
    adata.obs["label"] = [names.get(label, label) if isinstance(label, str) else "" for label in own]
    return adata


def gene_symbols(folder: Path, n: int = 28_231) -> list[str]:
    """Return `n` sorted symbols: those of the files first, then HGNC's."""
    import pandas as pd

    measured = [set(read_cells(folder, name).var_names) for name in LABELLED]
    known = pd.read_csv(folder / "resources" / "hgnc_2020-05.tsv.gz", sep="\t", dtype=str)
    symbols = known["symbol"].dropna().tolist()
    first = sorted(set(symbols) & set().union(*measured))
    rest = [symbol for symbol in symbols if symbol not in set(first)]
    return sorted([*first, *rest][:n])


def aligned(adata: ad.AnnData, genes: Sequence[str]) -> sp.csr_matrix:
    """Return the counts of `genes`, (n, len(genes)) float32; a gene that was not measured is zero."""
    column = adata.var_names.get_indexer(list(genes))
    here = np.flatnonzero(column >= 0)
    place = sp.csr_matrix((np.ones(len(here), np.float32), (column[here], here)), shape=(adata.n_vars, len(genes)))
    return sp.csr_matrix(adata.X).astype(np.float32).dot(place).tocsr()


def real_cells(folder: Path, genes: Sequence[str], n: int | None = None, *, seed: int = 0) -> RealCells:
    """Return the labelled cells of the files in `LABELLED`, or `n` of them at random, shuffled."""
    counts, labels, studies = [], [], []
    for name in LABELLED:
        adata = read_cells(folder, name)
        adata = adata[(adata.obs["label"] != "").to_numpy()]
        counts.append(aligned(adata, genes))
        labels.append(adata.obs["label"].to_numpy(object))
        studies.append(np.full(adata.n_obs, name, object))
    together = sp.vstack(counts).tocsr()
    chosen = np.random.default_rng(seed).permutation(together.shape[0])[:n]
    together = together[chosen]
    return RealCells(together, lognorm(together), np.concatenate(labels)[chosen], np.concatenate(studies)[chosen])
