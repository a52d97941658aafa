"""Who votes on the labels of a query, and what may be said."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim import ontology
from scim._core import keys
from scim._core.checks import check_count, check_names
from scim.label_transfer import LabelTree, centroids_of, label_weights
from scim.tl._filter import primary_condition, query_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas import Atlas, Labels
    from scim.label_transfer import Confidence, Voters

    Level = str | int | Sequence[str] | None


_PARTS = " || "


class Ballot(NamedTuple):
    """A vote as it was asked for."""

    voters: Voters
    """Cells that may not vote have no label."""

    confidence: Confidence
    query: dict[str, Any]
    """Arguments of the search by which only voters are found."""

    each: NDArray[np.float32]
    """(n_labels,) weight of each label."""

    centroids: NDArray[np.bool_]
    """(n_centroids,) which are of labels and studies that vote."""

    may_be_said: NDArray[np.bool_]
    """(n_terms,)."""


def ballot(
    atlas: Atlas,
    *,
    label_key: str,
    allow: Sequence[str] | str | None,
    block: Sequence[str] | str | None,
    where: str | None,
    level: Level,
    collapse: bool,
) -> Ballot:
    """Find who may vote.

    Raises
    ------
    KeyError
        There is no such column.
    ValueError
        A label or a term is unknown, or no cell may vote.
    FilterError
        `where` cannot be read.
    """
    labels, voters, confidence = atlas.electorate(label_key)
    if not collapse:
        voters = voters._replace(codes=labels.codes)
    only = _chosen(labels, allow, block)
    primary = primary_condition(atlas) if collapse else None
    may = _may_vote(atlas, voters.codes, only, where)
    if not may.any():
        msg = "No labelled cell of the atlas may vote" + (f": none passes where={where!r}." if where else ".")
        raise ValueError(msg)
    if not may[voters.codes >= 0].all():
        voters = voters._replace(codes=np.where(may, voters.codes, -1).astype(np.int32))
    if where is not None:  # the middles that are kept may be of studies that do not vote
        middles = centroids_of(atlas.index.vectors, voters.codes, voters.studies, atlas.index.dim)
        voters = voters._replace(centroids=middles)
    tree, said = _terms(labels, voters.tree, level)
    codes = voters.codes[may]
    there = _pairs(codes, voters.studies[may], tree.n_labels, int(voters.studies.max(initial=0)) + 1)
    return Ballot(
        voters._replace(tree=tree),
        confidence,
        {"distinct": collapse, **_search(atlas, labels, label_key, only, [where, primary], may)},
        label_weights(np.bincount(codes, minlength=tree.n_labels)),
        there[voters.centroids.labels, voters.centroids.studies],
        said,
    )


def _pairs(labels: NDArray[np.int32], studies: NDArray[np.int32], n_labels: int, n_studies: int) -> NDArray[np.bool_]:
    """Return which labels occur in which studies, (n_labels, n_studies)."""
    there = np.zeros((n_labels, n_studies), dtype=np.bool_)
    there[labels, studies] = True
    return there


def _chosen(
    labels: Labels, allow: Sequence[str] | str | None, block: Sequence[str] | str | None
) -> NDArray[np.bool_] | None:
    """Return which labels may vote; `None`: all."""
    if allow is None and block is None:
        return None
    chosen = np.ones(len(labels.names), dtype=np.bool_) if allow is None else _named(labels, "allow", allow)
    if block is not None:
        chosen &= ~_named(labels, "block", block)
    if not chosen.any():
        msg = f"allow={allow!r} and block={block!r} leave no label of the atlas. Present: {labels.names.tolist()}."
        raise ValueError(msg)
    return chosen


def _named(labels: Labels, argument: str, wanted: Sequence[str] | str) -> NDArray[np.bool_]:
    """Return which labels are those wanted or, as the Cell Ontology has it, below them."""
    chosen = np.zeros(len(labels.names), dtype=np.bool_)
    for word in check_names(argument, wanted):
        term = ontology.term_id(word)
        below = frozenset() if term is None else ontology.descendants(term) | {term}
        here = (labels.names == word) | np.isin(labels.ids.astype(str), list(below))
        if not here.any():
            close = difflib.get_close_matches(word, labels.names.tolist(), n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"Present: {labels.names.tolist()}."
            msg = f"{argument} names {word!r}, but the atlas has no label of this name nor one below it; {hint}"
            raise ValueError(msg)
        chosen |= here
    return chosen


def _search(
    atlas: Atlas,
    labels: Labels,
    label_key: str,
    only: NDArray[np.bool_] | None,
    conditions: list[str | None],
    may: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return the arguments of the search by which only cells that may vote are found."""
    words = [] if only is None else labels.names[only].tolist()
    if (labels.codes[atlas.ids] >= 0).all() and only is None:
        return query_filter(atlas, *conditions)
    # A filter has no word for some names, and takes those of several parts, "a || b", for each of the parts.
    if only is None or any(sign in word for sign in ("`", _PARTS) for word in (label_key, *labels.names)):
        return {"allowed": np.flatnonzero(may)}
    return query_filter(atlas, *conditions, f"`{label_key}` in {words!r}")


