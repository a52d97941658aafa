"""What groups of cells were voted to be, as stacked bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim import get
from scim._core import keys
from scim._core.checks import check_count
from scim.pl._axes import axes_or_figure, label_colors, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHER, _GREY = "other", "#dddddd"


def votes(
    adata: AnnData,
    groupby: str | None = None,
    *,
    top: int = 15,
    key: str = keys.LABEL,
    ax: Axes | None = None,
) -> Figure | None:
    """Draw the mean shares of the vote of groups of cells, best label first.

    Parameters
    ----------
    adata
        Cells annotated by :func:`scim.tl.annotate`.
    groupby
        Column of obs with the groups, a bar for each. Default: the annotated label, and the unknown cells.
    top
        Number of labels with a colour, those of most votes. The rest of a bar is grey: other labels, and what was
        not kept of the vote.
    key
        `key_added` of the annotation.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no annotation of this name, or `groupby` is not a column.
    ValueError
        All values of `groupby` are missing, or `top` is less than 1.
    TypeError
        `top` is not a whole number.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> figure = scim.pl.votes(adata, "cell_type")
    """
    check_count("top", top)
    shares = get.vote_shares(adata, groupby, key=key)
    groups = shares["group"].cat.categories
    n = shares.groupby("group", observed=False)["n_cells"].first()
    votes_of = shares["share"] * shares["n_cells"]
    most = (
        votes_of.groupby(shares["label"], observed=True).sum().sort_values(ascending=False, kind="stable").index[:top]
    )
    kept = shares[shares["label"].isin(most)]
    (axes,), figure = axes_or_figure(ax, size=(10.5, 1.0 + max(0.31 * len(groups), 0.2 * len(most))))
    _bars(axes, kept, label_colors(adata, key, list(most)))
    names = [f"{wrapped(name, 36)} ({n[name]:,.0f})" for name in groups]
    axes.set_yticks(np.arange(len(groups)), names, fontsize="small", linespacing=0.95)
    axes.set_ylabel(key if groupby is None else groupby)
    return figure


def _bars(ax: Axes, kept: pd.DataFrame, colors: dict[str, str]) -> None:
    place = kept["group"].cat.codes.to_numpy()
    left = kept.groupby("group", observed=True)["share"].cumsum().to_numpy() - kept["share"].to_numpy()
    for label in kept["label"].cat.remove_unused_categories().cat.categories:
        here = (kept["label"] == label).to_numpy()
        bar: dict[str, Any] = {"color": colors[label], "edgecolor": "white", "linewidth": 0.4, "height": 0.78}
        ax.barh(place[here], kept["share"].to_numpy()[here], left=left[here], label=label, **bar)
    n_groups = len(kept["group"].cat.categories)
    whole = np.bincount(place, weights=kept["share"], minlength=n_groups)
    ax.barh(np.arange(n_groups), np.maximum(1 - whole, 0), left=whole, color=_GREY, height=0.78, label=_OTHER)
    ax.set(xlim=(0, 1), ylim=(n_groups - 0.5, -0.5), xlabel="mean share of the vote")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small", handlelength=0.9)
