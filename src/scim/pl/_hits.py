"""Draw the hits of `tl.search`: on a map of the cells, and as bars by columns of the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim import get
from scim._core import check_adata, check_count, check_text, keys
from scim._core.adata import groups_of
from scim.get._hits import check_by, column_of_hits, count_hits
from scim.pl._drawing import UNKNOWN, axes_or_figure, coordinates, draw_points, drawn, palette, scatter_axes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scim._core.types import Doubles
    from scim.atlas import Atlas

_OTHER, _ALL = "other", "all hits"
_NO_HITS = "no hit is like its query"


def hits(
    adata: AnnData,
    *,
    by: str = keys.ATLAS_LABEL,
    value: str | None = None,
    basis: str = "umap",
    only_similar: bool = True,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    ax: Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw two maps of the cells: the distance of their hits, and the share of the hits that agree.

    After a search for groups, a cell has the colour of its group; cells in no group, and those without a hit that is
    like them, are grey.

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
    only_similar, atlas, key
        As in :func:`scim.get.hits`.
    ax
        Two axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no search or map of this name, or the atlas has no such column.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, k=10)
    >>> figure = scim.pl.hits(adata, basis="X_scim")
    """
    check_adata(adata)
    check_text(by=by)
    is_value = value is None or bool(np.isscalar(value))
    if not is_value:
        msg = f"value must be one value of the column {by!r}, got {value!r}."
        raise TypeError(msg)
    frame = get.hits(adata, [by], only_similar=only_similar, atlas=atlas, key=key)
    points = coordinates(adata, basis)
    axes, figure = axes_or_figure(ax, 2)
    distance = frame.groupby("query")["distance"].median()
    agree = _share(frame, by, value)
    rows = _query_of_cells(adata, key)
    far = float(distance.quantile(0.98)) if len(distance) else 1.0  # a few far cells do not set the scale
    _draw(axes[0], points, distance.reindex(rows), basis, "median distance of the hits", "viridis", far)
    chosen = f"{drawn(by)} = {drawn(value)}" if value is not None else f"their commonest {drawn(by)}"
    title = f"share of hits with {chosen}"
    _draw(axes[1], points, agree.reindex(rows), basis, title, "viridis_r", 1.0)  # dark is good in both
    if frame.empty:
        _say_no_hits(axes)
    return figure


def _say_no_hits(axes: Sequence[Axes]) -> None:
    for ax in axes:
        ax.text(0.5, 0.5, _NO_HITS, transform=ax.transAxes, ha="center", va="center")


def _share(frame: pd.DataFrame, by: str, value: str | None) -> pd.Series[float]:
    values = frame[column_of_hits(by)].astype(object).fillna("missing")
    if frame.empty:
        return pd.Series(dtype=float)
    if value is not None:
        return (values == value).astype(float).groupby(frame["query"]).mean()
    counts = values.groupby(frame["query"]).value_counts()
    share: pd.Series[float] = counts.groupby(level=0).max() / counts.groupby(level=0).sum()
    return share


def _query_of_cells(adata: AnnData, key: str) -> NDArray[np.object_]:
    groupby = adata.uns[key]["params"]["groupby"]
    if not groupby:
        if not adata.obs_names.is_unique:
            msg = "Names of cells are not unique; call adata.obs_names_make_unique() and search again."
            raise ValueError(msg)
        return np.asarray(adata.obs_names, dtype=object)
    names, codes = groups_of(adata, groupby)
    return np.append(names, [None])[codes]


def _draw(
    ax: Axes, points: Doubles, values: pd.Series[float], basis: str, title: str, cmap: str, highest: float
) -> None:
    missing = values.isna().to_numpy()
    draw_points(ax, points, missing, c=UNKNOWN)
    colored = values.to_numpy()[~missing]
    drawn = draw_points(ax, points, ~missing, c=colored, cmap=cmap, vmin=0.0, vmax=highest)
    ax.figure.colorbar(drawn, ax=ax, shrink=0.7, extend="max" if (colored > highest).any() else "neither")
    scatter_axes(ax, basis, title)


