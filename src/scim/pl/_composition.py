"""What the hits of a search are, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim import get
from scim._core import keys
from scim._core.checks import check_adata, check_count
from scim.pl._axes import axes_or_figure, palette

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim.atlas import Atlas

_OTHER, _ALL = "other", "all hits"


def composition(
    adata: AnnData,
    by: str | Sequence[str],
    *,
    top: int = 12,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    ax: Axes | None = None,
) -> Figure | None:
    """Draw what the hits of a search are, by one or two columns.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`.
    by
        One or two columns of the atlas, or `"query"`: a bar for each value of the first,
        split by the values of the second.
    top
        Number of values to show of each column of the atlas; the rest are joined as "other".
    atlas
        Where the atlas is now, if it is not where it was searched.
    key
        `key_added` of the search.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        The search or the column is not there.
    ValueError
        `by` has more than two columns, or `"query"` after a search for single cells.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=10)
    >>> figure = scim.pl.composition(adata, by=["query", "label"])
    """
    check_adata(adata)
    check_count("top", top)
    names = [by] if isinstance(by, str) else list(by)
    if not 1 <= len(names) <= 2:
        msg = f"by must be one or two columns, got {names}."
        raise ValueError(msg)
    counted = get.composition(adata, names, atlas=atlas, key=key)
    groups = adata.uns[key].get("groups", ())
    if "query" in names and not len(groups):
        msg = "by='query' draws a bar for each query: search groups of cells, scim.tl.search(adata, groupby=...)."
        raise ValueError(msg)
    orders = {name: list(groups) if name == "query" else _frequent(counted, name, top) for name in names}
    table = _table(counted, orders)
    (axes,), figure = axes_or_figure(ax, size=(7.5 if len(names) == 1 else 10.0, 1.4 + 0.32 * len(table)))
    _bars(axes, table, names)
    return figure


def _frequent(counted: pd.DataFrame, name: str, top: int) -> list[str]:
    """Return the values with most hits, and "other" behind them if there are more."""
    values = counted.groupby(name)["n_hits"].sum().sort_values(ascending=False, kind="stable").index.tolist()
    return values[:top] + [_OTHER] * (len(values) > top)


def _table(counted: pd.DataFrame, orders: dict[str, list[str]]) -> pd.DataFrame:
    """Return shares: a row for each value of the first column, a column for each value of the second."""
    counted = counted.assign(**{_ALL: _ALL})
    for name, order in orders.items():
        counted[name] = counted[name].where(counted[name].isin(order), _OTHER).astype(str)
    rows, columns = [*orders, _ALL][:2]
    table = counted.pivot_table(index=rows, columns=columns, values="share", aggfunc="sum", fill_value=0.0)
    index, order = ([str(value) for value in orders.get(name, [_ALL])] for name in (rows, columns))
    return table.reindex(index=index, columns=order, fill_value=0.0)


def _bars(ax: Axes, table: pd.DataFrame, names: list[str]) -> None:
    colors = palette(len(table.columns))
    left = table.iloc[:, 0] * 0.0
    for i, name in enumerate(table.columns):
        color = "#b0b0b0" if name == _OTHER else colors[i]
        ax.barh(table.index, table[name], left=left, color=color, label=name)
        left = left + table[name]
    ax.invert_yaxis()
    ax.set(xlabel="share of the hits", ylabel=names[0])
    ax.spines[["top", "right"]].set_visible(False)
    if len(names) == 2:
        ax.legend(title=names[1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
