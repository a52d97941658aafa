"""Measure how far apart cells of one label, and labels, lie in an atlas."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING

import numpy as np

from scim._core.cosine import EQUAL, cosine_distances
from scim.tl._inputs import with_counts

if TYPE_CHECKING:
    from scim._core.types import Floats, Ints
    from scim.atlas import Atlas
    from scim.label_transfer import LabelTransfer

_STUDIES, _CELLS = 6, 30  # largest studies of a label, and cells of each
_QUANTILE = 0.99
_MOST = 1000  # cells of an atlas without labels that are compared

_measured: weakref.WeakKeyDictionary[LabelTransfer, Floats] = weakref.WeakKeyDictionary()


def label_spread(atlas: Atlas, transfer: LabelTransfer) -> Floats:
    """Return the cosine distance within which 99 % of the pairs of cells of a label in two studies lie, (n_labels,).

    Up to 30 cells, evenly spaced, of each of the six largest studies of a label are compared. Where a label has one
    study, its pairs of cells stand in; a label of a single cell has 0. The result is kept with the label transfer.
    """
    if transfer not in _measured:
        spread = np.zeros(len(transfer.labels), dtype=np.float32)
        codes = transfer.reference.codes
        labelled = np.flatnonzero(transfer.reference.eligible())
        order = labelled[np.argsort(codes[labelled], kind="stable")]
        bounds = np.searchsorted(codes[order], np.arange(len(spread) + 1))
        for label, (start, stop) in enumerate(itertools.pairwise(bounds)):
            spread[label] = _spread_of(order[start:stop], atlas, transfer)
        _measured[transfer] = spread
    return _measured[transfer]


def _spread_of(ids: Ints, atlas: Atlas, transfer: LabelTransfer) -> float:
    """Return the quantile of the distances between cells of two studies, of those with these ids."""
    studies = transfer.reference.studies[ids]
    n_cells = np.bincount(studies)
    chosen = []
    for study in np.argsort(-n_cells, kind="stable")[:_STUDIES]:
        cells = ids[studies == study]
        chosen.append(cells[np.linspace(0, len(cells) - 1, min(len(cells), _CELLS)).round().astype(np.int64)])
    sample = np.concatenate([*chosen, np.empty(0, dtype=np.int64)]).astype(np.int64)
    if sample.size < 2:
        return 0.0
    X, of_study = atlas.index.vectors(sample), transfer.reference.studies[sample]
    pairs = of_study[:, None] != of_study
    if not pairs.any():
        pairs = ~np.eye(sample.size, dtype=np.bool_)
    return float(np.quantile(cosine_distances(X @ X.T)[pairs], _QUANTILE))


def type_distance(atlas: Atlas, transfer: LabelTransfer | None) -> float:
    """Return the mean cosine distance between centroids of labels that are not above or below each other.

    Without two such labels it is 1, the distance of unrelated directions. Without any label it is the mean distance
    between cells, of up to 1,000, evenly spaced; 1 if they are equal.
    """
    if transfer is not None:
        labels, X = transfer.reference.centroid_labels, transfer.reference.centroids
        pairs = ~transfer.reference.tree.related[labels][:, labels]
        return float(cosine_distances(X @ X.T)[pairs].mean()) if pairs.any() else 1.0
    ids = with_counts(atlas, atlas.ids)
    if not ids.size:
        return 1.0
    ids = ids[np.linspace(0, len(ids) - 1, min(len(ids), _MOST)).round().astype(np.int64)]
    mean = atlas.index.vectors(ids).mean(axis=0)
    distance = 1 - float(mean @ mean)
    return distance if distance >= EQUAL else 1.0
