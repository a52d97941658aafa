"""Embeddings to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import check_adata, check_choice, check_count, check_key, check_range, check_writable
from scim._core.log import logger, progress
from scim._core.types import Duplicates, Weights
from scim._core.vote import Votes, farthest_voter, label_weights, vote
from scim.tl._context import fitting_rep, opened, origin
from scim.tl._filter import primary_condition, query_filter

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.atlas import Atlas, Labels
    from scim.tl._context import AtlasLike

_CHUNK = 16_384  # queries whose neighbours are held at a time: 10 MB at k = 50


class _Answer(NamedTuple):
    votes: Votes
    distance: NDArray[np.float32]
    known: NDArray[np.bool_]


def annotate(
    adata: AnnData,
    atlas: AtlasLike = None,
    *,
    k: int = 50,
    weights: Weights = "distance",
    balance: bool = True,
    where: str | None = None,
    top_n: int = 3,
    min_confidence: float = 0.0,
    max_distance: float | None = None,
    duplicates: Duplicates = "collapse",
    use_rep: str = keys.EMBEDDING,
    key_added: str = keys.LABEL,
    copy: bool = False,
) -> AnnData | None:
    """Label cells by a vote of their nearest labelled cells in an atlas.

    Parameters
    ----------
    adata
        Cells embedded by :func:`scim.tl.embed`.
    atlas
        An open atlas, or the path of one.
        Default: `scim.settings.atlas`, else the atlas that comes with the package.
    k
        Number of neighbours that vote.
    weights
        `"distance"`: a neighbour at cosine distance d weighs 1 / max(d, 1e-6), `"uniform"`: each weighs 1.
    balance
        Whether a neighbour's weight is divided by the square root of the number of voters with its label, so that a
        type does not win because the atlas has many of it, nor by one stray cell of a type that it hardly has.
    where
        Only cells of the atlas that pass this filter vote; see :meth:`scim.atlas.Atlas.select`.
    top_n
        Number of labels, with their shares of the vote, to keep for each cell.
    min_confidence
        Cells whose best label has a smaller share of the vote than this (0 to 1) are unknown.
    max_distance
        Cells whose nearest neighbour is farther than this (cosine distance, 0 to 2) are unknown.
        Default: one and a half times the reach of the atlas, within which 99.5 % of its cells have one of their label
        in another study; new studies, and cells of which few genes were measured, lie farther out than its own.
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
        Share of the vote that the label got, 0 to 1.
    `adata.obs["scim_label_distance"]` : float32
        Cosine distance to the nearest neighbour, 0 to 2.
    `adata.obsm["scim_label_codes"]`, `adata.obsm["scim_label_shares"]` : int32, float32, shape (n_obs, top_n)
        The best labels as positions in `uns["scim_label"]["labels"]` (-1 = no further label), and their shares;
        :func:`scim.get.votes` makes a table of them.
    `adata.uns["scim_label"]` : dict
        Parameters, labels and atlas.

    Raises
    ------
    KeyError
        There is no embedding; run `scim.tl.embed` first.
    ValueError
        Another model made the embedding, or no cell of the atlas may vote.
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
    check_count("top_n", top_n)
    check_choice("weights", weights, get_args(Weights))
    check_choice("duplicates", duplicates, get_args(Duplicates))
    check_range("min_confidence", min_confidence, 1.0)
    if max_distance is not None:
        check_range("max_distance", max_distance, 2.0)
    with opened(atlas) as source:
        X = fitting_rep(adata, source, use_rep)
        labels = source.labels
        limit = farthest_voter(source.reach) if max_distance is None else max_distance
        primary = primary_condition(source) if duplicates == "collapse" else None
        voters = _voters(source, labels, where, primary)
        query = {"distinct": duplicates == "collapse", **_filter(source, labels, where, primary)}
        codes = labels.codes if voters is None else labels.codes[voters]
        each = label_weights(codes, len(labels.names), balance=balance)
        answer = _ask(X, source, labels, each, query, k=k, weights=weights, top_n=top_n)
        params: dict[str, Any] = {"use_rep": use_rep, "k": k, "weights": weights, "balance": balance}
        params |= {"where": where or "", "top_n": top_n}
        farthest = float(limit)
        params |= {"min_confidence": float(min_confidence), "max_distance": farthest}
        params |= {"duplicates": duplicates, "primary_only": primary is not None}
        source_of = origin(source)
    known = answer.known & (answer.votes.shares[:, 0] >= min_confidence) & (answer.distance <= farthest)

    adata = adata.copy() if copy else adata
    _write(adata, key_added, answer._replace(known=known), labels)
    names = {"labels": labels.names.astype(str), "label_ids": labels.ids.astype(str)}
    adata.uns[key_added] = {"params": params, "atlas": source_of, **names}
    logger.info("wrote obs[%r]: %d of %d cells are labelled", key_added, known.sum(), adata.n_obs)
    return adata if copy else None


def _voters(atlas: Atlas, labels: Labels, where: str | None, primary: str | None) -> NDArray[np.int64] | None:
    """Return the ids of the cells that may vote; `None` when all may."""
    labelled = labels.codes >= 0
    conditions = [condition for condition in (where, primary) if condition is not None]
    if not conditions and labelled.all():
        return None
    may = labelled.copy()
    for condition in conditions:
        passes = np.zeros(len(may), dtype=np.bool_)
        passes[atlas.select(condition)] = True
        may &= passes
    if not may.any():
        msg = "No labelled cell of the atlas may vote" + (f": none passes where={where!r}." if where else ".")
        raise ValueError(msg)
    return np.flatnonzero(may).astype(np.int64)


def _filter(atlas: Atlas, labels: Labels, where: str | None, primary: str | None) -> dict[str, Any]:
    labelled = None if (labels.codes >= 0).all() else f"{keys.ATLAS_LABEL} != None"
    return query_filter(atlas, where, primary, labelled)


def _ask(
    X: NDArray[np.float32],
    atlas: Atlas,
    labels: Labels,
    each: NDArray[np.float32],
    query: dict[str, Any],
    *,
    k: int,
    weights: Weights,
    top_n: int,
) -> _Answer:
    votes, distances = [], []
    for start in progress(range(0, max(1, len(X)), _CHUNK), desc="annotate", unit="chunk"):
        neighbors = atlas.index.query(X[start : start + _CHUNK], k, **query)
        votes.append(vote(*neighbors, labels.codes, each, weights=weights, top_n=top_n))
        distances.append(neighbors.distances[:, 0])
    codes, shares = (np.concatenate(parts) for parts in zip(*votes, strict=True))
    # A row of zeros is a cell without counts: its neighbours are chance.
    return _Answer(Votes(codes, shares), np.concatenate(distances), np.asarray(X.any(axis=1)))


def _write(adata: AnnData, key: str, answer: _Answer, labels: Labels) -> None:
    codes = np.where(answer.known, answer.votes.codes[:, 0], -1)
    used = np.unique(codes[codes >= 0])
    position = np.full(len(labels.names) + 1, -1)
    position[used] = np.arange(used.size)
    adata.obs[key] = pd.Categorical.from_codes(position[codes], categories=labels.names[used])
    ids = pd.Series(np.append(labels.ids, "")[codes])
    adata.obs[f"{key}_id"] = pd.Categorical(ids.mask(ids == ""))
    adata.obs[f"{key}_confidence"] = answer.votes.shares[:, 0]
    adata.obs[f"{key}_distance"] = answer.distance
    adata.obsm[f"{key}_codes"] = answer.votes.codes
    adata.obsm[f"{key}_shares"] = answer.votes.shares
