"""Embeddings to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from scim._core import keys
from scim._core.checks import (
    check_adata,
    check_choice,
    check_count,
    check_key,
    check_obs_key,
    check_range,
    check_writable,
)
from scim._core.groups import groups_of
from scim._core.log import logger, progress
from scim._core.types import Duplicates, Weights
from scim.atlas import opened, origin
from scim.label_transfer import Probabilities, Votes, answer, consensus, count, near_labels
from scim.tl._ballot import as_text, ballot
from scim.tl._context import fitting_rep
from scim.tl._labelled import Counted, write_cells, write_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.atlas import Atlas
    from scim.tl._ballot import Ballot, Level
    from scim.tl._context import AtlasLike

_CHUNK = 8192  # queries whose neighbours are held at a time: 5 MB at k = 50

_MAJORITY = 0.5

_RECALL = 0.9
"""Share of the neighbours that a large index finds: a vote does not need each of fifty."""


def annotate(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    label_key: str = keys.ATLAS_LABEL,
    k: int = 50,
    weights: Weights = "balanced",
    allow: Sequence[str] | str | None = None,
    block: Sequence[str] | str | None = None,
    where: str | None = None,
    groupby: str | None = None,
    level: Level = None,
    max_error: float = 0.1,
    max_distance: float = 2.0,
    top: int = 3,
    duplicates: Duplicates = "collapse",
    use_rep: str = keys.EMBEDDING,
    key_added: str = keys.LABEL,
    copy: bool = False,
) -> AnnData | None:
    r"""Label cells by a vote of their nearest labelled cells in an atlas, with the probability that the label is right.

    The confidence is learned from the atlas itself: its studies are held out one after the other, and their cells are
    asked, once of all others, once with their own type taken out. It weighs how far the cell is from the middle of the
    type and from its neighbours, what share of the vote the label has, how near the next type is, and how many studies
    agree. Cells whose label is too likely to be wrong get a term of the Cell Ontology above it that is not, or are
    unknown.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    atlas
        An open atlas, or the path of one.
        Default: `scim.settings.atlas`, else the atlas that comes with the package.
    label_key
        Column of the atlas with the labels, text. For another than `"label"` confidence is measured on the way.
    k
        Number of neighbours that vote.
    weights
        `"balanced"`: neither the number of cells that an atlas has of a type or of a study decides, nor a few stray
        cells of a type whose middle is elsewhere. With :math:`n_l` voters of label :math:`l` and the nearest middle of
        it in a study :math:`c_l` away, neighbours at cosine distances :math:`d_j` from studies :math:`s` give it
        :math:`c_l^{-1/2} \sum_s (\sum_{j \in l, s} n_l^{-1/2} / \max(d_j, 10^{-6}))^{0.65}`.
        `"distance"`: a neighbour weighs :math:`1 / \max(d_j, 10^{-6})`, as in :cite:t:`Heimberg2025`;
        `"uniform"`: 1.
    allow, block
        Labels that may vote, and labels that may not: as the atlas has them, or names or ids of the Cell Ontology,
        which stand for all labels below them. Others are not among the neighbours. Default: all may.
    where
        Only cells of the atlas that pass this filter vote; see :meth:`scim.atlas.Atlas.select`.
    groupby
        Column of obs: each of its groups gets a label too, the most specific one that most of its cells are expected
        to be of.
    level
        What may be said. `None`: labels of the atlas and terms of the Cell Ontology that join some of them, whichever
        is the most specific one that is probable enough. `"label"`: labels of the atlas only. A number: terms so many
        steps below the root of the ontology (:func:`scim.ontology.depth`), and labels less deep. Names or ids of
        terms: these only. Whatever the level, answers for the same cell do not contradict each other.
    max_error
        Share of the answers that may be wrong, 0 to 1, in a study of which one cell in ten is of a type that the atlas
        lacks: what is less sure is left unknown. Learned from the atlas too, so the threshold is the same for any
        query. 1: every cell gets a label that `level` and `max_distance` allow.
    max_distance
        Cells whose nearest neighbour is farther than this (cosine distance, 0 to 2) are unknown too.
    top
        Number of labels, with their shares of the vote, to keep for each cell.
    duplicates
        `"collapse"`: a cell that is in the atlas several times votes once, see :func:`scim.tl.search`.
        `"keep"`: every cell may vote.
    use_rep
        Name of the embedding in `obsm`.
    key_added
        Base of the names that are written.
    copy
        Whether to return a new AnnData and leave this one alone.

    Returns
    -------
    `None`, or with `copy=True` the new AnnData. Writes, with `key_added="scim_label"`:

    `adata.obs["scim_label"]` : categorical
        The label; missing = unknown.
    `adata.obs["scim_label_id"]` : categorical
        Its Cell Ontology id, where it has one.
    `adata.obs["scim_label_confidence"]` : float32
        Probability that the label is right, 0 to 1: that the type which an annotator of another study would give the
        cell is the label, or above or below it; measured for the balanced vote of 50 neighbours with nobody left out.
        Of an unknown cell, that of the most specific answer that `level` allows; 0 beyond `max_distance`.
    `adata.obs["scim_label_distance"]` : float32
        Cosine distance to the nearest neighbour, 0 to 2.
    `adata.obs["scim_label_studies"]` : int32
        Number of studies of the neighbours that have the label with most votes.
    `adata.obsm["scim_label_codes"]`, `adata.obsm["scim_label_shares"]` : int32, float32, shape (n_obs, top)
        The labels with most votes as positions in `uns["scim_label"]["labels"]` (-1 = no further label), and their
        shares of the vote; :func:`scim.get.votes` makes a table of them.
    `adata.uns["scim_label"]` : dict
        Parameters, labels and atlas.

    With `groupby` also `adata.obs["scim_label_group"]`, the label of the cell's group, and
    `adata.obs["scim_label_group_confidence"]`, and in `adata.uns["scim_label"]["groups"]` a frame with a row for each
    group: `group`, `n_cells`, `label`, `label_id`, `confidence` (the share of its cells that is expected to be of the
    label, 0 to 1), `share` (of its cells that have the label or one below it), `runner_up` and `runner_up_share` (the
    label most frequent among its other cells that is neither above nor below), `unknown` (share of unknown cells),
    `mixed` (whether the runner-up has a quarter of the cells or more).

    Raises
    ------
    KeyError
        There is no embedding (run `scim.tl.embed` first), or a column does not exist.
    ValueError
        Another model made the embedding, no cell of the atlas may vote, or a label or term is unknown.
    FilterError
        `where` cannot be read, or names an unknown column or value.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> adata.obs["scim_label"].dtype.name
    'category'
    """
    check_adata(adata)
    check_writable(adata, copy=copy)
    check_key(key_added, taken=(keys.EMBED_PARAMS,))
    check_count("k", k)
    check_count("top", top)
    check_choice("weights", weights, get_args(Weights))
    check_choice("duplicates", duplicates, get_args(Duplicates))
    check_range("max_error", max_error, 1.0)
    check_range("max_distance", max_distance, 2.0)
    if groupby is not None:
        check_obs_key(adata, groupby)
    groups = None if groupby is None else groups_of(adata, groupby)
    with opened(atlas) as source:
        X = fitting_rep(adata, source, use_rep)
        asked = ballot(
            source,
            label_key=label_key,
            allow=allow,
            block=block,
            where=where,
            level=level,
            collapse=duplicates == "collapse",
        )
        n_voters = int((asked.voters.codes >= 0).sum())
        counted = _count(X, source, asked, k=min(k, n_voters), weights=weights, top=top)
        source_of = origin(source)
    threshold = float(asked.confidence.threshold(max_error))
    # A row of zeros is a cell without counts: its neighbours are chance.
    found = _without(counted.found, ~X.any(axis=1) | (counted.distance > max_distance))
    said = answer(found, threshold, asked.may_be_said)

    adata = adata.copy() if copy else adata
    params: dict[str, Any] = {"use_rep": use_rep, "label_key": label_key, "k": k, "weights": weights, "top": top}
    params |= {"allow": as_text(allow), "block": as_text(block), "where": where or "", "level": as_text(level)}
    params |= {"max_error": float(max_error), "threshold": threshold, "max_distance": float(max_distance)}
    params |= {"duplicates": duplicates, "groupby": groupby or ""}
    adata.uns[key_added] = {"params": params, "atlas": source_of}
    write_cells(adata, key_added, said, counted, asked.voters.tree)
    if groups is not None:
        # Of half of its cells a group should be, unless every cell and group is to have a label.
        least = max(threshold, _MAJORITY) if max_error < 1 else 0.0
        joint = consensus(found, said, groups, asked.voters.tree, least, asked.may_be_said)
        write_groups(adata, key_added, groups, said, joint, asked.voters.tree)
    logger.info("wrote obs[%r]: %d of %d cells are labelled", key_added, (said.terms >= 0).sum(), adata.n_obs)
    return adata if copy else None


def _without(found: Probabilities, gone: NDArray[np.bool_]) -> Probabilities:
    """Return the probabilities with none for some cells."""
    right = np.where(gone[:, None], np.float32(0), found.right)
    return Probabilities(right, np.where(gone[:, None], np.int32(-1), found.terms))


def _count(X: NDArray[np.float32], atlas: Atlas, asked: Ballot, *, k: int, weights: Weights, top: int) -> Counted:
    index, (voters, confidence, query, each, keep, _) = atlas.index, asked
    knobs: dict[str, Any] = {"recall": _RECALL} if index.kind == "ivf" else {}
    parts: list[Counted] = []
    for start in progress(range(0, max(1, len(X)), _CHUNK), desc="annotate", unit="chunk"):
        some = X[start : start + _CHUNK]
        found = index.query(some, k, **query, **knobs)
        near = near_labels(some, voters.centroids, voters.tree.n_labels, keep)
        votes, evidence = count(*found, voters, each, near, weights=weights, top_n=top)
        p = confidence.probabilities(evidence, votes.codes[:, 0], voters.tree)
        parts.append(Counted(votes, p, found.distances[:, 0], evidence.n_studies[:, 0]))
    votes = Votes(*(np.concatenate(column) for column in zip(*(part.votes for part in parts), strict=True)))
    p = Probabilities(*(np.concatenate(column) for column in zip(*(part.found for part in parts), strict=True)))
    return Counted(votes, p, *(np.concatenate([part[place] for part in parts]) for place in (2, 3)))
