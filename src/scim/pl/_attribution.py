"""Which genes set groups of cells apart, as bars with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim import get
from scim._core import keys
from scim._core.checks import check_adata, check_count
from scim.pl._axes import INK, axes_or_figure, category_colors, palette, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4  # at most


def attribution(
    adata: AnnData,
    groups: Sequence[str] | str | None = None,
    *,
    top: int = 10,
    key: str = keys.EXPLAIN,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw the genes by which the model tells each group apart, with the 95 % interval of each mean.

    Parameters
    ----------
    adata
        Cells explained by :func:`scim.tl.explain`.
    groups
        Groups to draw, each in a panel. Default: all that were explained.
    top
        Number of genes of each group.
    key
        `key_added` of the explanation.
    ax
        Axes to draw on, as many as groups.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no explanation of this name, or the group was not explained.
    ValueError
        `ax` are not as many as the groups.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> figure = scim.pl.attribution(adata, top=5)
    """
    check_adata(adata)
    check_count("top", top)
    found = get.attribution(adata, groups, top=top, key=key)
    names = list(dict.fromkeys(found["group"]))
    colors = _colors(adata, key)
    size = (3.3, 0.9 + 0.21 * top)
    axes, figure = axes_or_figure(ax, len(names), size=size, n_columns=_COLUMNS)
    for panel, name in zip(axes, names, strict=True):
        gene_bars(panel, found[found["group"] == name], colors[name])
        panel.set_title(wrapped(name, 34), loc="left", fontsize="medium", color=INK)
    grid = axes[0].get_gridspec()
    n_above = 0 if figure is None or grid is None else len(axes) - grid.ncols  # have another panel below
    for panel in axes[n_above:]:
        panel.set_xlabel("attribution", color=INK)
    return figure


def _colors(adata: AnnData, key: str) -> dict[str, str]:
    """Return the colours of the groups, as in other pictures of the same column."""
    record = adata.uns[key]
    names, groupby = [str(name) for name in record["groups"]], record["params"]["groupby"]
    own = category_colors(adata, groupby) if groupby in adata.obs else {}
    return dict(zip(names, palette(len(names)), strict=True)) | {str(name): color for name, color in own.items()}


def gene_bars(ax: Axes, genes: pd.DataFrame, color: str) -> None:
    """Draw a bar for each `gene` from 0 to its `mean`, and a line from `low` to `high`."""
    place, mean = np.arange(len(genes)), genes["mean"].to_numpy()
    ax.barh(place, mean, height=0.7, color=color, alpha=0.75, linewidth=0)
    ax.hlines(place, genes["low"], genes["high"], color=INK, linewidth=1.2)
    ax.set_yticks(place, genes["gene"], fontstyle="italic", fontsize="small")
    ax.set_ylim(len(genes) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(axis="x", labelsize="small", color="#bbbbbb")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#e8e8e8", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#bbbbbb")
