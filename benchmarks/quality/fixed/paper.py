"""Train by the recipe of the paper (Heimberg et al., Nature 2025), for a bounded number of steps and genes.

`scim.model.TrainConfig.paper` and `ModelConfig.paper`; genes that a study did not measure are zeros. The filters of
cells are not applied: old chemistries have few counts. The paper trained for 50,000 steps on 28,231 genes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import scanpy as sc
from handover import aligned, measured

import scim
from fixed._atlas import annotated

if TYPE_CHECKING:
    import numpy as np

STEPS = 150
N_GENES = 3000


def predict(
    train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int, steps: int | None
) -> list[np.ndarray]:
    genes = most_variable(train)
    train, tests = ([aligned(adata, genes) for adata in cells] for cells in (train, tests))
    scim.settings.n_threads = 1
    config, net = scim.model.TrainConfig.paper(n_steps=steps or STEPS, genes=genes), scim.model.ModelConfig.paper()
    model = scim.model.train(train, label_key=label_key, study_key="study", model=net, config=config, rng=seed)
    return annotated(model, train, tests, label_key)


def most_variable(train: list[ad.AnnData]) -> list[str]:
    """Return the most variable genes within the studies; unmeasured genes are zeros."""
    every = sorted(set().union(*(measured(adata) for adata in train)))
    together = ad.concat([aligned(adata, every) for adata in train])
    together.obs_names_make_unique()
    sc.pp.normalize_total(together, target_sum=1e4)
    sc.pp.log1p(together)
    sc.pp.highly_variable_genes(together, n_top_genes=N_GENES, batch_key="study")
    return together.var_names[together.var["highly_variable"]].tolist()
