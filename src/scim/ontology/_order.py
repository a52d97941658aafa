"""Labels in an order in which kin stand together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scim.ontology._cell_ontology import ancestors, term_id, term_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def sort_terms(labels: Sequence[str]) -> list[str]:
    """Sort labels so that those of a kind stand together, each behind its ancestors.

    The terms above the labels in the Cell Ontology are walked depth first, from groups of many labels to groups of
    few. A term has several parents there, so the walk needs a rule to make it a tree: of the terms above some but not
    all labels of a group, the one above the most of them comes next with all its labels, then what is left.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words.

    Returns
    -------
    The same labels, as often as they were given. Words of one term are neighbours; words that the ontology does not
    know are last, in alphabetical order. The order does not depend on that of the input, but for words of one term.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.sort_terms(["monocyte", "mature T cell", "odd", "B cell", "non-classical monocyte", "T cell"])
    ['T cell', 'mature T cell', 'B cell', 'monocyte', 'non-classical monocyte', 'odd']
    """
    terms = {label: term_id(label) for label in labels}
    above = {term: ancestors(term) | {term} for term in terms.values() if term is not None}
    place = {term: i for i, term in enumerate(_walk(above, above))}
    last = len(place)
    return sorted(labels, key=lambda label: (place.get(terms[label] or "", last), "" if terms[label] else label))


def _walk(group: Collection[str], above: dict[str, frozenset[str]]) -> list[str]:
    """Return terms in the order of the walk.

    Parameters
    ----------
    group
        The terms.
    above
        For each of them, the terms above it and itself.
    """
    left, walked = set(group), []
    while left:
        over = Counter(term for one in left for term in above[one])
        heads = sorted((one for one in left if over[one] == len(left)), key=term_name)
        some = {term: n for term, n in over.items() if n < len(left)}
        if heads or not some:
            walked += heads or sorted(left, key=term_name)
            left -= set(heads or left)
            continue
        # Of terms above equally many, the most specific.
        best = min(some, key=lambda term: (-some[term], -len(ancestors(term)), term_name(term)))
        part = {one for one in left if best in above[one]}
        walked += _walk(part, above)
        left -= part
    return walked
