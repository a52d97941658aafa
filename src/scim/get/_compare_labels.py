"""Compare annotated labels with given ones by the Cell Ontology, cell by cell, and count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import check_adata, check_obs_key, check_text, keys, warn
from scim._core.no_label import read_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.types import Bools, Ints

UNKNOWN = "unknown"
RELATIONS = ("same", "narrower", "broader", "other", UNKNOWN)


class LabelComparison(NamedTuple):
    """The cells that have a given label, (n_cells,) each."""

    given: NDArray[np.object_]  # name of the given term
    annotated: NDArray[np.object_]  # name of the annotated term; `None` = unknown
    relation: NDArray[np.object_]  # one of `RELATIONS`
    rows: Ints  # positions of the cells in the AnnData

    @property
    def known(self) -> Bools:
        """Return whether each cell was labelled."""
        return np.asarray(self.relation != UNKNOWN)


def confusion(adata: AnnData, truth: str, *, key: str = keys.LABEL) -> pd.DataFrame:
    """Count the cells by given and annotated label.

    Labels are compared as terms of the Cell Ontology (a name, an id and a synonym are the same) and ordered by it,
    related terms beside each other: see :func:`scim.ontology.sort_terms`.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.
    truth
        Column of obs with the given labels: Cell Ontology ids or names, or free words. Cells without a label are left
        out, and counted in the log: missing values, and words such as "unknown" or "N/A" (`scim.settings.no_label`).

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
        Of the annotated label to the given one: `"same"`, `"narrower"` (a descendant), `"broader"` (an ancestor),
        `"other"`, or `"unknown"`.

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


def compare_labels(adata: AnnData, truth: str, key: str) -> LabelComparison:
    """Compare the labels of `obs[key]` with those of `obs[truth]`.

    Raise KeyError without one of the columns, ValueError if no given label is a term of the ontology or of the atlas.
    """
    check_adata(adata)
    check_text(key=key)
    check_obs_key(adata, truth, "truth")
    if key not in adata.obs:
        msg = f"obs[{key!r}] not found; run scim.tl.annotate(adata) first. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    read = read_labels(adata.obs[truth])
    given, annotated = ontology.standardize(read.values), ontology.standardize(_ids_or_labels(adata, key))
    rows = np.flatnonzero(read.present)
    if rows.size == 0:
        why = f" ({read.describe()})" if read.n_missing else ""
        msg = f"obs[{truth!r}] has no label that is known; expected the label of at least one cell{why}."
        raise ValueError(msg)
    read.report(f"obs[{truth!r}]")
    record = adata.uns.get(key)
    atlas_labels = record.get("labels", ()) if isinstance(record, dict) else ()
    _check_comparable(truth, given[rows], {*annotated[pd.notna(annotated)], *map(str, atlas_labels)})
    return LabelComparison(given[rows], annotated[rows], _relations(given[rows], annotated[rows]), rows)


def _check_comparable(truth: str, given: NDArray[np.object_], annotated: set[str]) -> None:
    """Warn of words that no annotated label can be compared with; refuse a column of nothing else."""
    words = [word for word in dict.fromkeys(given) if word not in annotated and ontology.term_id(word) is None]
    if not words:
        return
    how = f"Map them first: adata.obs['truth'] = adata.obs[{truth!r}].map({{{words[0]!r}: 'CL:...' or its name, ...}})."
    if len(words) == len(set(given)):
        msg = f"No value of obs[{truth!r}] is a term of the Cell Ontology: {words[:8]}. {how}"
        raise ValueError(msg)
    reason = f"These values of obs[{truth!r}] are no terms of the Cell Ontology, so no label is right for them"
    warn(f"{reason}: {words}. {how}")


def _ids_or_labels(adata: AnnData, key: str) -> pd.Series[str]:
    """Return the ids of the annotated labels that have one, else the labels."""
    labels: pd.Series[str] = adata.obs[key].astype(object)
    if f"{key}_id" not in adata.obs:
        return labels
    ids: pd.Series[str] = adata.obs[f"{key}_id"].astype(object)
    return ids.where(ids.notna() & labels.notna(), labels)


def _relations(given: NDArray[np.object_], annotated: NDArray[np.object_]) -> NDArray[np.object_]:
    row, given_names = pd.factorize(given)
    column, annotated_names = pd.factorize(annotated)
    lower = ontology.is_descendant(list(given_names), list(annotated_names))
    upper = ontology.is_descendant(list(annotated_names), list(given_names)).T
    table = np.array(RELATIONS, dtype=object)[np.select([lower & upper, lower, upper], [0, 1, 2], default=3)]
    unknown = np.full((len(given_names), 1), UNKNOWN, dtype=object)
    relation: NDArray[np.object_] = np.hstack([table, unknown])[row, column]  # -1, the last column: missing
    return relation
