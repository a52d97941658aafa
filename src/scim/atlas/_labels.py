"""Labels and studies of all cells, as integer codes; who may vote, and how such votes turn out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim import ontology
from scim._core import keys
from scim.label_transfer import LabelTree, Voters, calibrate, centroids_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from scim.index import Index
    from scim.label_transfer import Confidence

_MOST = 5_000
"""Labels at most: what is known of each pair of them is in memory."""


class Labels(NamedTuple):
    """The labels of all cells of an atlas, as integer codes."""

    codes: NDArray[np.int32]
    """(n_rows,) position in `names` of the label of each `soma_joinid`; -1 = unlabelled, or removed."""

    names: NDArray[np.object_]
    """(n_labels,) names."""

    ids: NDArray[np.object_]
    """(n_labels,) Cell Ontology ids; empty text where a name has none."""


class Electorate(NamedTuple):
    """Who may vote in an atlas, and how probable it is that the vote is right."""

    labels: Labels
    voters: Voters
    confidence: Confidence


def elect(
    index: Index, frame: pd.DataFrame, n_rows: int, label_key: str, known: Confidence | None = None, seed: int = 0
) -> Electorate | None:
    """Return the electorate of a column; `None` if no cell has a value.

    Parameters
    ----------
    index
        Of all cells.
    frame, n_rows, label_key
        As for :func:`labels_of`, with the studies too. Cells for which a column `is_primary_data` is false do not vote:
        they are there again.
    known
        The confidence; default: it is measured.
    seed
        Of the sample by which it is.
    """
    labels = labels_of(frame, n_rows, label_key)
    if not len(labels.names):
        return None
    tree = LabelTree.of(labels.names.tolist(), labels.ids.tolist())
    studies = _by_id(frame[keys.ATLAS_STUDY].cat.codes, n_rows, 0).clip(0)
    codes = labels.codes
    if keys.ATLAS_PRIMARY in frame:
        again = (frame[keys.ATLAS_PRIMARY].astype(object) == False).astype(np.int32)  # noqa: E712  (a missing value is not)
        codes = np.where(_by_id(again, n_rows, 0) == 1, -1, codes).astype(np.int32)
    voters = Voters(codes, studies, tree, centroids_of(index.vectors, codes, studies, index.dim))
    index.release_pages()  # the middles are of cells all over it
    return Electorate(labels, voters, known or _measured(index, voters, seed))


def labels_of(frame: pd.DataFrame, n_rows: int, label_key: str) -> Labels:
    """Return the labels in a column of cells.

    Parameters
    ----------
    frame
        Categorical columns of all cells, by `soma_joinid`.
    n_rows
        Number of ids that were given.
    label_key
        The column. The ids of `label` are in `label_id`, those of others are looked up.
    """
    label = frame[label_key]
    label = label.cat.remove_categories([word for word in label.cat.categories if str(word) in keys.NO_LABEL])
    label = label.cat.remove_unused_categories()
    if len(label.cat.categories) > _MOST:
        msg = f"{label_key!r} has {len(label.cat.categories):,} values, more than {_MOST:,}: it names cells, not types."
        raise ValueError(msg)
    names = np.array([str(name) for name in label.cat.categories], dtype=object)
    if label_key == keys.ATLAS_LABEL:
        first = frame[~label.duplicated() & label.notna()].astype(object).set_index(label_key)
        ids = first[keys.ATLAS_LABEL_ID].reindex(label.cat.categories).fillna("").to_numpy(dtype=object)
    else:
        ids = np.array([ontology.term_id(name) or "" for name in names], dtype=object)
    return Labels(_by_id(label.cat.codes, n_rows, -1), names, ids)


def _measured(index: Index, voters: Voters, seed: int) -> Confidence:
    def search(
        X: NDArray[np.float32], k: int, allowed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        found = index.query(X, k, allowed=allowed, distinct=True)
        index.release_pages()
        return found

    return calibrate(index.vectors, voters, search, seed)


def _by_id(column: pd.Series, n_rows: int, missing: int) -> NDArray[np.int32]:
    codes = np.full(n_rows, missing, dtype=np.int32)
    codes[column.index.to_numpy()] = column
    return codes
