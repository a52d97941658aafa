"""Labels as terms of the Cell Ontology: one name for all words of a term, and which term is below which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import ontology

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


def _name(word: str) -> str:
    term = ontology.term_id(word)
    return word if term is None else ontology.term_name(term)
