"""All of an AnnData as values that are equal if nothing was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    import anndata


def state(adata: anndata.AnnData) -> dict[str, Any]:
    """Return obs, obsm, uns, X and the names of an AnnData, by value; the order of the names counts."""
    found = {f"obs {name}": _value(adata.obs.iloc[:, i]) for i, name in enumerate(adata.obs)}
    found |= {f"obsm {name}": _value(values) for name, values in adata.obsm.items()}
    found |= {"order": (list(adata.obs), list(adata.obsm), list(adata.uns)), "names": list(adata.obs_names)}
    return found | {"X": _value(adata.X), "uns": _value(dict(adata.uns))}


def _value(values: Any) -> Any:
    if isinstance(values, pd.DataFrame):
        return [(str(name), _value(values.iloc[:, i])) for i, name in enumerate(values)]
    if isinstance(values, pd.Series):
        return str(values.dtype), repr(values.tolist())
    if sparse.issparse(values):
        return _value(values.toarray())
    if isinstance(values, np.ndarray):
        return str(values.dtype), values.shape, values.tolist() if values.dtype == object else values.tobytes()
    if hasattr(values, "items"):
        return {str(name): _value(value) for name, value in values.items()}
    return repr(values)
