"""Draw the hits of the queries by values of the atlas as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from scim._core import check_adata, check_choice, check_count, check_flags, check_range, keys
from scim.get._hits import check_by
from scim.pl._circle_text import ink_on
from scim.pl._drawing import INK, axes_or_figure, drawn
from scim.pl._query_counts import query_counts, tested_values

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

    from scim._core.types import Bools, Doubles
    from scim.atlas import Atlas
    from scim.pl._query_counts import QueryCounts, TestedValues

Shown = Literal["share", "n_hits", "fraction"]
_LABELS = {
    "share": "share of the hits of the query",
    "n_hits": "hits",
    "fraction": "share of the cells that are hits, mean of samples",
}
_LONGEST = 36  # characters of a name
_MOST_NUMBERS = 400  # cells of a heat map into which numbers are written


def hits_heatmap(
    adata: AnnData,
    by: str | Sequence[str],
    queries: str | Sequence[str] | None = None,
    *,
    values: Shown = "share",
    top: int = 25,
    cluster: bool = True,
    max_q: float = 0.05,
    only_similar: bool = True,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    enrichment_key: str = keys.ENRICHMENT,
    ax: Axes | None = None,
) -> Figure | None:
    """Draw the hits of each query by the values of a column of the atlas, as a heat map.

    Rows are queries, columns values: studies, tissues, labels, ... A star marks what :func:`scim.tl.enrichment` found
    significant, if that tested this column.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`; of a search without `groupby` all hits are one row.
    by
        Column of the atlas. With two, the values of the second are grouped by those of the first.
    queries
        Groups to draw. Default: all.
    values
        `"share"`: share of the hits of the query; `"n_hits"`: their number; `"fraction"`: mean over the samples of the
        share of their cells that are hits, as `tl.enrichment` measured it, which does not depend on how many cells the
        atlas has of a value.
    top
        Number of values of each column to show: those with most hits; the rest are joined as "other".
    cluster
        Whether to put rows, and columns within their group, into the order of a hierarchical clustering; else queries
        are in the order of the search, and values with most hits come first.
    max_q
        False discovery rate up to which a value is marked, 0 to 1.
    only_similar, atlas, key
        As in :func:`scim.get.hits`.
    enrichment_key
        `key_added` of :func:`scim.tl.enrichment`.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no search of this name or no such query, or the atlas has no such column.
    ValueError
        `by` has more than two columns, or with `values="fraction"` `tl.enrichment` did not test the only column.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=50)
    >>> figure = scim.pl.hits_heatmap(adata, "study")
    """
    check_adata(adata)
    check_choice("values", values, get_args(Shown))
    top = check_count("top", top)
    check_range("max_q", max_q, 1.0)
    check_flags(cluster=cluster)
    columns = check_by(by)
    if len(columns) > 2:
        msg = f"by must be one column of the atlas or two different ones, got {columns}."
        raise ValueError(msg)
    counted = query_counts(adata, columns, queries, top=top, only_similar=only_similar, atlas=atlas, key=key)
    tested = tested_values(adata, columns, max_q=max_q, key=key, enrichment_key=enrichment_key)
    if values == "fraction" and (tested is None or len(columns) == 2):
        remedy = f"run scim.tl.enrichment(adata, {columns[0]!r}, sample_key=...) first."
        msg = f"values='fraction' draws one column that was tested: {remedy}"
        raise ValueError(msg)
    shown = _table(counted, columns, values, tested, cluster=cluster)
    starred = None if tested is None or len(columns) == 2 else _stars(shown, tested)
    inches = (2.6 + 0.36 * shown.shape[1] + 1.0, 1.9 + 0.3 * len(shown) + 0.4 * (len(columns) - 1))
    (axes,), figure = axes_or_figure(ax, size=(max(4.5, inches[0]), max(2.8, inches[1])))
    draw_heatmap(axes, shown, values, starred)
    return figure


def _table(
    counted: QueryCounts, columns: list[str], values: Shown, tested: TestedValues | None, *, cluster: bool
) -> pd.DataFrame:
    """Return what is drawn: a row for each query, a column for each value, or pair of them."""
    frame = counted.frame
    hits = frame.groupby(columns)["n_hits"].sum()
    order = pd.DataFrame({"of hits": hits, "of group": hits.groupby(level=0).transform("sum")}).reset_index()
    by = ["of group", columns[0], "of hits", columns[-1]] if len(columns) == 2 else ["of hits", columns[0]]
    order = order.sort_values(by, ascending=[name not in ("of hits", "of group") for name in by])
    keys_of = list(order[columns].itertuples(index=False, name=None))
    source = frame.assign(fraction=np.nan) if values != "fraction" or tested is None else tested.table
    if values == "fraction":
        source = source.rename(columns={"value": columns[0]})
    table = source.pivot_table(index="query", columns=columns, values=values, aggfunc="sum")
    names = list(table.columns) if len(columns) == 2 else [(name,) for name in table.columns]
    table = table.set_axis(pd.Index(names, tupleize_cols=False), axis=1)
    table = table.reindex(index=counted.queries, columns=pd.Index(keys_of, tupleize_cols=False))
    table = table if values == "fraction" else table.fillna(0)
    if not cluster:
        return table
    first = order[columns[0]] if len(columns) == 2 else pd.Series("", index=order.index)  # one group of all columns
    ordered = []
    for positions in first.groupby(first, sort=False).indices.values():
        ordered += [int(positions[i]) for i in _clustered(table.iloc[:, positions].to_numpy().T)]
    return table.iloc[_clustered(table.to_numpy()), ordered]


def _clustered(rows: Doubles) -> list[int]:
    """Return the order of rows in which similar ones are neighbours: leaves of an average linkage."""
    if len(rows) < 3 or not rows.shape[1]:
        return list(range(len(rows)))
    from scipy.cluster import hierarchy  # noqa: PLC0415  (takes a third of a second)

    tree = hierarchy.linkage(np.nan_to_num(rows), method="average", optimal_ordering=True)
    return [int(i) for i in hierarchy.leaves_list(tree)]


def _stars(shown: pd.DataFrame, tested: TestedValues) -> Bools:
    found = [[(query, name[-1]) in tested.strengths for name in shown.columns] for query in shown.index]
    return np.array(found, dtype=bool).reshape(shown.shape)


def draw_heatmap(ax: Axes, table: pd.DataFrame, values: Shown, starred: Bools | None) -> None:
    """Draw a table of queries by values, whose columns are tuples of one name or of a group and a name."""
    numbers = table.to_numpy(dtype=np.float64)
    if not numbers.size:
        ax.text(0.5, 0.5, "no hits", ha="center", va="center", color=INK, transform=ax.transAxes)
        return
    highest = float(np.nanmax(numbers, initial=0)) or 1.0
    mesh = ax.pcolormesh(np.ma.masked_invalid(numbers), cmap="Blues", vmin=0, vmax=highest, edgecolors="white", lw=0.5)
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [drawn(name[-1], _LONGEST) for name in table.columns])
    ax.tick_params(axis="x", labelrotation=45, length=0)
    for text in ax.get_xticklabels():
        text.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(table)) + 0.5, [drawn(name, _LONGEST) for name in table.index])
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    _write_numbers(ax, numbers, mesh, values, starred)
    _draw_groups(ax, [name[0] for name in table.columns if len(name) == 2])
    bar = ax.figure.colorbar(mesh, ax=ax, shrink=0.8, aspect=15, pad=0.02)
    if values != "n_hits":
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    bar.set_label(_LABELS[values] + (" (* significant)" if starred is not None else ""))


def _write_numbers(ax: Axes, numbers: Doubles, mesh: QuadMesh, values: Shown, starred: Bools | None) -> None:
    for i, j in np.argwhere(np.isfinite(numbers)):
        star = "*" if starred is not None and starred[i, j] else ""
        number = numbers[i, j]
        amount = number if values == "n_hits" else 100 * number
        written = ("<1" if amount < 0.5 else f"{amount:.0f}") if amount > 0 else ""
        if text := (written if numbers.size <= _MOST_NUMBERS else "") + star:
            color = ink_on(mesh.cmap(mesh.norm(number)))
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=6.5, color=color)


def _draw_groups(ax: Axes, groups: list[str]) -> None:
    """Draw a line between groups of columns, and their names above."""
    names = list(dict.fromkeys(groups))
    for i, name in enumerate(names):
        first, n = groups.index(name), groups.count(name)
        if i:
            ax.axvline(first, color=INK, linewidth=1)
        style: dict[str, Any] = {
            "rotation": 30,
            "rotation_mode": "anchor",
            "fontsize": 8,
            "fontweight": "bold",
            "clip_on": False,
        }
        ax.text(first + n / 2, -0.25, drawn(name, _LONGEST), ha="left", va="bottom", color=INK, **style)
