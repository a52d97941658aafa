"""Measure whether a group of cells is one state, or a mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.cosine import cosine_distances, is_directed, normalize
from scim.tl._label_spread import type_distance
from scim.tl._similar_hits import NOVEL, sample_groups

if TYPE_CHECKING:
    from scim._core.adata import Groups
    from scim._core.types import Floats
    from scim.atlas import Atlas
    from scim.label_transfer import LabelTransfer
    from scim.tl._similar_hits import LabelVotes

_HALF = 0.03  # dispersion of a coherence of 50: above it are a sixth of the pure groups, and most mixtures


def coherence(
    X: Floats, groups: Groups, atlas: Atlas, transfer: LabelTransfer | None = None, votes: LabelVotes | None = None
) -> Floats:
    r"""Return whether the cells of each group are one state, 0 to 100, (n_groups,): :math:`100 \cdot 2^{-S / 0.03}`.

    :math:`S` is the mean of :math:`(d_i / b)^2`, with :math:`d_i` the cosine distance of cell i to the direction of the
    mean of the group and :math:`b` the distance between types in the atlas. By the square a few cells of another type
    count more than a broad state. The number and the order of the cells do not matter, and nothing is drawn.

    `X` are the cells, (n_obs, dim), `votes` those of the groups. Cells without counts, rows of zeros, are left out. NaN
    for a group of such cells alone, and where most likely the atlas has no cells of the type: by the novelty, or
    without labels by the label radius.
    """
    scale = type_distance(atlas, transfer)
    out = np.full(len(groups.names), np.nan, dtype=np.float32)
    for i in np.flatnonzero(_in_atlas(X, groups, atlas, votes)):
        out[i] = 100 * 0.5 ** (dispersion(X[groups.codes == i]) / scale**2 / _HALF)
    return out


def dispersion(X: Floats) -> float:
    """Return the mean squared cosine distance of cells (n, dim) to their mean direction; without rows of zeros."""
    units = normalize(X[is_directed(X)].astype(np.float64))
    centre = normalize(units.mean(axis=0, keepdims=True))[0] if len(units) else np.zeros(X.shape[1])
    return float(np.square(cosine_distances(units @ centre), dtype=np.float64).mean()) if len(units) else float("nan")


def _in_atlas(X: Floats, groups: Groups, atlas: Atlas, votes: LabelVotes | None) -> list[bool]:
    """Return whether the atlas has cells like most of each group."""
    if votes is not None:
        return [bool(novelty < NOVEL) for novelty in votes.novelty]
    radius = 2.0 if atlas.label_radius is None else atlas.label_radius
    rows, codes = sample_groups(X, groups)
    nearest = atlas.index.query(X[rows], 1).distances[:, 0]
    by_group = (nearest[codes == group] for group in range(len(groups.names)))
    return [bool(of_group.size and np.median(of_group) <= radius) for of_group in by_group]