def _may_vote(
    atlas: Atlas, codes: NDArray[np.int32], only: NDArray[np.bool_] | None, where: str | None
) -> NDArray[np.bool_]:
    may = codes >= 0
    if only is not None:
        may &= only[codes]
    if where is not None:
        passes = np.zeros(len(may), dtype=np.bool_)
        passes[atlas.select(where)] = True
        may &= passes
    return may


def _terms(labels: Labels, tree: LabelTree, level: Level) -> tuple[LabelTree, NDArray[np.bool_]]:
    """Return the labels with the terms above them, and which of these may be said."""
    if level is None:
        return tree, np.ones(len(tree.names), dtype=np.bool_)
    if isinstance(level, str) and level == keys.ATLAS_LABEL:
        return tree, np.arange(len(tree.names)) < tree.n_labels
    wanted, own = (
        _at_depth(labels, check_count("level", level))
        if isinstance(level, int | np.integer)
        else _listed(labels, level)
    )
    tree = LabelTree.of(labels.names.tolist(), labels.ids.tolist(), also=wanted)
    said = np.isin(tree.ids.astype(str), list(wanted))
    said[: tree.n_labels] |= own
    if not said.any():
        present = labels.names.tolist()
        msg = f"level={as_text(level)!r} names no label of the atlas nor a term above one. Labels: {present}."
        raise ValueError(msg)
    return tree, said


def _at_depth(labels: Labels, depth: int) -> tuple[set[str], NDArray[np.bool_]]:
    """Return the terms of a depth above the labels, and which labels are less deep or no terms."""
    lines = [ontology.ancestors(term) | {term} if term else frozenset() for term in labels.ids]
    wanted = {term for line in lines for term in line if ontology.depth(term) == depth}
    return wanted, np.array([not term or ontology.depth(term) < depth for term in labels.ids], dtype=np.bool_)


def _listed(labels: Labels, level: Sequence[str] | str) -> tuple[set[str], NDArray[np.bool_]]:
    """Return the terms of a list, and which labels it names."""
    words = check_names("level", level)
    terms = {word: ontology.term_id(word) for word in words}
    unknown = [word for word, term in terms.items() if term is None and word not in labels.names]
    if unknown:
        msg = (
            f"level must be None, {keys.ATLAS_LABEL!r}, a depth, or ids or names of the Cell Ontology, as "
            f"'CL:0000084' or 'T cell'; unknown: {unknown}."
        )
        raise ValueError(msg)
    return {term for term in terms.values() if term is not None}, np.isin(labels.names.astype(str), words)


def as_text(choice: Level) -> str:
    """Return an argument as `uns` can keep it."""
    if choice is None:
        return ""
    return str(choice) if isinstance(choice, str | int | np.integer) else ", ".join(map(str, choice))
