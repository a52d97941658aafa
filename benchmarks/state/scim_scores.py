"""Score all cells by their similarity to each state: `tl.score_similarity` on an atlas of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import states

import scim

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray
    from tissue_cases import Cells

    from scim.atlas import Atlas

    Scores = dict[str, NDArray[np.float32]]


def atlas_of(cells: Cells, model: Path, path: Path) -> Atlas:
    """Return the atlas of all cells, in their order, embedded by a model; made unless it is there."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        path.parent.mkdir(parents=True, exist_ok=True)
        with scim.atlas.create(draft, model=model, overwrite=True) as atlas:
            atlas.append(list(cells.values()), study_key="study", label_key="label", obs_columns=["tissue", "disease"])
            atlas.build_index(seed=0)
        draft.rename(path)
    return scim.atlas.open(path)


def score(cells: Cells, atlas: Atlas, centroid: str) -> Scores:
    """Return the cosine similarity of all cells to each state, by name; the centroid as in `tl.score_similarity`."""
    out = {}
    for state in states.STATES:
        adata = query(cells, state)
        scim.tl.embed(adata, atlas)
        distances = scim.tl.score_similarity(adata, "state", atlas, centroid=centroid)
        out[state.name] = 1 - distances[state.name].to_numpy()
    return out


def query(cells: Cells, state: states.State) -> AnnData:
    """Return the cells of a state, named in obs["state"]."""
    for adata in cells.values():
        chosen = states.is_query(adata.obs, state)
        if chosen.any():
            found = adata[chosen].copy()
            found.obs["state"] = state.name
            return found
    msg = f"No cell of {state.study} is in the state {state.name!r}."
    raise ValueError(msg)
