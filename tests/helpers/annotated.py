"""Annotated cells: every slot that `tl.annotate` writes, with values computed by hand."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd

from scim import ontology

LABELS = ["T cell", "CD4-positive, alpha-beta T cell", "B cell", "monocyte", "my cells"]
IDS = [ontology.term_id(label) or "" for label in LABELS]
T, CD4, B, MONOCYTE, MINE = range(5)

CELLS = [  # the true label, the annotated one, confidence, runner-up, shares of the two
    ("CD4-positive, alpha-beta T cell", "CD4-positive, alpha-beta T cell", 0.95, T, (0.9, 0.1)),
    ("CD4-positive, alpha-beta T cell", "T cell", 0.95, CD4, (0.6, 0.4)),  # less specific
    ("CL:0000084", "CD4-positive, alpha-beta T cell", 0.91, T, (0.8, 0.1)),  # more specific
    ("B cell", "B cell", 1.0, -1, (1.0, 0.0)),
    ("B cell", "monocyte", 0.93, B, (0.5, 0.4)),  # wrong
    ("monocyte", "monocyte", 0.7, -1, (0.7, 0.0)),
    ("monocyte", "B cell", 0.75, MONOCYTE, (0.6, 0.4)),  # wrong
    ("monocyte", None, 0.4, B, (0.4, 0.3)),
    ("my cells", "my cells", 0.25, -1, (1.0, 0.0)),
    (None, "B cell", 0.5, -1, (1.0, 0.0)),  # no true label
]
NOVELTY = [0.0, 0.1, 0.2, 0.0, 0.05, 0.3, 0.2, 0.5, 0.7, 0.95]
GROUPS = ["a", "a", "a", "b", "b", "c", "c", "c", "b", None]


def annotated() -> anndata.AnnData:
    """Ten cells as `tl.annotate` writes them, with their true labels in `obs["truth"]` and groups in `obs["group"]`."""
    truth, label, confidence, second, shares = zip(*CELLS, strict=True)
    obs = pd.DataFrame(index=[f"cell {i}" for i in range(len(CELLS))])
    obs["truth"] = pd.Categorical(truth)
    obs["group"] = pd.Categorical(GROUPS, categories=["b", "a", "c"])
    obs["scim_label"] = pd.Categorical(label)
    ids = dict(zip(LABELS, IDS, strict=True))
    obs["scim_label_id"] = pd.Categorical([ids.get(name) or None for name in label])
    obs["scim_label_confidence"] = np.array(confidence, np.float32)
    obs["scim_label_novelty"] = np.array(NOVELTY, np.float32)
    adata = anndata.AnnData(obs=obs)
    best = [LABELS.index(name) if name else MONOCYTE for name in label]
    adata.obsm["scim_label_codes"] = np.array([best, second], np.int32).T.copy()
    adata.obsm["scim_label_shares"] = np.array(shares, np.float32)
    adata.uns["scim_label"] = {
        "params": {"novel": 0.5},
        "labels": np.array(LABELS),
        "label_ids": np.array(IDS),
        "atlas": {},
    }
    return adata


def with_groups() -> anndata.AnnData:
    """The same, with what `tl.annotate(groupby="group")` writes of three groups."""
    adata = annotated()
    frame = pd.DataFrame({"group": ["b", "a", "c"], "n_cells": [3, 3, 3]})
    frame["label"] = pd.Categorical(["B cell", "T cell", None])
    frame["label_id"] = pd.Categorical([IDS[B], IDS[T], None])
    frame["confidence"] = np.array([0.6, 0.9, 0.3], np.float32)
    frame["runner_up"] = pd.Categorical(["monocyte", None, "B cell"])
    frame["runner_up_share"] = np.array([1 / 3, 0.0, 0.25], np.float32)
    frame["share"] = np.array([0.5, 1.0, 0.5], np.float32)
    frame["unknown"] = np.array([0.0, 0.0, 0.4], np.float32)
    frame["mixed"] = [True, False, False]
    adata.uns["scim_label"]["groups"] = frame
    return adata
