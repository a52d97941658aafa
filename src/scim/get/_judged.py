"""Annotated labels beside given ones, cell by cell: which are the same, which say more, which say less."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import keys
from scim._core.checks import check_adata, check_obs_key
from scim._core.log import warn

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

UNKNOWN = "unknown"

RELATIONS = ("same", "narrower", "broader", "other", UNKNOWN)
"""What an annotated label is to the given one: the same term, a descendant, an ancestor, none of these; missing."""


class Judged(NamedTuple):
    """The cells that have a given label."""

    given: NDArray[np.object_]
    """(n_cells,) name of the given term."""

    annotated: NDArray[np.object_]
    """(n_cells,) name of the annotated term; `None` = unknown."""

    relation: NDArray[np.object_]
    """(n_cells,) one of `RELATIONS`."""

    rows: NDArray[np.int64]
    """(n_cells,) their positions in the AnnData."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n_cells,) whether the cell was labelled."""
        known: NDArray[np.bool_] = self.relation != UNKNOWN
        return known


def judged(adata: AnnData, truth: str, key: str) -> Judged:
    """Compare the labels of `obs[key]` with those of `obs[truth]` by the Cell Ontology.

    Raises
    ------
    KeyError
        A column is not there.
    ValueError
        No cell has a given label, or the Cell Ontology knows none of them.
    """
    check_adata(adata)
    check_obs_key(adata, truth)
    if key not in adata.obs:
        msg = f"obs[{key!r}] not found; run scim.tl.annotate(adata) first. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    given, annotated = ontology.standardize(adata.obs[truth]), ontology.standardize(_answers(adata, key))
    for names in (given, annotated):
        names[np.isin(names.astype(str), keys.NO_LABEL)] = None
    rows = np.flatnonzero(pd.notna(given))
    if rows.size == 0:
        msg = f"obs[{truth!r}] has no label that is known; expected the label of at least one cell."
        raise ValueError(msg)
    record = adata.uns.get(key)
    voters = record.get("labels", ()) if isinstance(record, dict) else ()
    _check_comparable(truth, given[rows], {*annotated[pd.notna(annotated)], *map(str, voters)})
    return Judged(given[rows], annotated[rows], _relations(given[rows], annotated[rows]), rows)


def _check_comparable(truth: str, given: NDArray[np.object_], said: set[str]) -> None:
    """Warn of words that no annotated label can be compared with; refuse a column of nothing else."""
    words = [word for word in dict.fromkeys(given) if word not in said and ontology.term_id(word) is None]
    if not words:
        return
    how = f"Map them first: adata.obs['truth'] = adata.obs[{truth!r}].map({{{words[0]!r}: 'CL:...' or its name, ...}})."
    if len(words) == len(set(given)):
        msg = f"The Cell Ontology knows no value of obs[{truth!r}]: {words[:8]}. {how}"
        raise ValueError(msg)
    warn(
        f"The Cell Ontology does not know these values of obs[{truth!r}], so no label is right for them: {words}. {how}"
    )


def relation_table(given: list[str], annotated: list[str]) -> NDArray[np.object_]:
    """Say of every annotated label what it is to every given one, shape (n_given, n_annotated)."""
    lower, upper = ontology.is_descendant(given, annotated), ontology.is_descendant(annotated, given).T
    chosen = np.select([lower & upper, lower, upper], [0, 1, 2], default=3)
    table: NDArray[np.object_] = np.array(RELATIONS, dtype=object)[chosen]
    return table


def _answers(adata: AnnData, key: str) -> pd.Series[str]:
    """Return the ids of the annotated labels, where they have one, else the labels."""
    labels: pd.Series[str] = adata.obs[key].astype(object)
    if f"{key}_id" not in adata.obs:
        return labels
    ids: pd.Series[str] = adata.obs[f"{key}_id"].astype(object)
    return ids.where(ids.notna() & labels.notna(), labels)


def _relations(given: NDArray[np.object_], annotated: NDArray[np.object_]) -> NDArray[np.object_]:
    row, names = pd.factorize(given)
    column, others = pd.factorize(annotated)
    table = relation_table(list(names), list(others))
    unknown = np.full((len(names), 1), UNKNOWN, dtype=object)
    relation: NDArray[np.object_] = np.hstack([table, unknown])[row, column]  # -1, the last column: missing
    return relation
