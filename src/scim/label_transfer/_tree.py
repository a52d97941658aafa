"""The labels of an atlas, and the terms of the Cell Ontology above them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from scim import ontology

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_HEMATOPOIETIC = "CL:0000988"  # the one term just below the root by which people call cells
_SECRETING = "secreting cell"


@dataclass(frozen=True)
class LabelTree:
    """Which labels lie below which terms. The first terms are the labels themselves; the others join some of them."""

    names: NDArray[np.object_]
    """(n_terms,) names."""

    ids: NDArray[np.object_]
    """(n_terms,) Cell Ontology ids; empty text where a label has none."""

    inside: NDArray[np.bool_]
    """(n_terms, n_labels): whether a label is the term or lies below it."""

    above: NDArray[np.bool_]
    """(n_terms, n_labels): whether a label lies above the term: such a neighbour says neither yes nor no."""

    within: NDArray[np.bool_]
    """(n_terms, n_terms): whether the first term is the second or lies below it."""

    paths: NDArray[np.int32]
    """(n_labels, width): the label, then the terms above it, those of fewest labels first; -1 = no more."""

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return int(self.inside.shape[1])

    @property
    def kin(self) -> NDArray[np.bool_]:
        """(n_labels, n_labels): whether two labels are the same, or one lies above the other."""
        below = self.inside[: self.n_labels]
        return below | below.T

    @classmethod
    def of(cls, names: Sequence[str], ids: Sequence[str], *, also: Iterable[str] = ()) -> Self:
        """Find the terms above some labels.

        Of terms above the very same labels the most specific is kept, and none that is above all labels: such an
        answer would say nothing. Terms as "secretory cell" or "eukaryotic cell" are left out too.

        Parameters
        ----------
        names, ids
            Of the labels; an id is empty where the Cell Ontology does not know the label.
        also
            Cell Ontology ids of terms to keep whatever they join.
        """
        lines = [frozenset({term} | ontology.ancestors(term)) if term else frozenset() for term in ids]
        terms = _joining(lines, set(ids), set(also))
        all_ids = np.array([*ids, *terms], dtype=object)
        all_names = np.array([*names, *map(ontology.term_name, terms)], dtype=object)
        line_of = [*lines, *(frozenset({term} | ontology.ancestors(term)) for term in terms)]
        within = np.eye(len(all_ids), dtype=np.bool_)
        for upper, term in enumerate(all_ids):
            if term:
                within[:, upper] |= [term in line for line in line_of]
        inside = within[: len(names)].T.copy()
        above = within[:, : len(names)] & ~inside
        depth = np.array([len(line) for line in line_of])
        return cls(all_names, all_ids, inside, above, within, _paths(inside, depth, len(names)))


def _joining(lines: list[frozenset[str]], labels: set[str], also: set[str]) -> list[str]:
    """Return the terms above labels: for each set of labels that some term joins, the most specific one."""
    members: dict[str, set[int]] = {}
    for label, line in enumerate(lines):
        for term in line:
            members.setdefault(term, set()).add(label)
    best: dict[frozenset[int], tuple[bool, int, str]] = {}
    for term, joined in members.items():
        key = frozenset(joined)
        rank = (term in labels, len(ontology.ancestors(term)), term)
        best[key] = max(best.get(key, rank), rank)
    chosen = {rank[2] for key, rank in best.items() if 1 < len(key) < len(lines)}
    return sorted(({term for term in chosen if _tells(term)} | (also & set(members))) - labels)


def _tells(term: str) -> bool:
    """Say whether a term says what a cell is, and not only that it is a cell of some kind or that it secretes."""
    return term == _HEMATOPOIETIC or (ontology.depth(term) > 1 and not ontology.term_name(term).endswith(_SECRETING))


def _paths(inside: NDArray[np.bool_], depth: NDArray[np.int_], n_labels: int) -> NDArray[np.int32]:
    size = inside.sum(axis=1)
    order = np.lexsort((-depth, size))
    lines = [[label, *(t for t in order if inside[t, label] and t != label)] for label in range(n_labels)]
    paths = np.full((n_labels, max(map(len, lines), default=1)), -1, dtype=np.int32)
    for label, line in enumerate(lines):
        paths[label, : len(line)] = line
    return paths
