"""Predict labels by scim's public functions: an atlas of the training cells, embed, annotate."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import scim

if TYPE_CHECKING:
    import anndata as ad


def annotated(
    model: scim.model.Model, train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str
) -> list[np.ndarray]:
    """Return the Cell Ontology id of every query cell, "" for unknown cells."""
    predictions = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.scim"
        with scim.atlas.create(path, model=model) as atlas:
            atlas.append(train, study_key="study", label_key=label_key)
            atlas.build_index(seed=0)
        with scim.atlas.open(path) as atlas:
            for test in tests:
                try:
                    scim.tl.embed(test, atlas)
                except ValueError as error:  # too few genes for the model: no cell gets a label
                    if "too few to embed" not in str(error):
                        raise
                    predictions.append(np.full(test.n_obs, ""))
                    continue
                scim.tl.annotate(test, atlas)
                predictions.append(test.obs["scim_label_id"].astype(object).fillna("").to_numpy())
    return predictions
