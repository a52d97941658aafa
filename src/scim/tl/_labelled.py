"""Labels of cells and groups, as they are written into an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim.label_transfer import Answer, Consensus, LabelTree, Probabilities, Votes


class Counted(NamedTuple):
    """What was counted for each cell."""

    votes: Votes
    found: Probabilities
    distance: NDArray[np.float32]
    """(n,) cosine distance to the nearest neighbour."""

    n_studies: NDArray[np.int32]
    """(n,) number of studies of the neighbours that have the label with most votes."""


def write_cells(adata: AnnData, key: str, said: Answer, counted: Counted, tree: LabelTree) -> None:
    """Write what is said of each cell."""
    names, ids = tree.names[: tree.n_labels], tree.ids[: tree.n_labels]
    adata.uns[key] |= {"labels": names.astype(str), "label_ids": ids.astype(str)}
    adata.obs[key], adata.obs[f"{key}_id"] = _categories(said.terms, tree)
    adata.obs[f"{key}_confidence"] = said.confidence
    adata.obs[f"{key}_distance"] = counted.distance
    adata.obs[f"{key}_studies"] = counted.n_studies
    adata.obsm[f"{key}_codes"] = counted.votes.codes
    adata.obsm[f"{key}_shares"] = counted.votes.shares


def _categories(terms: NDArray[np.int32], tree: LabelTree) -> tuple[pd.Categorical, pd.Categorical]:
    """Return names and ids of terms; -1 is missing."""
    used = np.unique(terms[terms >= 0])
    position = np.full(len(tree.names) + 1, -1)
    position[used] = np.arange(used.size)
    ids = pd.Series(np.append(tree.ids, "")[terms], dtype=object)
    return (
        pd.Categorical.from_codes(position[terms], categories=pd.Index(tree.names[used])),
        pd.Categorical(ids.mask(ids == "")),
    )


def write_groups(
    adata: AnnData,
    key: str,
    groups: Groups,
    said: Answer,
    joint: Consensus,
    tree: LabelTree,
) -> None:
    """Write the frame of groups, and the label of its group to each cell."""
    codes = groups.codes
    inside = codes >= 0
    unknown = np.bincount(codes[inside], weights=said.terms[inside] < 0, minlength=len(groups.names))
    n_cells = np.bincount(codes[inside], minlength=len(groups.names))
    label, label_id = _categories(joint.terms, tree)
    adata.uns[key]["groups"] = pd.DataFrame(
        {
            "group": groups.names.astype(str),
            "n_cells": n_cells,
            "label": label,
            "label_id": label_id,
            "confidence": joint.confidence,
            "share": joint.share,
            "runner_up": _categories(joint.runner_up, tree)[0],
            "runner_up_share": joint.runner_up_share,
            "unknown": (unknown / n_cells).astype(np.float32),
            "mixed": joint.mixed,
        },
        index=[str(i) for i in range(len(groups.names))],
    )
    adata.obs[f"{key}_group"] = _categories(np.where(inside, joint.terms[codes], -1).astype(np.int32), tree)[0]
    adata.obs[f"{key}_group_confidence"] = np.where(inside, joint.confidence[codes], np.float32(np.nan))
