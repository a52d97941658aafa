"""A small atlas with the columns of one that was imported from a published SCimilarity folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import scim
from helpers import fakes

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scim.model import Model

RENAMED = {"T cell": "T lymphocyte of old"}
"""Reference labels that have another name in the atlas's own column."""


def model(seed: int = 0) -> Model:
    """The untrained encoder of the toy genes, with the metadata of an import."""
    made = fakes.tiny_model(seed)
    made.metadata |= {
        "source": "scimilarity",
        "gene_order": scim.datasets.toy(3).var_names.tolist(),
        "labels": ["B cell", "T lymphocyte of old", "classical monocyte"],
        "labels_unmapped": ["T lymphocyte of old"],
    }
    return made


def cells(n: int = 240, n_elsewhere: int = 30, seed: int = 5) -> AnnData:
    """Toy cells with the columns of an import: the last `n_elsewhere` are in the annotation only.

    Every third of the others is a reference cell; their numbers in the annotation are shuffled.
    """
    adata = scim.datasets.toy(n, rng=seed)
    row = np.arange(n)
    searched, random = row < n - n_elsewhere, np.random.default_rng(seed)
    reference = ~searched | (row % 3 != 1)
    lines = np.full(n, -1)
    lines[reference] = random.permutation(int(reference.sum()))
    text = adata.obs["cell_type"].astype(str)
    old = text.replace(RENAMED)
    obs = pd.DataFrame(index=[str(i) if searched[i] else f"annotation-{lines[i]}" for i in row])
    obs["study"] = [f"study{i % 3}" for i in row]
    obs["cell_type"] = text.where(reference).to_numpy()
    obs["in_cellsearch"], obs["in_annotation"] = searched, reference
    obs["annotation_index"] = pd.array(np.where(reference, lines, 0), dtype="Int64")
    obs.loc[~reference, "annotation_index"] = pd.NA
    obs["reference_label"] = old.where(reference).to_numpy()
    obs["sample"] = [f"sample{i % 2 + 10 * (i % 3)}" if searched[i] else None for i in row]
    obs["tissue"] = [("blood", "lung")[i % 2] if searched[i] else None for i in row]
    obs["disease"] = [None if not searched[i] or i % 4 == 0 else ("healthy", "COVID-19")[int(i % 5 == 0)] for i in row]
    obs["data_type"] = [("train", "test", None)[i % 3] if searched[i] else None for i in row]
    obs["in_vivo"] = pd.array([i % 7 != 0 if searched[i] else None for i in row], dtype="boolean")
    obs["total_counts"] = np.where(searched, np.asarray(adata.X.sum(axis=1)).ravel(), np.nan)
    obs["metadata_label"] = [f"of the author {i % 2}" if searched[i] else None for i in row]
    adata.obs = obs
    return adata


def imported_atlas(path: Path, adata: AnnData | None = None) -> Path:
    """Write the atlas of :func:`cells`, or of some of them."""
    adata = cells() if adata is None else adata
    columns = [name for name in adata.obs if name not in ("study", "cell_type")]
    with scim.atlas.create(path, model=model()) as atlas:
        atlas.append(adata, study_key="study", label_key="cell_type", obs_columns=columns)
        atlas.build_index()
    return path
