"""Labels as terms of the Cell Ontology: one name for all words of a term, and which term is below which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import ontology
from scim._core.checks import check_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def named(labels: ArrayLike | pd.Series[Any] | pd.Categorical) -> NDArray[np.object_]:
    """Return the name of the term of each label, the label itself where the ontology does not know it, or `None`.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words; missing values are cells without a label.
    """
    column = pd.Series(labels).astype(object)
    names = {word: _name(str(word)) for word in column.dropna().unique()}
    known = column.notna()
    out = np.full(len(column), None, dtype=object)
    out[known] = column[known].map(names)
    return out


def below(labels: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """Say which of some other labels are a label itself or a descendant of it, shape (n_labels, n_others)."""
    out = np.zeros((len(labels), len(others)), dtype=np.bool_)
    terms = [ontology.term_id(other) for other in others]
    for i, label in enumerate(labels):
        term = ontology.term_id(label)
        under = frozenset() if term is None else ontology.descendants(term)
        out[i] = [other == label or other_term in under for other, other_term in zip(others, terms, strict=True)]
    return out


def lifted(labels: NDArray[np.object_], levels: Sequence[str]) -> NDArray[np.object_]:
    """Return for each label the most specific of some terms at or above it, or the label itself.

    Parameters
    ----------
    labels
        From :func:`named`.
    levels
        From :func:`known_terms`.
    """
    if not levels:
        return labels
    deepest = sorted(levels, key=lambda term: -len(ontology.ancestors(term)))

    def of(word: str) -> str:
        term = ontology.term_id(word)
        above = frozenset() if term is None else ontology.ancestors(term) | {term}
        return next((ontology.term_name(level) for level in deepest if level in above), word)

    column = pd.Series(labels)
    out = column.map({word: of(word) for word in column.dropna().unique()}).to_numpy(dtype=object)
    out[column.isna()] = None
    return out


def known_terms(name: str, labels: Sequence[str]) -> list[str]:
    """Return the Cell Ontology ids of ids or names.

    Raises
    ------
    ValueError
        The ontology does not know one.
    """
    terms = {label: ontology.term_id(label) for label in check_names(name, labels)}
    unknown = [label for label, term in terms.items() if term is None]
    if unknown:
        msg = f"{name} must be ids or names of the Cell Ontology, like 'CL:0000084' or 'T cell'; unknown: {unknown}."
        raise ValueError(msg)
    return [term for term in terms.values() if term is not None]


def _name(word: str) -> str:
    term = ontology.term_id(word)
    return word if term is None else ontology.term_name(term)
