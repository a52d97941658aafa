"""Return what `tl.annotate` wrote of each cell."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scim._core import check_adata, check_obs_key, keys
from scim._core.adata import annotation_record
from scim.io.cells import check_sparse

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_COLUMNS = ("confidence", "novelty", "distance", "studies")
_GROUP = ("group", "group_confidence")


def annotation(adata: AnnData, *, key: str = keys.LABEL) -> pd.DataFrame:
    """Return the annotation of each cell, with the statistics of its neighbours if they were computed.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.

    Returns
    -------
    Frame with a row for each cell:

    `cell` : str
        Name of the cell.
    `label`, `label_id` : categorical
        The label and its Cell Ontology id; missing = unknown.
    `confidence`, `novelty`, `distance` : float32
        Probability that the label is right, probability that the type of the cell is not in the atlas, and cosine
        distance to the nearest neighbour.
    `studies` : int32
        Number of studies of the neighbours that have the label with most votes.
    `group`, `group_confidence` : categorical, float32
        Label of the group of the cell, and its confidence, if `tl.annotate` was given `groupby`.

    With `statistics=True`, of the `k` neighbours as they are, missing for a cell without counts:

    `farthest`, `mean_distance` : float32
        Cosine distance to the farthest neighbour, and the mean over the neighbours.
    `vs2nd`, `vsAll`, `vs2nd_weighted`, `vsAll_weighted` : float32
        Hits of the best label over those of the best two, and over all: each neighbour counts one, or
        1 / max(d, 1e-6) at cosine distance d.
    `hits`, `hits_weighted` : str
        The same hits of each label as JSON, `{"label": hits}`, most hits first; numbers are in `obsm`.

    Raises
    ------
    KeyError
        There is no annotation of this name.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, statistics=True)
    >>> frame = scim.get.annotation(adata)
    >>> frame.columns[:4].tolist()
    ['cell', 'label', 'label_id', 'confidence']
    >>> bool((frame["vsAll"] <= frame["vs2nd"]).all())
    True
    """
    check_adata(adata)
    record = annotation_record(adata, key)
    check_obs_key(adata, key, "key")
    frame = pd.DataFrame({"cell": adata.obs_names.to_numpy(dtype=object), "label": adata.obs[key].array})
    for name in ("id", *_COLUMNS, *_GROUP, *keys.NEIGHBOUR_STATISTICS):
        if f"{key}_{name}" in adata.obs:
            frame["label_id" if name == "id" else name] = adata.obs[f"{key}_{name}"].array
    labels = [str(label) for label in record["labels"]]
    for name in keys.LABEL_HITS:
        if f"{key}_{name}" in adata.obsm:
            frame[name] = _as_json(adata.obsm[f"{key}_{name}"], labels)
    return frame


def _as_json(hits: sparse.csr_matrix | NDArray[np.generic], labels: list[str]) -> list[str]:
    """Return `{"label": hits, ...}` for each row, most hits first, of equal ones in the order of the labels."""
    if sparse.issparse(hits):
        check_sparse(hits, "The table of hits")
    matrix = sparse.csr_matrix(hits)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    names = [labels[code] for code in matrix.indices[order].tolist()]
    pairs = list(zip(names, matrix.data[order].tolist(), strict=True))
    return [json.dumps(dict(pairs[start:stop])) for start, stop in itertools.pairwise(matrix.indptr.tolist())]