def composition(
    adata: AnnData,
    by: str | Sequence[str],
    *,
    top: int = 12,
    only_similar: bool = True,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    ax: Axes | None = None,
) -> Figure | None:
    """Draw the shares of the hits of a search by one or two columns, as stacked bars.

    Behind each bar are its number of hits and their median distance.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`.
    by
        One or two columns of the atlas, or `"query"`: a bar for each value of the first, split by the second.
    top
        Number of values to show of each column of the atlas; the rest are joined as "other".
    only_similar, atlas, key
        As in :func:`scim.get.hits`.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no search of this name, or the atlas has no such column.
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
    top = check_count("top", top)
    names = check_by(by, most=2)
    frame = get.hits(
        adata, [name for name in names if name != "query"], only_similar=only_similar, atlas=atlas, key=key
    )
    counted = count_hits(frame, names)
    groups = adata.uns[key].get("groups", ())
    if "query" in names and not len(groups):
        msg = "by='query' draws a bar for each query: search groups of cells, scim.tl.search(adata, groupby=...)."
        raise ValueError(msg)
    orders = {name: list(groups) if name == "query" else _frequent(counted, name, top) for name in names}
    table = _share_table(counted, orders)
    (axes,), figure = axes_or_figure(ax, size=(8.5 if len(names) == 1 else 11.0, 1.4 + 0.32 * max(len(table), 1)))
    if frame.empty:
        _say_no_hits([axes])
        return figure
    _draw_bars(axes, table, names)
    _write_distances(axes, table, frame, names[0], orders)
    return figure


def _write_distances(
    ax: Axes, table: pd.DataFrame, frame: pd.DataFrame, name: str, orders: dict[str, list[str]]
) -> None:
    """Write number and median distance of the hits of each bar to the right of the axes."""
    values = frame[name if name == "query" else column_of_hits(name)].astype(object).fillna("missing")
    bars = values.where(values.isin(orders[name]), _OTHER).astype(str)
    distances = frame["distance"].groupby(bars).agg(["size", "median"])
    for place, bar in enumerate(table.index):
        if bar in distances.index:
            n_hits, median = distances.loc[bar]
            text = f"{int(n_hits):,} at {median:.2f}"
            ax.annotate(text, (1, place), (4, 0), ("axes fraction", "data"), "offset points", va="center", size="small")
    ax.set_title("hits at median distance", loc="right", fontsize="small")


def _frequent(counted: pd.DataFrame, name: str, top: int) -> list[str]:
    """Return the values with most hits, and "other" behind them if there are more."""
    values = counted.groupby(name)["n_hits"].sum().sort_values(ascending=False, kind="stable").index.tolist()
    return values[:top] + [_OTHER] * (len(values) > top)


def _share_table(counted: pd.DataFrame, orders: dict[str, list[str]]) -> pd.DataFrame:
    """Return shares: a row for each value of the first column, a column for each value of the second."""
    counted = counted.assign(**{_ALL: _ALL})
    for name, order in orders.items():
        counted[name] = counted[name].where(counted[name].isin(order), _OTHER).astype(str)
    rows, columns = [*orders, _ALL][:2]
    table = counted.pivot_table(index=rows, columns=columns, values="share", aggfunc="sum", fill_value=0.0)
    index, order = ([str(value) for value in orders.get(name, [_ALL])] for name in (rows, columns))
    return table.reindex(index=index, columns=order, fill_value=0.0)


def _draw_bars(ax: Axes, table: pd.DataFrame, names: list[str]) -> None:
    colors = palette(len(table.columns))
    rows, left = np.arange(len(table)), table.iloc[:, 0] * 0.0
    for i, name in enumerate(table.columns):
        color = "#b0b0b0" if name == _OTHER else colors[i]
        ax.barh(rows, table[name], left=left, color=color, label=drawn(name))
        left = left + table[name]
    ax.set_yticks(rows, [drawn(name) for name in table.index])
    ax.invert_yaxis()
    ax.set(xlabel="share of the hits", ylabel=drawn(names[0]))
    ax.spines[["top", "right"]].set_visible(False)
    if len(names) == 2:
        ax.legend(title=drawn(names[1]), loc="center left", bbox_to_anchor=(1.18, 0.5), frameon=False, fontsize="small")
