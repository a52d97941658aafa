"""Labels as terms of the Cell Ontology: standardised, compared and sorted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.no_label import read_labels
from scim.ontology._cell_ontology import ancestors, descendants, term_id, term_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray


def standardize(labels: ArrayLike | pd.Series[Any] | pd.Categorical) -> NDArray[np.object_]:
    """Return the name of the term of each label, the label itself where it is not a term, or `None`.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words, of any dtype. Blanks and quotes around them do not count. Missing
        values are cells without a label, and so are words that mean "no label", as "unknown" or "N/A"
        (`scim.settings.no_label` adds to them).

    Returns
    -------
    Array (n_labels,) of str, `None` where there is no label.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.standardize(["CL:0000084", "T-lymphocyte", "'my cells'", "Unknown", None]).tolist()
    ['T cell', 'T cell', 'my cells', None, None]
    """
    read = read_labels(labels).values
    terms = {label: term_id(label) for label in read.categories}
    names = [label if term is None else term_name(term) for label, term in terms.items()]
    out: NDArray[np.object_] = np.array([*names, None], dtype=object)[read.codes]
    return out


def related(labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels may name the same cell type at different depths of the Cell Ontology.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words.

    Returns
    -------
    Array (n, n): true where two labels are the same, or one is an ancestor of the other. A label that is not a term
    of the ontology is related to itself only.
    """
    below = is_descendant(labels, labels)
    return below | below.T


def is_descendant(labels: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """Return which other labels name the same term as each label, or a descendant of it.

    Parameters
    ----------
    labels, others
        Cell Ontology ids or names, or free words.

    Returns
    -------
    Array (n_labels, n_others). A label that is not a term of the ontology has itself as its only descendant.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.is_descendant(["T cell"], ["mature T cell", "T cell", "lymphocyte"]).tolist()
    [[True, True, False]]
    """
    out = np.zeros((len(labels), len(others)), dtype=np.bool_)
    terms = [term_id(other) for other in others]
    for i, label in enumerate(labels):
        term = term_id(label)
        below = frozenset[str]() if term is None else descendants(term) | {term}
        out[i] = [other == label or other_term in below for other, other_term in zip(others, terms, strict=True)]
    return out


def sort_terms(labels: Sequence[str]) -> list[str]:
    """Sort labels so that related ones are adjacent, each behind its ancestors.

    The terms above the labels in the Cell Ontology are walked depth first, from groups of many labels to groups of
    few. A term has several parents there, so the walk needs a rule to make it a tree: of the terms above some but not
    all labels of a group, the one above the most of them comes next with all its labels, then the remaining labels.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words.

    Returns
    -------
    The same labels, as often as they were given. Words of one term are adjacent; words that are not terms of the
    ontology are last, in alphabetical order. The order does not depend on that of the input, but for words of one term.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.sort_terms(["monocyte", "mature T cell", "odd", "B cell", "non-classical monocyte", "T cell"])
    ['T cell', 'mature T cell', 'B cell', 'monocyte', 'non-classical monocyte', 'odd']
    """
    terms = {label: term_id(label) for label in labels}
    lineage = {term: ancestors(term) | {term} for term in terms.values() if term is not None}
    position = {term: i for i, term in enumerate(_walk(lineage, lineage))}
    last = len(position)
    return sorted(labels, key=lambda label: (position.get(terms[label] or "", last), "" if terms[label] else label))


def _walk(group: Collection[str], lineage: dict[str, frozenset[str]]) -> list[str]:
    """Return the terms of a group in the order of the walk; the lineage of a term is itself and all its ancestors."""
    remaining, walked = set(group), []
    while remaining:
        counts = Counter(ancestor for term in remaining for ancestor in lineage[term])
        heads = sorted((term for term in remaining if counts[term] == len(remaining)), key=term_name)
        partial = {ancestor: n for ancestor, n in counts.items() if n < len(remaining)}
        if heads or not partial:
            walked += heads or sorted(remaining, key=term_name)
            remaining -= set(heads or remaining)
            continue
        # Of terms above equally many, the most specific.
        best = min(partial, key=lambda term: (-partial[term], -len(ancestors(term)), term_name(term)))
        branch = {term for term in remaining if best in lineage[term]}
        walked += _walk(branch, lineage)
        remaining -= branch
    return walked
