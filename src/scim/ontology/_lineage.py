"""Terms and their nearest relatives."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from scim.ontology._cell_ontology import ancestors, descendants

if TYPE_CHECKING:
    from collections.abc import Iterable


@functools.cache
def parents(term: str) -> frozenset[str]:
    """Return the ids of the terms right above `term`: the ontology has none between.

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
    return _lowest(ancestors(term))


@functools.cache
def children(term: str) -> frozenset[str]:
    """Return the ids of the terms right below `term`.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    below = descendants(term)
    return frozenset(other for other in below if not ancestors(other) & below)


def siblings(term: str) -> frozenset[str]:
    """Return the ids of the other terms right below the parents of `term`.

    Raises
    ------
    KeyError
        `term` is not an id of the Cell Ontology.
    """
    own = (children(parent) for parent in parents(term))
    return frozenset().union(*own) - {term}


def lowest_common_ancestors(term: str, other: str) -> frozenset[str]:
    """Return the ids of the most specific terms that each of two terms is, or is below; there may be several.

    Raises
    ------
    KeyError
        `term` or `other` is not an id of the Cell Ontology.
    """
    return _lowest((ancestors(term) | {term}) & (ancestors(other) | {other}))


def _lowest(terms: Iterable[str]) -> frozenset[str]:
    """Return those of some terms that are above none of them."""
    above = frozenset().union(*map(ancestors, terms))
    return frozenset(terms) - above
