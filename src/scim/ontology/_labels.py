"""Labels as terms: one name for all words of a term, and which label is below which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim.ontology._cell_ontology import descendants, term_id, term_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def standardize(labels: ArrayLike | pd.Series[Any] | pd.Categorical) -> NDArray[np.object_]:
    """Return the name of the term of each label, the label itself where the ontology does not know it, or `None`.

    Parameters
    ----------
    labels
        Cell Ontology ids or names, or free words; missing values are cells without a label.

    Returns
    -------
    Array (n_labels,) of str, `None` where the label is missing.

    Examples
    --------
    >>> import scim
    >>> scim.ontology.standardize(["CL:0000084", "T-lymphocyte", "my cells", None]).tolist()
    ['T cell', 'T cell', 'my cells', None]
    """
    column = pd.Series(labels).astype(object)
    names = {word: _name(str(word)) for word in column.dropna().unique()}
    known = column.notna()
    out = np.full(len(column), None, dtype=object)
    out[known] = column[known].map(names)
    return out


def is_descendant(labels: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """Say which of some other labels are a label itself or a descendant of it.

    Parameters
    ----------
    labels, others
        Cell Ontology ids or names, or free words.

    Returns
    -------
    Array (n_labels, n_others): true where the other label names the same term or one below it. A label that the
    ontology does not know has only itself below it.

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
        under = frozenset[str]() if term is None else descendants(term) | {term}
        out[i] = [other == label or other_term in under for other, other_term in zip(others, terms, strict=True)]
    return out


def _name(word: str) -> str:
    term = term_id(word)
    return word if term is None else term_name(term)
