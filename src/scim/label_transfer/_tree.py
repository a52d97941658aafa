"""The labels of a reference and the terms of the Cell Ontology above them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import FormatError, check_count, check_names, keys
from scim._core.no_label import clean_text, is_no_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Level = str | int | Sequence[str] | None
"""Terms that may be predicted; see :meth:`scim.label_transfer.LabelTransfer.predict`."""

_HEMATOPOIETIC = "CL:0000988"  # the one term just below the root by which people call cells
_SECRETING = "secreting cell"


@dataclass(frozen=True)
class LabelTree:
    """Labels and the terms above them. The first terms are the labels themselves; each other term joins some labels."""

    names: NDArray[np.object_]
    """(n_terms,) names."""

    ids: NDArray[np.object_]
    """(n_terms,) Cell Ontology ids; empty text where a label has none."""

    inside: NDArray[np.bool_]
    """(n_terms, n_labels): whether a label is the term or lies below it."""

    above: NDArray[np.bool_]
    """(n_terms, n_labels): whether a label lies above the term: its cells count neither for nor against the term."""

    within: NDArray[np.bool_]
    """(n_terms, n_terms): whether the first term is the second or lies below it."""

    paths: NDArray[np.int32]
    """(n_labels, width): the label, then the terms above it, those of fewest labels first; -1 = no more."""

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return int(self.inside.shape[1])

    @property
    def labels(self) -> NDArray[np.object_]:
        """(n_labels,) names of the labels."""
        return self.names[: self.n_labels]

    @property
    def label_ids(self) -> NDArray[np.object_]:
        """(n_labels,) Cell Ontology ids of the labels; empty text where a label has none."""
        return self.ids[: self.n_labels]

    @property
    def related(self) -> NDArray[np.bool_]:
        """(n_labels, n_labels): whether two labels are the same, or one lies above the other."""
        below = self.inside[: self.n_labels]
        return below | below.T

    @classmethod
    def of(cls, names: Sequence[str], ids: Sequence[str], *, keep: Iterable[str] = ()) -> Self:
        """Find the terms above labels.

        Of terms above the very same labels the most specific is kept; terms above all labels are left out, and such as
        "secretory cell" or "eukaryotic cell", but for the ids in `keep`. A label without a term has an empty id.
        `FormatError`: an id, which came from a file, is not in the Cell Ontology.
        """
        if unknown := [term for term in ids if term and ontology.term_id(term) != term]:
            msg = f"{unknown[0]!r}, the id of a label, is not in the Cell Ontology: labels were changed, "
            raise FormatError(msg + "or a newer scim wrote them.")
        lineages = [_lineage(term) for term in ids]
        terms = _joining_terms(lineages, set(ids), set(keep))
        all_ids = np.array([*ids, *terms], dtype=object)
        all_names = np.array([*names, *map(ontology.term_name, terms)], dtype=object)
        lineages += map(_lineage, terms)
        within = np.eye(len(all_ids), dtype=np.bool_)
        for upper, term in enumerate(all_ids):
            if term:
                within[:, upper] |= [term in lineage for lineage in lineages]
        inside = within[: len(names)].T.copy()
        above = within[:, : len(names)] & ~inside
        depth = np.array([len(lineage) for lineage in lineages])
        return cls(all_names, all_ids, inside, above, within, _paths(inside, depth, len(names)))

    def choose(self, allow: Sequence[str] | str | None, block: Sequence[str] | str | None) -> NDArray[np.bool_] | None:
        """Return which labels are left by `allow` and `block`, (n_labels,); `None`: all.

        Raises
        ------
        ValueError
            A word names no label nor a term above one, or no label is left.
        """
        if allow is None and block is None:
            return None
        chosen = np.ones(self.n_labels, dtype=np.bool_) if allow is None else self._at_or_below("allow", allow)
        if block is not None:
            chosen &= ~self._at_or_below("block", block)
        if not chosen.any():
            present = self.labels.tolist()
            msg = f"allow={allow!r} and block={block!r} leave no label of the reference. Present: {present}."
            raise ValueError(msg)
        return chosen

    def _at_or_below(self, argument: str, words: Sequence[str] | str) -> NDArray[np.bool_]:
        """Return which labels have one of the names, or are a term named or below it."""
        present = self.labels.tolist()
        chosen = np.zeros(self.n_labels, dtype=np.bool_)
        for word in map(clean_text, check_names(argument, words)):
            if argument == "block" and is_no_label(word):  # cells without a label take no part anyway
                continue
            term = ontology.term_id(word)
            below = frozenset() if term is None else ontology.descendants(term) | {term}
            matches = (self.labels == word) | np.isin(self.label_ids.astype(str), list(below))
            if not matches.any():
                close = difflib.get_close_matches(word, present, n=3)
                hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"Present: {present}."
                msg = f"{argument} names {word!r}, but the reference has no label of this name nor one below it; {hint}"
                raise ValueError(msg)
            chosen |= matches
        return chosen

    def at_level(self, level: Level) -> tuple[LabelTree, NDArray[np.bool_]]:
        """Return the tree with the terms of a level, and which of its terms may be predicted, (n_terms,).

        Raises
        ------
        ValueError
            A word is neither a label nor a term, or no label nor a term above one is left.
        """
        if level is None:
            return self, np.ones(len(self.names), dtype=np.bool_)
        if isinstance(level, str) and level == keys.ATLAS_LABEL:
            return self, np.arange(len(self.names)) < self.n_labels
        if isinstance(level, int | np.integer):
            depth = check_count("level", level)
            terms = {term for label in self.label_ids for term in _lineage(label) if ontology.depth(term) == depth}
            labels = np.array([not term or ontology.depth(term) < depth for term in self.label_ids], dtype=np.bool_)
        else:
            terms, labels = self._listed(level)
        tree = LabelTree.of(self.labels.tolist(), self.label_ids.tolist(), keep=terms)
        allowed = np.isin(tree.ids.astype(str), list(terms))
        allowed[: tree.n_labels] |= labels
        if not allowed.any():
            words = level if isinstance(level, str | int | np.integer) else ", ".join(map(str, level))
            labelled = self.labels.tolist()
            msg = f"level={words!r} names no label of the reference nor a term above one. Labels: {labelled}."
            raise ValueError(msg)
        return tree, allowed

    def _listed(self, level: Sequence[str] | str) -> tuple[set[str], NDArray[np.bool_]]:
        """Return the ids of the terms of a list, and which labels have a name in it."""
        words = check_names("level", level)
        terms = {word: ontology.term_id(word) for word in words}
        if unknown := [word for word, term in terms.items() if term is None and word not in self.labels]:
            choices = f"None, {keys.ATLAS_LABEL!r}, a depth, or ids or names of the Cell Ontology"
            msg = f"level must be {choices}, as 'CL:0000084' or 'T cell'; unknown: {unknown}."
            raise ValueError(msg)
        return {term for term in terms.values() if term is not None}, np.isin(self.labels.astype(str), words)

    def as_categories(self, terms: NDArray[np.int32]) -> tuple[pd.Categorical, pd.Categorical]:
        """Return names and Cell Ontology ids of terms, of which -1 is missing."""
        used = np.unique(terms[terms >= 0])
        position = np.full(len(self.names) + 1, -1)
        position[used] = np.arange(used.size)
        ids = pd.Series(np.append(self.ids, "")[terms], dtype=object)
        names = pd.Categorical.from_codes(position[terms], categories=pd.Index(self.names[used]))
        return names, pd.Categorical(ids.mask(ids == ""))


def _lineage(term: str) -> frozenset[str]:
    """Return a term and its ancestors; of a label without a term, nothing."""
    return ontology.ancestors(term) | {term} if term else frozenset()


def _joining_terms(lineages: list[frozenset[str]], labels: set[str], keep: set[str]) -> list[str]:
    """Return the terms above labels: for each set of labels that a term joins, the most specific term."""
    members: dict[str, set[int]] = {}
    for label, lineage in enumerate(lineages):
        for term in lineage:
            members.setdefault(term, set()).add(label)
    best: dict[frozenset[int], tuple[bool, int, str]] = {}
    for term, joined in members.items():
        key = frozenset(joined)
        rank = (term in labels, len(ontology.ancestors(term)), term)
        best[key] = max(best.get(key, rank), rank)
    chosen = {rank[2] for key, rank in best.items() if 1 < len(key) < len(lineages)}
    return sorted(({term for term in chosen if _is_informative(term)} | (keep & set(members))) - labels)


def _is_informative(term: str) -> bool:
    """Return whether a term is more than a cell of any kind, or one that secretes."""
    return term == _HEMATOPOIETIC or (ontology.depth(term) > 1 and not ontology.term_name(term).endswith(_SECRETING))


def _paths(inside: NDArray[np.bool_], depth: NDArray[np.int_], n_labels: int) -> NDArray[np.int32]:
    order = np.lexsort((-depth, inside.sum(axis=1)))
    terms = [[label, *(t for t in order if inside[t, label] and t != label)] for label in range(n_labels)]
    paths = np.full((n_labels, max(map(len, terms), default=1)), -1, dtype=np.int32)
    for label, path in enumerate(terms):
        paths[label, : len(path)] = path
    return paths
