"""Decide which hits of a search are like their query, and which are only the nearest that a filter left."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import keys
from scim._core.cosine import is_directed
from scim._core.numba import njit
from scim.tl._inputs import query_filter, with_counts
from scim.tl._label_spread import label_spread

if TYPE_CHECKING:
    from scim._core.adata import Groups
    from scim._core.types import Bools, Doubles, Floats, Ints, Ints32
    from scim.atlas import Atlas
    from scim.index import Neighbors
    from scim.label_transfer import LabelTransfer, LabelTree

_GROUP_CELLS = 100  # cells of a group that are compared with the atlas
_LABELS = 8  # labels of a cell whose votes are kept, and
_GROUP_LABELS = 32  # of a group; the others have less than a hundredth of the votes each
_LEAST_SHARE = 0.01
_LEAST_RATIO = 0.9  # of the votes of a label, with the labels beside it, to those of its strongest rival
NOVEL = 1 / 3  # novelty of a query from which on the atlas has no cells of its type
_CHUNK = 8192  # queries with allowed labels at a time

_all_labelled: weakref.WeakKeyDictionary[LabelTransfer, bool] = weakref.WeakKeyDictionary()


class LabelVotes(NamedTuple):
    """Labels of the cells of the whole atlas that are nearest to queries, whatever filter a search has."""

    codes: Ints32  # (n_queries, n) labels, those with most votes first; -1 = no further label
    shares: Floats  # (n_queries, n) their shares of the votes, 0 to 1
    novelty: Floats  # (n_queries,) probability that the atlas lacks the type, 0 to 1; of a group, the mean; NaN without
    # counts


def atlas_labels(atlas: Atlas) -> LabelTransfer | None:
    """Return the label transfer of the atlas; `None` if no cell with counts has a label."""
    if keys.ATLAS_LABEL not in atlas.columns or not len(atlas.labels.names):
        return None
    empty = atlas.index.empty_ids
    if empty.size and not (np.delete(atlas.labels.codes, empty) >= 0).any():
        return None
    return atlas.label_transfer()


def count_label_votes(X: Floats, atlas: Atlas, transfer: LabelTransfer) -> LabelVotes:
    """Return the votes of the labels for each row of `X`, by the embedding alone."""
    found = transfer.predict(X, top=_LABELS, max_error=1.0, search=_search_arguments(atlas, transfer))
    return LabelVotes(found.top_codes, found.top_shares, found.novelty)


def query_votes(X: Floats, groups: Groups | None, atlas: Atlas, transfer: LabelTransfer) -> LabelVotes:
    """Return the votes of the labels for each row of `X`, or for each group, by up to 100 of its cells."""
    if groups is None:
        return count_label_votes(X, atlas, transfer)
    rows, codes = sample_groups(X, groups)
    return group_votes(count_label_votes(X[rows], atlas, transfer), codes, len(groups.names), len(transfer.labels))


def _search_arguments(atlas: Atlas, transfer: LabelTransfer) -> dict[str, Any]:
    """Return arguments of the index query: a filter in place of a list of ids, where all cells have a label."""
    search: dict[str, Any] = {"recall": 0.9} if atlas.index.kind == "ivf" else {}  # a few neighbours change no label
    if not atlas.marks_primary:
        return search
    if transfer not in _all_labelled:  # to look at every cell takes longer than a search
        _all_labelled[transfer] = bool((transfer.reference.codes[with_counts(atlas, atlas.ids)] >= 0).all())
    return search | query_filter(atlas, f"{keys.ATLAS_PRIMARY} != False") if _all_labelled[transfer] else search


def sample_groups(X: Floats, groups: Groups) -> tuple[Ints, Ints]:
    """Return rows of at most 100 distinct cells of each group, and their groups; the order of `X` does not matter.

    Cells without counts are left out.
    """
    rows, codes = [], np.where(is_directed(X), groups.codes, -1)
    for group in range(len(groups.names)):
        members = np.flatnonzero(codes == group)
        distinct = members[np.unique(X[members], axis=0, return_index=True)[1]]
        size = min(distinct.size, _GROUP_CELLS)
        rows.append(distinct[np.linspace(0, distinct.size - 1, size).round().astype(np.int64)])
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [part.size for part in rows])


def group_votes(votes: LabelVotes, codes: Ints, n_groups: int, n_labels: int) -> LabelVotes:
    """Return the mean shares of the cells of each group, and their mean novelty."""
    total = np.zeros((n_groups, n_labels))
    row, place = np.nonzero(votes.codes >= 0)
    np.add.at(total, (codes[row], votes.codes[row, place]), votes.shares[row, place])
    total /= np.maximum(total.sum(axis=1, keepdims=True), 1e-9)
    order = np.argsort(-total, axis=1, kind="stable")[:, :_GROUP_LABELS]
    shares = np.take_along_axis(total, order, axis=1)
    labels = np.where(shares >= _LEAST_SHARE, order, -1).astype(np.int32)
    n_cells = np.bincount(codes, minlength=n_groups)
    novelty = np.divide(
        np.bincount(codes, votes.novelty, n_groups), n_cells, np.full(n_groups, np.nan), where=n_cells > 0
    )
    return LabelVotes(labels, shares.astype(np.float32), novelty.astype(np.float32))


def similar_hits(
    neighbors: Neighbors, atlas: Atlas, transfer: LabelTransfer | None = None, votes: LabelVotes | None = None
) -> Bools:
    """Return which hits are like their query, (n_queries, k): see :func:`scim.tl.search`.

    `votes` are those of the queries; without a label transfer hits within the label radius are similar.
    """
    radius = 2.0 if atlas.label_radius is None else atlas.label_radius
    similar: Bools = neighbors.ids >= 0
    if transfer is None or votes is None:
        return similar & (neighbors.distances <= radius)
    labels = _labels_of_hits(neighbors.ids, similar, atlas, transfer)
    similar &= neighbors.distances <= np.maximum(radius, label_spread(atlas, transfer))[labels]
    for start in range(0, len(similar), _CHUNK):
        part = slice(start, start + _CHUNK)
        allowed = like_labels(votes.codes[part], votes.shares[part], transfer.reference.tree)
        allowed &= (votes.novelty[part] < NOVEL)[:, None]
        row, place = np.nonzero(similar[part])
        similar[part][row, place] = allowed[row, labels[part][row, place]]
    return similar


def _labels_of_hits(ids: Ints, wanted: Bools, atlas: Atlas, transfer: LabelTransfer) -> Ints32:
    """Return the label of each hit that is wanted; one without a label gets that of the cells around it."""
    labels = np.where(wanted, transfer.reference.codes[np.where(wanted, ids, 0)], -1)
    missing = wanted & (labels < 0)
    if missing.any():
        unlabelled, position = np.unique(ids[missing], return_inverse=True)
        around = count_label_votes(atlas.index.vectors(unlabelled), atlas, transfer)
        labels[missing] = around.codes[position, 0]
    return labels


def like_labels(codes: Ints32, shares: Floats, tree: LabelTree) -> Bools:
    r"""Return which labels cells may have that are like a query with these votes, (n_queries, n_labels).

    The votes of label :math:`a` against label :math:`b` are those of the term with most votes that has :math:`a` at or
    below it, but not :math:`b`: of CD4 T cells with half of the votes, each subtype against CD8 T cells has this half.
    A label is like the query if it has at least .9 of the votes of each rival, and so are the labels above and below
    it. Labels above or below each other are no rivals.
    """
    like = np.zeros((len(codes), tree.n_labels), dtype=np.bool_)
    mark_like_labels(codes, shares.astype(np.float64), tree.inside, tree.related, like)
    return like


@njit
def mark_like_labels(codes: Ints32, shares: Doubles, inside: Bools, related: Bools, like: Bools) -> None:
    """Write which labels are like each query."""
    n_terms, n_labels = inside.shape
    for i in range(codes.shape[0]):
        votes = np.zeros(n_terms)
        for at in range(codes.shape[1]):
            if codes[i, at] >= 0:
                for term in range(n_terms):
                    if inside[term, codes[i, at]]:
                        votes[term] += shares[i, at]
        for label in codes[i]:
            if label < 0:
                continue
            beaten = False
            for rival in codes[i]:
                if rival < 0 or beaten or related[label, rival]:
                    continue
                mine, other = 0.0, 0.0
                for term in range(n_terms):
                    if inside[term, label] and not inside[term, rival]:
                        mine = max(mine, votes[term])
                    elif inside[term, rival] and not inside[term, label]:
                        other = max(other, votes[term])
                beaten = mine < _LEAST_RATIO * other
            if not beaten:
                for other_label in range(n_labels):
                    like[i, other_label] |= related[label, other_label]
