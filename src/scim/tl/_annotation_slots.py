"""A prediction as columns and tables of an AnnData, which `scim.get` and `scim.pl` read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim._core.adata import Groups
    from scim.label_transfer import Prediction

    Named = dict[str, Any]  # what stands behind the key in a name, and the values


def annotation_slots(prediction: Prediction, groups: Groups | None) -> tuple[Named, Named, Named]:
    """Return columns of obs, tables of obsm and entries of the record: labels, those of groups, statistics if any."""
    tree = prediction.tree
    record: Named = {"labels": tree.labels.astype(str), "label_ids": tree.label_ids.astype(str)}
    labels, ids = tree.as_categories(prediction.terms)
    columns = ids, prediction.confidence, prediction.novelty, prediction.distance, prediction.n_studies
    obs: Named = {"": labels} | _behind(keys.LABEL_COLUMNS, columns)
    obsm = _behind(keys.LABEL_VOTES, (prediction.top_codes, prediction.top_shares))
    if groups is not None and prediction.groups is not None:
        record["groups"] = prediction.groups
        label, confidence = prediction.groups["label"].array, prediction.groups["confidence"].to_numpy()
        of_cells = np.where(groups.codes >= 0, confidence[groups.codes], np.float32(np.nan))
        obs |= _behind(keys.LABEL_GROUP, (label.take(groups.codes, allow_fill=True), of_cells))
    if prediction.statistics is not None:
        hits, hits_weighted, *values = prediction.statistics
        obsm |= _behind(keys.LABEL_HITS, (hits, hits_weighted))
        obs |= _behind(keys.NEIGHBOUR_STATISTICS, values)
    return obs, obsm, record


def _behind(names: Sequence[str], values: Sequence[Any]) -> Named:
    return {f"_{name}": value for name, value in zip(names, values, strict=True)}
