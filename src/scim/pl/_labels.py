"""Draw a map of the cells coloured by label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim._core import check_adata, check_obs_key, keys
from scim.pl._drawing import UNKNOWN, axes_or_figure, category_colors, coordinates, draw_points, scatter_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def labels(adata: AnnData, *, key: str = keys.LABEL, basis: str = "umap", ax: Axes | None = None) -> Figure | None:
    """Draw a map of the cells coloured by label, the unknown in grey below them.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`, with a map in `obsm`.
    key
        Column of obs with the labels.
    basis
        The map: `"umap"` is `obsm["X_umap"]`.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There are no labels or no map of this name.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> figure = scim.pl.labels(adata, basis="X_scim")
    """
    check_adata(adata)
    check_obs_key(adata, key)
    points = coordinates(adata, basis)
    (axes,), figure = axes_or_figure(ax, size=(7.5, 4.5))
    values = pd.Categorical(adata.obs[key])
    unknown = np.asarray(values.isna())
    if unknown.any():
        draw_points(axes, points, unknown, c=UNKNOWN, label=f"unknown ({unknown.sum()})")
    for name, color in category_colors(adata, key).items():
        labelled = np.asarray(values == name)
        if labelled.any():
            draw_points(axes, points, labelled, c=color, label=f"{name} ({labelled.sum()})")
    scatter_axes(axes, basis, key)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
    return figure
