"""Prepare the cells for the peers: the genes that the query shares with the studies, under the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scim

if TYPE_CHECKING:
    from collections.abc import Iterable

FEW = 500
"""With fewer shared genes, studies of small panels are left out as long as each removal doubles the genes."""


def shared(train: dict[str, ad.AnnData], test: ad.AnnData) -> tuple[list[str], list[str]]:
    """Return the training files, and the genes that all of them share with the query."""
    query_genes, files = measured(test), list(train)
    genes = {name: query_genes & measured(train[name]) for name in files}

    def common(names: Iterable[str]) -> set[str]:
        return set.intersection(*(genes[name] for name in names))

    while len(files) > 1 and len(common(files)) < FEW:
        least = max(files, key=lambda name: len(common(other for other in files if other != name)))
        rest = [name for name in files if name != least]
        if len(common(rest)) < 2 * len(common(files)):
            break
        files = rest
    return files, sorted(common(files))


def aligned(adata: ad.AnnData, genes: list[str]) -> ad.AnnData:
    """Return counts of these genes, zero if not measured; relative counts if there are no others."""
    counts = scim.pp.find_counts(adata)
    position = pd.Index(genes).get_indexer(scim.pp.canonical_genes(counts.var.index))
    (found,) = np.nonzero(position >= 0)
    chosen = sparse.csr_matrix(
        (np.ones(len(found), dtype=np.float32), (found, position[found])), shape=(len(position), len(genes))
    )
    X = sparse.csr_matrix(counts.rows(0, counts.n_obs) @ chosen)
    return ad.AnnData(X, obs=adata.obs.astype(str), var=pd.DataFrame(index=pd.Index(genes, dtype=object)))


def measured(adata: ad.AnnData) -> set[str]:
    """Return the canonical names of the genes of a data set."""
    return set(scim.pp.canonical_genes(scim.pp.find_counts(adata).var.index))
