"""Write a prediction into an AnnData, under the names that `scim.get` and `scim.pl` read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core import keys

if TYPE_CHECKING:
    from anndata import AnnData

    from scim._core.adata import Groups
    from scim.label_transfer import Prediction


def write_annotation(adata: AnnData, key: str, prediction: Prediction, groups: Groups | None) -> None:
    """Write labels of cells, the frame of groups, the label of its group to each cell, and the statistics, if any."""
    tree = prediction.tree
    adata.uns[key] |= {"labels": tree.labels.astype(str), "label_ids": tree.label_ids.astype(str)}
    adata.obs[key], adata.obs[f"{key}_id"] = tree.as_categories(prediction.terms)
    adata.obs[f"{key}_confidence"] = prediction.confidence
    adata.obs[f"{key}_novelty"] = prediction.novelty
    adata.obs[f"{key}_distance"] = prediction.distance
    adata.obs[f"{key}_studies"] = prediction.n_studies
    adata.obsm[f"{key}_codes"] = prediction.top_codes
    adata.obsm[f"{key}_shares"] = prediction.top_shares
    if groups is not None and prediction.groups is not None:
        adata.uns[key]["groups"] = prediction.groups
        label, confidence = prediction.groups["label"].array, prediction.groups["confidence"].to_numpy()
        adata.obs[f"{key}_group"] = label.take(groups.codes, allow_fill=True)
        adata.obs[f"{key}_group_confidence"] = np.where(groups.codes >= 0, confidence[groups.codes], np.float32(np.nan))
    _write_statistics(adata, key, prediction)


def _write_statistics(adata: AnnData, key: str, prediction: Prediction) -> None:
    """Write the statistics of the neighbours, or remove those of an earlier annotation of this name."""
    names, statistics = keys.NEIGHBOUR_STATISTICS, prediction.statistics
    columns, matrices = [f"{key}_{name}" for name in names], [f"{key}_{name}" for name in keys.LABEL_HITS]
    if statistics is None:
        for column in columns:
            if column in adata.obs:
                del adata.obs[column]
        for matrix in matrices:
            adata.obsm.pop(matrix, None)
        return
    hits, hits_weighted, *values = statistics
    for matrix, content in zip(matrices, (hits, hits_weighted), strict=True):
        adata.obsm[matrix] = content
    for column, numbers in zip(columns, values, strict=True):
        adata.obs[column] = numbers
