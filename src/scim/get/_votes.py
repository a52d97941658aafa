"""What `tl.annotate` counted, one row a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.adata import annotation_record
from scim._core.checks import check_adata

if TYPE_CHECKING:
    from anndata import AnnData


def votes(adata: AnnData, *, key: str = keys.LABEL) -> pd.DataFrame:
    """Return the best labels of every cell with their shares of the vote.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    key
        `key_added` of the annotation.

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
    flat = codes.ravel()
    some = flat >= 0
    return pd.DataFrame(
        {
            "cell": np.repeat(adata.obs_names.to_numpy(dtype=object), codes.shape[1])[some],
            "rank": np.tile(np.arange(1, codes.shape[1] + 1), len(codes))[some],
            "label": np.asarray(record["labels"], dtype=object)[flat[some]],
            "label_id": np.asarray(record["label_ids"], dtype=object)[flat[some]],
            "share": np.asarray(adata.obsm[f"{key}_shares"]).ravel()[some],
        }
    )
