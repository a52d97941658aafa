"""The labelled cells of an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scim.label_transfer._centroids import Centroids
    from scim.label_transfer._tree import LabelTree


class Voters(NamedTuple):
    """The labelled cells of an atlas, by id."""

    codes: NDArray[np.int32]
    """(n_ids,) label of each id; -1 = it has none, or is no cell."""

    studies: NDArray[np.int32]
    """(n_ids,) code of its study, from 0."""

    tree: LabelTree
    centroids: Centroids
