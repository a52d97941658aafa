"""Counts to what the encoder reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scim._core.log import warn
from scim.pp import lognorm
from scim.scimilarity.classes.utils._counts import raw_counts

if TYPE_CHECKING:
    from anndata import AnnData


def lognorm_counts(data: AnnData) -> AnnData:
    r"""Write :math:`\log(1 + 10^4 x / \sum x)` of `layers["counts"]` into `X`.

    Parameters
    ----------
    data
        Cells with raw counts in `layers["counts"]`, aligned to the model's genes: the sum is over these.
        They are changed in place, as they always were by this function.

    Returns
    -------
    `data`, with `X` as csr of float32. Cells without counts stay zero; NaN count as 0, with a warning.

    Raises
    ------
    ValueError
        There is no layer of counts.
    """
    X: Any = sparse.csr_matrix(raw_counts(data), dtype=np.float32, copy=True)
    nan = np.isnan(X.data)
    if nan.any():
        warn(f"{int(nan.sum())} values of layers['counts'] are NaN and count as 0.")
        X.data[nan] = 0
    data.X = lognorm(X)
    return data
