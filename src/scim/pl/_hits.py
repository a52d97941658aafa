"""Cells coloured by what a search found for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scim import get
from scim._core import keys
from scim._core.checks import check_adata, check_obs_key
from scim._core.groups import groups_of
from scim.pl._axes import UNKNOWN, axes_or_figure, coordinates, draw_points, scatter_axes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scim.atlas import Atlas

_FAR = 0.98
"""Quantile of the distances at which the colours end, so that a few far cells do not make all others look alike."""


def hits(
    adata: AnnData,
    *,
    by: str = keys.ATLAS_LABEL,
    value: str | None = None,
    basis: str = "umap",
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    ax: Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw two maps of the cells: how far their hits are, and which share of the hits agree.

    Cells that were searched as a group have the colours of their group; cells of no group are grey.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`, with a map in `obsm`.
    by
        Column of the atlas by which hits agree.
    value
        Share of the hits with this value of `by`. Default: the value most frequent among the hits of each query.
    basis
        The map: `"umap"` is `obsm["X_umap"]`.
    atlas
        Where the atlas is now, if it is not where it was searched.
    key
        `key_added` of the search.
    ax
        Two axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        The search, the map or the column is not there.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, k=10)
    >>> figure = scim.pl.hits(adata, basis="X_scim")
    """
    check_adata(adata)
    found = get.hits(adata, [by], atlas=atlas, key=key)
    points = coordinates(adata, basis)
    axes, figure = axes_or_figure(ax, 2)
    distance = found.groupby("query")["distance"].median()
    agree = _share(found, by, value)
    rows = _query_of_cells(adata, key)
    far = float(distance.quantile(_FAR))
    _draw(axes[0], points, distance.reindex(rows), basis, "median distance of the hits", "viridis", far)
    title = f"share of hits with {by} = {value}" if value is not None else f"share of hits with their commonest {by}"
    _draw(axes[1], points, agree.reindex(rows), basis, title, "viridis_r", 1.0)  # dark is good in both
    return figure


def _share(found: pd.DataFrame, by: str, value: str | None) -> pd.Series[float]:
    values = found[by].astype(object).fillna("missing")
    if value is not None:
        return (values == value).astype(float).groupby(found["query"]).mean()
    counts = values.groupby(found["query"]).value_counts()
    share: pd.Series[float] = counts.groupby(level=0).max() / counts.groupby(level=0).sum()
    return share


def _query_of_cells(adata: AnnData, key: str) -> pd.Index:
    groupby = adata.uns[key]["params"]["groupby"]
    if not groupby:
        if not adata.obs_names.is_unique:
            msg = "Cells of one name cannot be told apart; call adata.obs_names_make_unique() and search again."
            raise ValueError(msg)
        cells: pd.Index = adata.obs_names
        return cells
    check_obs_key(adata, groupby)
    names, codes = groups_of(adata, groupby)
    return pd.Index([names[code] if code >= 0 else None for code in codes], dtype=object)


def _draw(
    ax: Axes,
    points: NDArray[np.float64],
    values: pd.Series[float],
    basis: str,
    title: str,
    cmap: str,
    highest: float,
) -> None:
    none = values.isna().to_numpy()
    draw_points(ax, points, none, c=UNKNOWN)
    colored = values.to_numpy()[~none]
    drawn = draw_points(ax, points, ~none, c=colored, cmap=cmap, vmin=0.0, vmax=highest)
    ax.figure.colorbar(drawn, ax=ax, shrink=0.7, extend="max" if (colored > highest).any() else "neither")
    scatter_axes(ax, basis, title)
