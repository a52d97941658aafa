"""Draw genes as bars with intervals: those of `tl.explain`, or any ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim import get
from scim._core import check_adata, check_count, check_names, keys, refuse_absent
from scim.pl._drawing import INK, axes_or_figure, drawn, label_colors, palette, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def attribution(
    adata: AnnData,
    groups: Sequence[str] | str | None = None,
    *,
    top: int = 10,
    key: str = keys.EXPLAIN,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw the genes that separate each group in the model, with the 95 % interval of each mean.

    Parameters
    ----------
    adata, groups, top, key
        As in :func:`scim.get.attribution`; a panel for each group.
    ax
        Axes to draw on, as many as groups.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError, ValueError
        As in :func:`scim.get.attribution`, or `ax` are not as many as the groups.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> figure = scim.pl.attribution(adata, top=5)
    """
    check_adata(adata)
    top = check_count("top", top)
    chosen = None if groups is None else check_names("groups", groups)
    genes = get.attribution(adata, chosen, top=top, key=key)
    names = list(dict.fromkeys(genes["group"]))
    colors = label_colors(adata, adata.uns[key]["params"]["groupby"], names)
    most = int(genes["rank"].max()) if len(genes) else 1
    axes, figure = axes_or_figure(ax, len(names), size=(3.3, 0.9 + 0.21 * most), n_columns=4)
    for panel, name in zip(axes, names, strict=True):
        _bars(panel, genes[genes["group"] == name], colors[name])
        panel.set_title(wrapped(name, 34), loc="left", fontsize="medium", color=INK)
    grid = axes[0].get_gridspec()
    n_above = 0 if figure is None or grid is None else len(axes) - grid.ncols  # panels with another below
    for panel in axes[n_above:]:
        panel.set_xlabel("attribution", color=INK)
    return figure


def ranked_genes(genes: pd.DataFrame, *, top: int = 15, ax: Axes | None = None) -> Figure | None:
    """Draw the first genes of a frame, such as that of :func:`scim.get.attribution` for one group.

    Parameters
    ----------
    genes
        A row a gene, in the order in which they are drawn: `gene`, `mean`, and the interval `low` to `high`.
    top
        Number of genes.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        A column is missing.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> figure = scim.pl.ranked_genes(scim.get.attribution(adata, "T cell"), top=5)
    """
    if not isinstance(genes, pd.DataFrame):
        msg = f"genes must be a data frame, as of scim.get.attribution, got {type(genes).__name__}."
        raise TypeError(msg)
    refuse_absent(["gene", "mean", "low", "high"], list(genes.columns), of="genes")
    top = check_count("top", top)
    genes = genes.head(top)
    axes, figure = axes_or_figure(ax, size=(3.3, 0.9 + 0.21 * len(genes)))
    _bars(axes[0], genes, palette(1)[0])
    axes[0].set_xlabel("attribution", color=INK)
    return figure


def _bars(ax: Axes, genes: pd.DataFrame, color: str) -> None:
    """Draw a bar for each `gene` from 0 to its `mean`, and a line from `low` to `high`."""
    y, mean = np.arange(len(genes)), genes["mean"].to_numpy()
    ax.barh(y, mean, height=0.7, color=color, alpha=0.75, linewidth=0)
    ax.hlines(y, genes["low"], genes["high"], color=INK, linewidth=1.2)
    ax.set_yticks(y, [drawn(name) for name in genes["gene"]], fontstyle="italic", fontsize="small")
    ax.set_ylim(len(genes) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(axis="x", labelsize="small", color="#bbbbbb")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e8e8e8", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#bbbbbb")
