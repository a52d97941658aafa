"""An untrained model of the toy genes, and an atlas of toy cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

import scim

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

TISSUES = np.array(["blood", "lung"])


def cells(n: int = 60, seed: int = 1) -> AnnData:
    """Toy cells with columns of every kind that an atlas stores, some values missing."""
    adata = scim.datasets.toy(n, rng=seed)
    row = np.arange(n)
    adata.obs["tissue"] = pd.Categorical(TISSUES[row % 2])
    adata.obs["age"] = np.where(row % 5 == 0, np.nan, row.astype(float))
    adata.obs["n"] = row
    adata.obs["primary"] = row % 3 == 0
    adata.obs["note"] = pd.Series([None if i % 4 == 0 else f"note {i % 3}" for i in row], index=adata.obs_names)
    return adata


def of_a_mouse(adata: AnnData) -> tuple[AnnData, AnnData]:
    """Return the same cells with genes of a mouse, and with their human orthologs.

    The counts of one human gene are split between two mouse genes; one mouse gene without an ortholog has counts.
    """
    mouse = adata.var_names.str.capitalize().str.replace("Mt-", "mt-").str.replace("-c", "-C").str.replace("-n", "-N")
    ids = scim.pp.canonical_genes(adata.var_names)
    human = adata[:, scim.pp.canonical_genes(mouse, species="mouse") == ids].copy()
    names = [*mouse[adata.var_names.isin(human.var_names)], "Rps27rt", "Gm42418"]
    X = np.hstack([human.X.toarray(), np.zeros((human.n_obs, 2), dtype=np.float32)])
    whole = names.index("Rps27")
    X[:, -2] = X[:, whole] // 3
    X[:, whole] -= X[:, -2]
    X[:, -1] = 1000
    return type(adata)(sparse.csr_matrix(X), obs=human.obs.copy(), var=pd.DataFrame(index=names)), human


def tiny_model(seed: int = 0) -> scim.model.Model:
    """An untrained encoder of the toy genes: a random projection, which preserves similarities."""
    import torch

    from scim.model import Encoder, Labels, Model, ModelConfig

    genes = scim.pp.canonical_genes(scim.datasets.toy(3).var_names)
    config = ModelConfig(n_genes=len(genes), hidden=(32,), latent_dim=16)
    encoder = Encoder(config, torch.Generator().manual_seed(seed))
    return Model(config, genes, Labels((), ()), encoder, name="tiny")


def toy_atlas(path: Path, *, index: bool = True) -> Path:
    """Two studies, 150 cells, one of them partly unlabelled."""
    with scim.atlas.create(path, model=tiny_model()) as atlas:
        atlas.append(
            cells(90, seed=2), study="one", label_key="cell_type", obs_columns=["tissue", "age", "n", "primary"]
        )
        second = cells(60, seed=3)
        second.obs["cell_type"] = second.obs["cell_type"].where(second.obs["n"] % 10 != 0)
        atlas.append(second, study="two", label_key="cell_type", obs_columns=["tissue", "note"])
        if index:
            atlas.build_index()
    return path
