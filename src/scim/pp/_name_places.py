"""Where var may hold names of genes, and these as texts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

_NAME_COLUMNS = (
    "feature_id", "gene_ids", "gene_id", "ensembl_id", "ensembl", "feature_name", "gene_symbols", "gene_symbol",
    "gene_name", "gene_names", "symbol",
)  # fmt: skip


def usual_places(var: pd.DataFrame) -> dict[str, NDArray[np.object_]]:
    """Return the texts of the index, and of the columns that usually hold names of genes."""
    places = {"var_names": texts_of(var.index)}
    if isinstance(var.index, pd.MultiIndex):
        levels = [texts_of(var.index.get_level_values(level)) for level in range(var.index.nlevels)]
        places = {"var_names": levels[0]} | {f"var_names[{i}]": texts for i, texts in enumerate(levels)}
    return places | {f"var[{name!r}]": texts_of(column_of(var, name)) for name in _NAME_COLUMNS if name in var}


def other_places(var: pd.DataFrame, usual: Container[str]) -> dict[str, NDArray[np.object_]]:
    """Return the texts of all other columns that hold texts."""
    columns = ((name, var.iloc[:, i]) for i, name in enumerate(var.columns) if f"var[{name!r}]" not in usual)
    return {f"var[{name!r}]": texts_of(values) for name, values in columns if _has_texts(values)}


def column_of(var: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return a column, of several with this name the first."""
    return var.iloc[:, var.columns.tolist().index(name)]


def _has_texts(values: pd.Series[Any]) -> bool:
    kept = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    return pd.api.types.infer_dtype(kept, skipna=True) in ("string", "bytes", "mixed")


def texts_of(values: pd.Index[Any] | pd.Series[Any]) -> NDArray[np.object_]:
    """Return values as texts, (n,); of bytes what they encode, of missing values empty text."""
    out = np.empty(len(values), dtype=object)
    out[:] = [value if type(value) is str else _text(value) for value in values.tolist()]
    return out


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isnan(value):
        return str(int(value)) if value.is_integer() else str(value)
    return "" if value is None or value is pd.NA or isinstance(value, float | type(pd.NaT)) else str(value)
