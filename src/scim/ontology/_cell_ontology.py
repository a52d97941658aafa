"""The Cell Ontology as a graph: names to ids, who is whose kin. It comes with `cellxgene-ontology-guide`, on disk."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ROOT = "CL:0000000"
_ID = re.compile(r"CL[:_]\d{7}", re.ASCII)


@functools.cache
def _parser() -> Any:
    from cellxgene_ontology_guide.ontology_parser import OntologyParser  # noqa: PLC0415  (0.1 s, only when asked)

    return OntologyParser()


@functools.cache
def _id_of_name() -> dict[str, str]:
    """Map lower-case names and exact synonyms to ids; a name goes before another term's synonym."""
    parser = _parser()
    names = {name.lower(): term for name, term in parser.get_term_label_to_id_map("CL").items() if _is_term(term)}
    synonyms: dict[str, set[str]] = {}
    for term in names.values():
        for synonym in parser.get_term_synonyms(term):
            synonyms.setdefault(synonym.lower(), set()).add(term)
    unique = {synonym: terms.pop() for synonym, terms in synonyms.items() if len(terms) == 1}
    return unique | names


@functools.cache
def _is_term(term: str) -> bool:
    return bool(_parser().is_valid_term_id(term)) and not _parser().is_term_deprecated(term)


def term_id(label: str) -> str | None:
    """Return the Cell Ontology id of an id, a name or an unambiguous synonym (any case); `None` if there is none.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.term_id("T lymphocyte")
    'CL:0000084'
    """
    if _ID.fullmatch(label):
        term = label.replace("_", ":")
        return term if _is_term(term) else None
    return _id_of_name().get(label.strip().lower())


def term_name(term: str) -> str:
    """Return the name of a Cell Ontology id.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.term_name("CL:0000084")
    'T cell'

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    _check(term)
    return str(_parser().get_term_label(term))


@functools.cache
def ancestors(term: str) -> frozenset[str]:
    """Return the ids of all terms above `term`, itself left out.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    _check(term)
    return frozenset(_parser().get_term_ancestors(term)) - {term}


@functools.cache
def descendants(term: str) -> frozenset[str]:
    """Return the ids of all terms below `term`, itself left out.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    _check(term)
    return frozenset(_parser().get_term_descendants(term)) - {term}


@functools.cache
def depth(term: str) -> int:
    """Return the number of steps from the root of the Cell Ontology, "cell", down to `term` by the shortest way.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.depth("CL:0000000")
    0

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    _check(term)
    return int(_parser().get_term_ancestors_with_distances(term, include_self=True).get(_ROOT, 0))


def related(labels: Sequence[str]) -> NDArray[np.bool_]:
    """Say which labels may be the same cell type seen at another depth.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words.

    Returns
    -------
    Array (n, n): true where two labels are the same, or one is an ancestor of the other in the Cell Ontology.
    A label that the ontology does not know is kin to itself only.
    """
    terms = [term_id(label) for label in labels]
    above = [frozenset() if term is None else ancestors(term) for term in terms]
    related = np.eye(len(labels), dtype=np.bool_)
    for i, term in enumerate(terms):
        for j, other in enumerate(terms):
            if term is not None and other is not None:
                related[i, j] = term == other or term in above[j] or other in above[i]
            else:
                related[i, j] = labels[i] == labels[j]
    return related


def _check(term: str) -> None:
    if not _ID.fullmatch(term) or not _is_term(term):
        msg = (
            f"{term!r} is not an id of the Cell Ontology (like 'CL:0000084'); scim.ontology.term_id finds ids of names."
        )
        raise KeyError(msg)
