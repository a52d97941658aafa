"""What label transfer returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from scim.label_transfer._neighbour_statistics import NeighbourStatistics
    from scim.label_transfer._tree import LabelTree


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted labels of n queries."""

    terms: NDArray[np.int32]
    """(n,) predicted term, as a position in `tree.names`; -1 = unknown."""

    confidence: NDArray[np.float32]
    """(n,) probability that the label is right, 0 to 1; of an unknown query, that of its most specific allowed term."""

    distance: NDArray[np.float32]
    """(n,) cosine distance to the nearest reference cell, 0 to 2; inf of a query without counts."""

    novelty: NDArray[np.float32]
    """(n,) probability that the type of the query is not in the reference, 0 to 1, if that is so of one query in four
    (by the embedding alone: of one in six); NaN of a query without counts."""

    n_studies: NDArray[np.int32]
    """(n,) number of studies of the neighbours that have the label with most votes."""

    top_codes: NDArray[np.int32]
    """(n, top) labels with most votes, as positions in `tree.labels`; -1 = no further label. At most n_labels."""

    top_shares: NDArray[np.float32]
    """(n, top) their shares of the vote, 0 to 1."""

    tree: LabelTree
    """The labels and the terms above them."""

    threshold: float
    """Least confidence of a label."""

    uses_expression: bool = False
    """Whether the expression of the genes was compared with the labels, beside the embedding."""

    groups: pd.DataFrame | None = None
    """A row for each group; its columns are in :func:`scim.tl.annotate`."""

    statistics: NeighbourStatistics | None = None
    """Statistics of the neighbours, before they are weighted."""

    @property
    def n_empty(self) -> int:
        """Number of queries without counts: rows of zeros, which are unknown, with a confidence of 0."""
        return int(np.isnan(self.novelty).sum())

    @property
    def labels(self) -> NDArray[np.object_]:
        """(n,) name of the predicted term; `None` = unknown."""
        return np.append(self.tree.names, [None])[self.terms]

    @property
    def label_ids(self) -> NDArray[np.object_]:
        """(n,) Cell Ontology id of the predicted term; `None` = unknown, or a label without one."""
        return np.array([term or None for term in self.tree.ids] + [None], dtype=object)[self.terms]
