"""The Cell Ontology as a graph of terms; it comes with `cellxgene-ontology-guide`, on disk."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT = "CL:0000000"
_ID = re.compile(r"CL[:_]\d{7}", re.ASCII)


@functools.cache
def _parser() -> Any:
    from cellxgene_ontology_guide.ontology_parser import OntologyParser  # noqa: PLC0415  (0.1 s, only on first use)

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


def _check(term: str) -> None:
    if not _ID.fullmatch(term) or not _is_term(term):
        remedy = "scim.ontology.term_id finds ids of names."
        msg = f"{term!r} is not an id of the Cell Ontology (like 'CL:0000084'); {remedy}"
        raise KeyError(msg)


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


@functools.cache
def parents(term: str) -> frozenset[str]:
    """Return the ids of the terms directly above `term`.

    Examples
    --------
    >>> import scim
    >>> [scim.ontology.term_name(term) for term in scim.ontology.parents("CL:0000623")]
    ['group 1 innate lymphoid cell']

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    return _most_specific(ancestors(term))


@functools.cache
def children(term: str) -> frozenset[str]:
    """Return the ids of the terms directly below `term`.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    below = descendants(term)
    return frozenset(descendant for descendant in below if not ancestors(descendant) & below)


def siblings(term: str) -> frozenset[str]:
    """Return the ids of the other children of the parents of `term`.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    return frozenset().union(*map(children, parents(term))) - {term}


def lowest_common_ancestors(term: str, other: str) -> frozenset[str]:
    """Return the ids of the most specific terms at or above both of two terms; there may be several.

    Raises
    ------
    KeyError
        `term` or `other` is not an id of the Cell Ontology.
    """
    return _most_specific((ancestors(term) | {term}) & (ancestors(other) | {other}))


def _most_specific(terms: Iterable[str]) -> frozenset[str]:
    """Return the terms that are above no other of them."""
    return frozenset(terms) - frozenset().union(*map(ancestors, terms))
