"""Embed cells by PCA, Harmony, scVI and scANVI: a method of the worker of benchmarks/quality.

The 2,000 most variable genes by study. PCA of log-normalised counts without scaling, 50 components; Harmony on these.
scVI and scANVI have the settings of the tutorial of scib-metrics: two layers, 30 dimensions, negative binomial; scANVI
starts from scVI, for a third of its epochs and at most ten, with 100 cells of each label. The weight of the divergence
in scVI rises to one during all of its epochs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anndata as ad
import harmonypy
import scanpy as sc
import torch
from peers._features import reference

if TYPE_CHECKING:
    import numpy as np

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
N_COMPONENTS = 50
UNKNOWN = "unknown"


def predict(
    train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int, epochs: int, labels: list[str]
) -> list[np.ndarray]:
    """Return the embeddings of all cells of `train`.

    With `epochs=0` those of PCA and Harmony, else those of scVI, and of scANVI with each of the columns of labels.
    """
    del tests, label_key
    together = reference(train)
    if not epochs:
        return linear(together, seed)
    counts = ad.concat(train)[:, together.var_names].copy()
    counts.X = counts.X.toarray()  # a dense batch is read several times faster
    return variational(counts, seed, epochs, labels)


def linear(lognorm: ad.AnnData, seed: int) -> list[np.ndarray]:
    """Return the embeddings of PCA and Harmony."""
    sc.pp.pca(lognorm, n_comps=N_COMPONENTS, random_state=seed)
    components = lognorm.obsm["X_pca"]
    corrected = harmonypy.run_harmony(components, lognorm.obs, "study", random_state=seed).Z_corr
    return [components, corrected if corrected.shape == components.shape else corrected.T]


def variational(counts: ad.AnnData, seed: int, epochs: int, labels: list[str]) -> list[np.ndarray]:
    """Return the latent means of scVI, and of scANVI with each column of labels."""
    import scvi  # noqa: PLC0415  (takes half a minute)

    torch.set_num_threads(THREADS)
    scvi.settings.seed = seed
    options = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}
    scvi.model.SCVI.setup_anndata(counts, batch_key="study")
    model = scvi.model.SCVI(counts, n_layers=2, n_latent=30, gene_likelihood="nb")
    model.train(max_epochs=epochs, plan_kwargs={"n_epochs_kl_warmup": epochs}, **options)
    found = [model.get_latent_representation()]
    for column in labels:
        labelled = scvi.model.SCANVI.from_scvi_model(model, UNKNOWN, labels_key=column)
        labelled.train(max_epochs=min(10, max(2, round(epochs / 3))), n_samples_per_label=100, **options)
        found.append(labelled.get_latent_representation())
    return found
