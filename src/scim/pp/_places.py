"""The matrices of an AnnData that may hold counts, the likeliest first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

COUNT_LAYERS = ("counts", "rawcounts", "count", "raw", "umi", "umicounts", "umis", "countmatrix", "soupxcounts")
"""Usual names of layers of counts, in small letters and without `_`, `-`, `.` and blanks."""

VALUE_LAYERS = (
    "logcounts", "lognorm", "lognormalized", "lognormalised", "log1p", "log1pnorm", "normalized", "normalised", "norm",
    "normcounts", "data", "cpm", "tpm", "logcpm", "logtpm",
)  # fmt: skip
"""Usual names of layers of normalised values."""


class Place(NamedTuple):
    """A matrix, and what is known of it before it is read."""

    source: str
    """`X`, `raw.X` or `layers['...']`."""

    matrix: Any
    var: pd.DataFrame
    is_named_counts: bool = False
    """Whether it is a layer with a name of counts."""

    log_base: Any = None
    """Base of the logarithm that `uns["log1p"]` names, whatever it is; `None` without that entry, and for counts."""

    is_last: bool = False
    """Whether it is used only if nothing else can be."""


def places(adata: AnnData, layer: str | None) -> Iterator[Place]:
    """Yield layers of counts, `X`, `raw`, and layers of normalised values; with `layer` that place alone.

    Raises
    ------
    KeyError
        `layer` does not exist.
    """
    if layer is not None:
        _refuse_absent(adata, layer)
    base, var = _log_base(adata), _frame(adata.var)
    of_layers = var.drop(columns="feature_is_filtered", errors="ignore")  # CELLxGENE: that is of X alone
    for name in _named(adata, COUNT_LAYERS, layer):
        yield Place(f"layers[{name!r}]", adata.layers[name], of_layers, is_named_counts=True)
    if layer in (None, "X") and (X := _main(adata)) is not None:
        yield Place("X", X, var, log_base=base)
    if layer in (None, "raw") and adata.raw is not None:
        yield Place("raw.X", adata.raw.X, _frame(adata.raw.var), log_base=base)
    values = list(adata.layers) if layer is not None else _named(adata, VALUE_LAYERS, None)
    for name in values:
        if layer in (None, name) and _plain(name) not in COUNT_LAYERS:
            yield Place(f"layers[{name!r}]", adata.layers[name], of_layers, log_base=base, is_last=True)


def _named(adata: AnnData, names: Sequence[str], layer: str | None) -> list[str]:
    """Return the layers with usual names, in the order of these, or `layer` if it is one of them."""
    given = [name for name in adata.layers if layer in (None, name) and _plain(name) in names]
    return sorted(given, key=lambda name: names.index(_plain(name)))


def _plain(name: Any) -> str:
    return "".join(letter for letter in str(name).lower() if letter not in "_-. ")


def _main(adata: AnnData) -> Any:
    """Return `X`, or `None` without one; `anndata.experimental.read_lazy` raises an error then."""
    try:
        return adata.X
    except KeyError:
        return None


def _frame(var: Any) -> pd.DataFrame:
    """Return a description of columns in memory; that of `anndata.experimental.read_lazy` is not."""
    frame: pd.DataFrame = var if isinstance(var, pd.DataFrame) else var.to_memory()
    return frame


def _log_base(adata: AnnData) -> Any:
    log1p = adata.uns.get("log1p")  # scanpy.pp.log1p stores its base here; None or an empty entry = natural
    if log1p is None:
        return None
    base = log1p.get("base") if isinstance(log1p, dict) else None
    return math.e if base is None else base


def _refuse_absent(adata: AnnData, layer: str) -> None:
    if layer not in ("X", "raw") and layer not in adata.layers:
        msg = f"layer={layer!r} not found. Present: {list(adata.layers)}, 'X', 'raw'."
        raise KeyError(msg)
    if layer == "raw" and adata.raw is None:
        msg = f"layer='raw' was given, but adata.raw is None. Present: {list(adata.layers)}, 'X'."
        raise KeyError(msg)
