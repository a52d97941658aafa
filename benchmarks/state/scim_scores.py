"""Score all cells by their similarity to each state: `tl.score_similarity` on an atlas of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import states

import scim

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from tissue_cases import Cells

    from scim.atlas import Atlas

    Scores = dict[str, NDArray[np.float32]]
    Centroid = Literal["counts", "embedding", "contrast"]

FOLDS = {"pbmc3k": "pbmc3k", "onek1k": "onek1k", "baron human3": "baron_human3", "Kong 2023": "kong", "He 2020": "he",
         "Wu 2021": "wu"}  # fmt: skip
"""Folders of models by the study that they were trained without, as benchmarks/confidence/tissues.py makes them."""


def score(cells: Cells, models: Path, atlases: Path, centroid: Centroid) -> Scores:
    """Return the cosine similarity of all cells to each state, by name.

    `models` is the folder of one model, which saw no query, or of models by the study that each did not see;
    `atlases` a folder for the atlases of all cells. The centroid is as in `tl.score_similarity`.
    """
    out = {}
    for study, name in FOLDS.items():
        model = models / name if (models / name).exists() else models
        with atlas_of(cells, model, atlases / f"{model.name}.scim") as atlas:
            adata = labelled(cells, study)
            scim.tl.embed(adata, atlas)
            for state in states.STATES:
                if state.study == study:
                    adata.obs["group"] = groups(adata.obs, state)
                    distances = scim.tl.score_similarity(adata, "group", atlas, centroid=centroid)
                    out[state.name] = 1 - distances[state.name].to_numpy()
    return {state.name: out[state.name] for state in states.STATES}


def atlas_of(cells: Cells, model: Path, path: Path) -> Atlas:
    """Return the atlas of all cells, in their order, embedded by a model, without labels; made unless it is there."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        path.parent.mkdir(parents=True, exist_ok=True)
        with scim.atlas.create(draft, model=model, overwrite=True) as atlas:
            atlas.append(list(cells.values()), study_key="study")
            atlas.build_index(seed=0)
        draft.rename(path)
    return scim.atlas.open(path)


def labelled(cells: Cells, study: str) -> AnnData:
    """Return the labelled cells of a study."""
    adata = next(adata for adata in cells.values() if (adata.obs["study"] == study).any())
    return adata[(adata.obs["study"] == study) & adata.obs["label"].notna()].copy()


def groups(obs: pd.DataFrame, state: states.State) -> pd.Series:
    """Return the name of the state for its cells, the label of their authors for others."""
    return obs["author_cell_type"].astype(str).mask(states.is_query(obs, state), state.name)
