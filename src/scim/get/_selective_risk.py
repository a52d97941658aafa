"""How many labels are wrong if only the surest are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import check_choice
from scim._core.types import Ancestors
from scim.get._judged import judged
from scim.get._reliability import confidences, rightness

if TYPE_CHECKING:
    from anndata import AnnData


def selective_risk(
    adata: AnnData, truth: str, *, ancestors: Ancestors = "right", key: str = keys.LABEL
) -> pd.DataFrame:
    r"""Return the share of wrong labels against the share of cells that are labelled.

    Of the cells with a true label, let :math:`A_t` be those labelled with a confidence of at least :math:`t`. The
    coverage is :math:`|A_t|` over the number of all of them, the unknown among them, and the risk is the share of
    :math:`A_t` whose label is wrong :cite:p:`Geifman2017`. A confidence that knows which labels are wrong makes the
    risk small as long as the coverage is.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    truth
        Column of obs with the true labels: Cell Ontology ids or names, or free words. Cells where it is missing,
        `"unknown"` or `"na"` are left out.
    ancestors
        `"right"`: a label that is an ancestor of the true one is right. `"wrong"`: it is not. See
        :func:`scim.get.reliability`.
    key
        `key_added` of the annotation.

    Returns
    -------
    Frame with a row for each confidence that occurs among the labelled cells, highest first:

    `confidence` : float32
        The least that is kept, 0 to 1.
    `answered` : float64
        Share of the cells that have such a label, above 0 to 1. The last is the share that is not unknown.
    `error` : float64
        Share of them that are wrong, 0 to 1.
    `broader` : float64
        Share of them whose label is an ancestor of the true one, 0 to 1.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `truth` is not a column.
    ValueError
        No cell has a true label, a confidence is not between 0 and 1, or `ancestors` is none of the choices.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, max_distance=2.0)
    >>> float(scim.get.selective_risk(adata, "cell_type")["answered"].iloc[-1])
    1.0
    """
    check_choice("ancestors", ancestors, get_args(Ancestors))
    cells = judged(adata, truth, key)
    known = cells.known
    right, broader = rightness(cells, ancestors)
    confidence = confidences(adata, key)[cells.rows[known]]
    order = np.argsort(-confidence, kind="stable")
    sorted_by = confidence[order]
    last = np.append(sorted_by[1:] != sorted_by[:-1], True)[: len(order)]  # cells of one confidence go together
    n = np.arange(1, len(order) + 1)
    wrong, less = (np.cumsum(values[known][order]) for values in (~right, broader))
    columns = {"confidence": sorted_by, "answered": n / len(known), "error": wrong / n, "broader": less / n}
    return pd.DataFrame(columns)[last].reset_index(drop=True)
