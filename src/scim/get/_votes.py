"""Return the neighbour votes that `tl.annotate` kept, by cell or by group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import check_adata, check_obs_key, keys
from scim._core.adata import Groups, annotation_record, groups_of
from scim._core.no_label import read_labels
from scim.get._compare_labels import UNKNOWN

if TYPE_CHECKING:
    from anndata import AnnData


def votes(adata: AnnData, *, key: str = keys.LABEL) -> pd.DataFrame:
    """Return the labels with most votes of each cell, with their shares of the vote.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.

    Returns
    -------
    Frame with a row for each cell and label, best first:

    `cell` : str
        Name of the cell.
    `rank` : int
        1 = most votes.
    `label`, `label_id` : str
        Name, and Cell Ontology id (empty without one).
    `share` : float32
        Share of the vote, 0 to 1.

    Raises
    ------
    KeyError
        There is no annotation of this name.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, top=2)
    >>> scim.get.votes(adata).columns.tolist()
    ['cell', 'rank', 'label', 'label_id', 'share']
    """
    check_adata(adata)
    record = annotation_record(adata, key)
    codes = np.asarray(adata.obsm[f"{key}_codes"])
    cell, rank = np.nonzero(codes >= 0)
    label = codes[cell, rank]
    return pd.DataFrame(
        {
            "cell": adata.obs_names.to_numpy(dtype=object)[cell],
            "rank": rank + 1,
            "label": np.asarray(record["labels"], dtype=object)[label],
            "label_id": np.asarray(record["label_ids"], dtype=object)[label],
            "share": np.asarray(adata.obsm[f"{key}_shares"])[cell, rank],
        }
    )


def vote_shares(adata: AnnData, groupby: str | None = None, *, key: str = keys.LABEL) -> pd.DataFrame:
    r"""Return the mean shares of the vote of groups of cells.

    The share of label :math:`l` in group :math:`g` is :math:`\sum_{i \in g} s_{il} / n_g`, where :math:`s_{il}` is
    the share that was kept of cell :math:`i`: 0 if the label is not among its best `top`.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.
    groupby
        Column of obs with the groups; cells where it is missing are left out. Default: the annotated label, in the
        order of :func:`scim.ontology.sort_terms`, and the unknown cells as a group of their own, the last.

    Returns
    -------
    Frame with a row for each group and label that has a share of it, greatest first:

    `group` : categorical
        Name of the group, in the order of the categories.
    `n_cells` : int64
        Its number of cells.
    `label` : categorical
        Its name; the categories are in the order of :func:`scim.ontology.sort_terms`.
    `label_id` : str
        Its Cell Ontology id (empty without one).
    `share` : float64
        Mean share of the vote, 0 to 1.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `groupby` is not a column.
    ValueError
        All values of `groupby` are missing.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> frame = scim.get.vote_shares(adata, "cell_type")
    >>> frame["group"].cat.categories.tolist()
    ['B cell', 'T cell', 'classical monocyte']
    """
    check_adata(adata)
    record = annotation_record(adata, key)
    names, group_of = _by_label(adata, key) if groupby is None else groups_of(adata, groupby)
    labels, ids = (np.asarray(record[name], dtype=object) for name in ("labels", "label_ids"))
    codes = np.asarray(adata.obsm[f"{key}_codes"])
    cell, rank = np.nonzero((codes >= 0) & (group_of >= 0)[:, None])
    total = np.zeros((len(names), len(labels)))
    np.add.at(total, (group_of[cell], codes[cell, rank]), np.asarray(adata.obsm[f"{key}_shares"])[cell, rank])
    n = np.bincount(group_of[group_of >= 0], minlength=len(names))
    row, label = np.nonzero(total)
    label_names = pd.Categorical(labels[label], categories=ontology.sort_terms(list(labels[np.unique(label)])))
    columns = {"group": pd.Categorical.from_codes(row, pd.Index(names)), "n_cells": n[row], "label": label_names}
    frame = pd.DataFrame(columns | {"label_id": ids[label], "share": total[row, label] / n[row]})
    return frame.sort_values(["group", "share", "label"], ascending=[True, False, True], ignore_index=True)


def _by_label(adata: AnnData, key: str) -> Groups:
    """Return the cells by annotated label, the unknown as the last group."""
    check_obs_key(adata, key, "key")
    read = read_labels(adata.obs[key])  # other tools write words for unknown cells
    names = [*ontology.sort_terms(list(read.values.categories)), *([UNKNOWN] if read.n_missing else [])]
    position = pd.Index(names, dtype=object).get_indexer(read.values.categories)
    codes = np.append(position, len(names) - 1)[read.values.codes]  # code -1: the last
    return Groups(np.array(names, dtype=object), codes.astype(np.int64))
