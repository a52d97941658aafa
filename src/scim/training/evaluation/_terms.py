"""Levels of the Cell Ontology: labels lifted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim import ontology
from scim._core.checks import check_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


def lifted(labels: NDArray[np.object_], levels: Sequence[str]) -> NDArray[np.object_]:
    """Return for each label the most specific of some terms at or above it, or the label itself.

    Parameters
    ----------
    labels
        From :func:`scim.ontology.standardize`.
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
