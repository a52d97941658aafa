"""Count cells by given and annotated label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim import ontology
from scim._core import keys
from scim.get._compare_labels import RELATIONS, UNKNOWN, compare_labels

if TYPE_CHECKING:
    from anndata import AnnData


def confusion(adata: AnnData, truth: str, *, key: str = keys.LABEL) -> pd.DataFrame:
    """Count the cells by given and annotated label.

    Labels are compared as terms of the Cell Ontology (a name, an id and a synonym are the same) and ordered by it,
    related terms beside each other: see :func:`scim.ontology.sort_terms`.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    truth
        Column of obs with the given labels: Cell Ontology ids or names, or free words. Cells where it is missing,
        `"unknown"` or `"na"` are left out.
    key
        `key_added` of the annotation.

    Returns
    -------
    Frame with a row for each pair that occurs:

    `given`, `annotated` : categorical
        Names of the terms. The categories are in the order of the ontology, the last of `annotated` is `"unknown"`.
    `n` : int64
        Number of cells.
    `share` : float64
        Of the cells of the given label, 0 to 1.
    `relation` : categorical
        Relation of the annotated label to the given one: `"same"`, `"narrower"` (a descendant), `"broader"` (an
        ancestor), `"other"`, or `"unknown"`.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `truth` is not a column.
    ValueError
        No cell has a given label.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> frame = scim.get.confusion(adata, "cell_type")
    >>> frame["given"].cat.categories.tolist()
    ['T cell', 'B cell', 'classical monocyte']
    """
    cells = compare_labels(adata, truth, key)
    order = ontology.sort_terms([*set(cells.given) | (set(cells.annotated) - {None})])
    annotated = pd.Series(cells.annotated).fillna(UNKNOWN)
    names = [name for name in order if name in set(annotated) and name != UNKNOWN]
    given = pd.Categorical(cells.given, categories=[name for name in order if name in set(cells.given)])
    frame = pd.DataFrame({"given": given, "annotated": pd.Categorical(annotated, categories=[*names, UNKNOWN])})
    frame["relation"] = pd.Categorical(cells.relation, categories=list(RELATIONS))
    counted = frame.groupby(list(frame), observed=True).size().rename("n").reset_index()
    counted["share"] = counted["n"] / counted.groupby("given", observed=True)["n"].transform("sum")
    return counted[["given", "annotated", "n", "share", "relation"]]
