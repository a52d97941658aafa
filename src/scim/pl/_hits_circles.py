"""Draw the hits of a search as nested circles: values of one column of the atlas within those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Circle

from scim._core import check_adata, check_choice, check_count, check_names, check_range, keys
from scim.pl._circle_packing import pack_circles
from scim.pl._circle_text import KEY_WIDTH, circles_of, draw_names
from scim.pl._drawing import INK, UNKNOWN, axes_or_figure, drawn
from scim.pl._query_counts import query_counts, tested_values

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim.atlas import Atlas
    from scim.pl._circle_text import NamedCircle
    from scim.pl._query_counts import TestedValues

Area = Literal["n_hits", "share"]
_OUTER, _EDGE = "#f4f4f4", "#9a9a9a"
_INNER_GAP, _OUTER_GAP = 0.012, 0.035  # between circles, in shares of the square root of all hits


class _Colors(NamedTuple):
    """Colours of circles: significance of the values of one column, or shares of the hits."""

    column: str | None  # whose circles are coloured by significance; None: inner circles, by their share
    strengths: dict[tuple[str, str], float]  # -log10 q of significant values, by query and value
    scale: ScalarMappable
    label: str
    inner: bool  # whether it is the inner circles that are coloured


def hits_circles(
    adata: AnnData,
    by: Sequence[str],
    queries: str | Sequence[str] | None = None,
    *,
    area: Area = "n_hits",
    top: int = 12,
    max_q: float = 0.05,
    only_similar: bool = True,
    atlas: Atlas | str | os.PathLike[str] | None = None,
    key: str = keys.SEARCH,
    enrichment_key: str = keys.ENRICHMENT,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw the hits of a search as nested circles: a second column within a first, as tissues within diseases.

    The area of an inner circle is the number of hits. Its colour is the significance of its value in
    :func:`scim.tl.enrichment` if that tested one of the columns (circles that are not significant are grey), else the
    share of the hits. Names that do not fit into their circle are listed beside it by a number or letter.

    Parameters
    ----------
    adata
        Cells searched by :func:`scim.tl.search`; of a search without `groupby` all hits are one panel.
    by
        Two columns of the atlas: outer circles, inner circles.
    queries
        Groups to draw, a panel each. Default: all.
    area
        `"n_hits"`: areas are numbers of hits, the same scale in all panels; `"share"`: shares of the hits of the
        query, so that queries with few hits are drawn as large as others.
    top
        Number of values of each column to show: those with most hits; the rest are joined as "other".
    max_q
        False discovery rate up to which a circle is coloured, 0 to 1.
    only_similar, atlas, key
        As in :func:`scim.get.hits`.
    enrichment_key
        `key_added` of :func:`scim.tl.enrichment`.
    ax
        Axes to draw on, as many as panels.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no search of this name or no such query, or the atlas has no such column.
    ValueError
        `by` is not two different columns, or no hit can be drawn.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=50)
    >>> figure = scim.pl.hits_circles(adata, ["study", "label"])
    """
    check_adata(adata)
    check_choice("area", area, get_args(Area))
    top = check_count("top", top)
    check_range("max_q", max_q, 1.0)
    columns = check_names("by", by)
    if len(columns) != 2 or len(by) != 2:
        msg = f"by must be two different columns of the atlas, outer and inner circles, got {by!r}."
        raise ValueError(msg)
    counted = query_counts(adata, columns, queries, top=top, only_similar=only_similar, atlas=atlas, key=key)
    tested = tested_values(adata, columns, max_q=max_q, key=key, enrichment_key=enrichment_key)
    frames = [counted.frame[counted.frame["query"] == query] for query in counted.queries]
    circles = [lay_out(frame, columns, area) for frame in frames]
    colors = _colors(counted.frame, tested, columns[1])
    axes, figure = axes_or_figure(ax, len(frames), size=(5.2, 4.4), n_columns=min(3, len(frames)))
    reach = [float((np.hypot(rows["x"], rows["y"]) + rows["radius"]).max()) for rows in circles if len(rows)]
    size = max([1e-9, *reach])  # one scale for all panels
    for axis, query, rows in zip(axes, counted.queries, circles, strict=True):
        draw_circles(axis, rows, colors, query, size, area)
    n_rows = -(-len(frames) // 3) if figure else 1
    legend = axes[0].figure.colorbar(colors.scale, ax=axes, shrink=0.6 / n_rows, aspect=15, pad=0.02)
    legend.set_label(colors.label)
    return figure


def lay_out(frame: pd.DataFrame, columns: list[str], area: Area) -> pd.DataFrame:
    """Return circles, outer before inner ones: `outer`, `inner` (empty), `x`, `y`, `radius`, `n_hits`, `share`.

    `frame` has a row for each pair of values of the two columns.
    """
    unit = float(np.sqrt(frame[area].sum()))
    outer, parts = [], []
    for name, rows in frame.groupby(columns[0], sort=False):
        radii = np.sqrt(rows[area].to_numpy(dtype=np.float64))
        packing = pack_circles(radii + _INNER_GAP * unit)
        inner = {
            "outer": name,
            "inner": rows[columns[1]],
            "radius": radii,
            "n_hits": rows["n_hits"],
            "share": rows["share"],
        }
        parts.append(pd.DataFrame(inner).assign(x=packing.centers[:, 0], y=packing.centers[:, 1]))
        outer.append((name, "", packing.radius, rows["n_hits"].sum(), rows["share"].sum()))
    names = ["outer", "inner", "radius", "n_hits", "share"]
    if not outer:
        return pd.DataFrame(columns=[*names, "x", "y"])
    around = pd.DataFrame(outer, columns=names)
    packing = pack_circles(around["radius"].to_numpy() + _OUTER_GAP * unit)
    around = around.assign(x=packing.centers[:, 0], y=packing.centers[:, 1])
    for part, center in zip(parts, packing.centers, strict=True):
        part[["x", "y"]] += center
    return pd.concat([around, *parts], ignore_index=True)


def _colors(counted: pd.DataFrame, tested: TestedValues | None, inner: str) -> _Colors:
    if tested is None:
        highest = float(counted["share"].max()) if len(counted) else 1.0
        scale = ScalarMappable(Normalize(0, highest), "Blues")
        return _Colors(None, {}, scale, "share of the hits", inner=True)
    highest = max([2 * tested.least, *tested.strengths.values()])
    scale = ScalarMappable(Normalize(0, highest), "YlOrRd")
    label = f"-log10 q of {drawn(tested.column)} (grey: not significant)"
    return _Colors(tested.column, tested.strengths, scale, label, inner=tested.column == inner)


def draw_circles(ax: Axes, circles: pd.DataFrame, colors: _Colors, query: str, size: float, area: Area) -> None:
    """Draw circles as :func:`lay_out` returns them; `size` is half the width of the picture, in their units."""
    ax.set(title=drawn(query), aspect="equal", xlim=(-1.02 * size, KEY_WIDTH * size), ylim=(-1.3 * size, 1.12 * size))
    ax.axis("off")
    if not len(circles):
        ax.text(0, 0, "no hits", ha="center", va="center", color=INK)
        return
    rows = circles_of(circles)
    faces = [_face(query, circle, colors) for circle in rows]
    for circle, face in zip(rows, faces, strict=True):
        edge = "white" if circle.inner else _EDGE
        ax.add_patch(Circle((circle.x, circle.y), circle.radius, facecolor=face, edgecolor=edge, linewidth=0.8))
    draw_names(ax, rows, faces, size)
    _area_legend(ax, float(circles.loc[circles["inner"] != "", area].max()), size, area)


def _face(query: str, circle: NamedCircle, colors: _Colors) -> Any:
    """Return the colour of a circle."""
    is_inner = circle.inner != ""
    if colors.column is None:
        return _rgba(colors, circle.share) if is_inner else _OUTER
    if is_inner != colors.inner:
        return "white" if is_inner else _OUTER
    strength = colors.strengths.get((query, circle.inner if is_inner else circle.outer))
    return UNKNOWN if strength is None else _rgba(colors, strength)


def _rgba(colors: _Colors, value: float) -> Any:
    return colors.scale.to_rgba(np.array(value))


def _area_legend(ax: Axes, largest: float, size: float, area: Area) -> None:
    """Draw circles of one and of a fifth of a round number of hits, below the others."""
    fitting = min(largest, (0.14 * size) ** 2)
    unit = 10.0 ** np.floor(np.log10(fitting))
    most = unit * max(step for step in (1, 2, 5) if step * unit <= fitting * (1 + 1e-9))
    left = -size
    for value in (most, most / 5):
        if area == "n_hits" and (value := round(value)) < 1:
            continue
        radius = np.sqrt(value)
        ax.add_patch(Circle((left + radius, -1.16 * size), radius, facecolor="none", edgecolor=INK, linewidth=0.8))
        text = f"{value:,} hit{'s' * (value != 1)}" if area == "n_hits" else f"{100 * value:.2g} % of the hits"
        ax.text(left + 2 * radius + 0.03 * size, -1.16 * size, text, va="center", fontsize=7, color=INK)
        left += 2 * radius + 0.55 * size
