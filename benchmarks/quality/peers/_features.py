"""Compute the features of most peers: log-normalised counts, and principal components of the training cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scanpy as sc
from scipy import sparse
from sklearn.decomposition import PCA

N_TOP = 2000
"""Number of most variable genes within the studies."""


def lognorm(adata: ad.AnnData) -> ad.AnnData:
    """Return a copy with log(1 + x) of 10,000 counts per cell."""
    adata = adata.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def reference(train: list[ad.AnnData], *, top: bool = True) -> ad.AnnData:
    """Return all studies in one, log-normalised, with the most variable genes unless `top` is false."""
    together = ad.concat(train, index_unique="-")
    together.obs_names_make_unique()
    together.X = sparse.csr_matrix(together.X)
    together = lognorm(together)
    if top and together.n_vars > N_TOP:
        sc.pp.highly_variable_genes(together, n_top_genes=N_TOP, batch_key="study")
        together = together[:, together.var["highly_variable"]].copy()
    return together


def queries(tests: list[ad.AnnData], together: ad.AnnData) -> list[ad.AnnData]:
    """Return the queries, normalised over all genes, with the genes of `together`."""
    return [lognorm(test)[:, together.var_names].copy() for test in tests]


def labels(together: ad.AnnData, label_key: str) -> np.ndarray:
    return together.obs[label_key].astype(str).to_numpy()


class Scaled:
    """Scale genes by their mean and deviation in the training cells, clipped to 10 deviations."""

    def __init__(self, X: sparse.csr_matrix) -> None:
        dense = X.toarray()
        self.mean, self.deviation = dense.mean(axis=0), dense.std(axis=0)
        self.deviation[self.deviation == 0] = 1

    def __call__(self, X: sparse.csr_matrix) -> np.ndarray:
        return np.clip((X.toarray() - self.mean) / self.deviation, -10, 10).astype(np.float32)


class Components:
    """Principal components of scaled genes."""

    def __init__(self, together: ad.AnnData, n_components: int, seed: int) -> None:
        self.scaled = Scaled(together.X)
        self.pca = PCA(min(n_components, *together.shape), svd_solver="randomized", random_state=seed)
        self.train = self.pca.fit_transform(self.scaled(together.X))

    def __call__(self, test: ad.AnnData) -> np.ndarray:
        return self.pca.transform(self.scaled(test.X))
