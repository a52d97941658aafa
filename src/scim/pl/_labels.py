"""Draw a map of the cells coloured by label, and the label shares of groups of cells as stacked bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import get
from scim._core import check_adata, check_count, check_obs_key, keys
from scim.pl._drawing import (
    UNKNOWN,
    axes_or_figure,
    category_colors,
    coordinates,
    draw_points,
    drawn,
    label_colors,
    scatter_axes,
    wrapped,
)

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
    check_obs_key(adata, key, "key")
    points = coordinates(adata, basis)
    (axes,), figure = axes_or_figure(ax, size=(7.5, 4.5))
    values = pd.Categorical(adata.obs[key])
    unknown = np.asarray(values.isna())
    if unknown.any():
        draw_points(axes, points, unknown, c=UNKNOWN, label=f"unknown ({unknown.sum()})")
    for name, color in category_colors(adata, key).items():
        labelled = np.asarray(values == name)
        if labelled.any():
            draw_points(axes, points, labelled, c=color, label=f"{drawn(name)} ({labelled.sum()})")
    scatter_axes(axes, basis, drawn(key))
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
    return figure


def votes(
    adata: AnnData, groupby: str | None = None, *, top: int = 15, key: str = keys.LABEL, ax: Axes | None = None
) -> Figure | None:
    """Draw the mean label shares of groups of cells, largest first.

    Parameters
    ----------
    adata, groupby, key
        As in :func:`scim.get.vote_shares`; a bar for each group.
    top
        Number of labels with a colour, those with the largest shares. The rest of a bar is grey: other labels, and
        shares that were not kept.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError, ValueError, TypeError
        As in :func:`scim.get.vote_shares`, or `top` is not a whole number of at least 1.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> figure = scim.pl.votes(adata, "cell_type")
    """
    top = check_count("top", top)
    shares = get.vote_shares(adata, groupby, key=key)
    groups = shares["group"].cat.categories
    n = shares.groupby("group", observed=False)["n_cells"].first()
    total = (shares["share"] * shares["n_cells"]).groupby(shares["label"], observed=True).sum()
    top_labels = list(total.sort_values(ascending=False, kind="stable").index[:top])
    (axes,), figure = axes_or_figure(ax, size=(10.5, 1.0 + max(0.31 * len(groups), 0.2 * len(top_labels))))
    _bars(axes, shares[shares["label"].isin(top_labels)], label_colors(adata, key, top_labels))
    names = [f"{wrapped(name, 36)} ({n[name]:,.0f})" for name in groups]
    axes.set_yticks(np.arange(len(groups)), names, fontsize="small", linespacing=0.95)
    axes.set_ylabel(drawn(key if groupby is None else groupby))
    return figure


def _bars(ax: Axes, shares: pd.DataFrame, colors: dict[str, str]) -> None:
    group = shares["group"].cat.codes.to_numpy()
    left = shares.groupby("group", observed=True)["share"].cumsum().to_numpy() - shares["share"].to_numpy()
    for label in shares["label"].cat.remove_unused_categories().cat.categories:
        selected = (shares["label"] == label).to_numpy()
        bar: dict[str, Any] = {"color": colors[label], "edgecolor": "white", "linewidth": 0.4, "height": 0.78}
        ax.barh(group[selected], shares["share"].to_numpy()[selected], left=left[selected], label=drawn(label), **bar)
    n_groups = len(shares["group"].cat.categories)
    total = np.bincount(group, weights=shares["share"], minlength=n_groups)
    ax.barh(np.arange(n_groups), np.maximum(1 - total, 0), left=total, color="#dddddd", height=0.78, label="other")
    ax.set(xlim=(0, 1), ylim=(n_groups - 0.5, -0.5), xlabel="mean share")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small", handlelength=0.9)
