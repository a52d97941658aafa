"""Draw given labels against annotated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.patches import Patch

from scim import get
from scim._core import keys
from scim.pl._drawing import INK, axes_or_figure, legend_above, wrapped

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {"right": "Blues", "broader": "Greens", "wrong": "Oranges", "unknown": "Greys"}
_KINDS = {"same": "right", "narrower": "right", "broader": "broader", "other": "wrong", "unknown": "unknown"}
_CELL, _LARGEST, _NUMBERED = 0.33, 14.0, 0.26  # inches: a cell, the largest table, the least cell with a number
_VMAX = 1.2  # share at the end of the colour scale, so that a share of 1 is not black
_GAP = 0.35  # between the labels and the unknown, in cells


def confusion(adata: AnnData, truth: str, *, key: str = keys.LABEL, ax: Axes | None = None) -> Figure | None:
    """Draw how the cells of each given label were annotated.

    A row is a given label, with its number of cells; a column is an annotated one, the last is the unknown. A field is
    coloured by its share of the row: blue where the annotated label is the given one or a descendant of it in the Cell
    Ontology, green where it is an ancestor, orange where it is wrong, grey where it is missing.

    Parameters
    ----------
    adata, truth, key
        As in :func:`scim.get.confusion`.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError, ValueError
        As in :func:`scim.get.confusion`.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> figure = scim.pl.confusion(adata, "cell_type")
    """
    counted = get.confusion(adata, truth, key=key)
    rows, columns = (counted[name].cat.categories for name in ("given", "annotated"))
    cell = min(_CELL, _LARGEST / max(len(rows), len(columns)))
    (axes,), figure = axes_or_figure(ax, size=(cell * len(columns) + 3.4, cell * len(rows) + 2.9))
    if figure is None:
        box = axes.get_window_extent()
        cell = min(box.width / len(columns), box.height / len(rows)) / axes.figure.dpi
    _cells(axes, counted)
    if cell >= _NUMBERED:
        _percentages(axes, counted)
    size = float(np.clip(cell * 24, 4, 8))
    n = counted.groupby("given", observed=False)["n"].sum()
    row_names = [f"{wrapped(name, 32)} ({n[name]:,})" for name in rows]
    _names(axes, row_names, [wrapped(name, 32) for name in columns], size)
    present = set(counted["relation"].astype(str).map(_KINDS))
    legend_above(axes, [Patch(color=colormaps[_COLORS[kind]](0.7), label=kind) for kind in _COLORS if kind in present])
    return figure


def _positions(counted: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return counted["given"].cat.codes.to_numpy(), counted["annotated"].cat.codes.to_numpy()


def _cells(ax: Axes, counted: pd.DataFrame) -> None:
    """Draw an image for each kind of relation; that of the unknown is beside the others."""
    shape = tuple(len(counted[name].cat.categories) for name in ("given", "annotated"))
    row, column = _positions(counted)
    kinds = counted["relation"].astype(str).map(_KINDS).to_numpy()
    for kind, cmap in _COLORS.items():
        shares = np.ma.masked_invalid(np.full(shape, np.nan))
        selected = kinds == kind
        shares[row[selected], column[selected]] = counted["share"].to_numpy()[selected]
        part, left = (shares[:, -1:], shape[1] - 1.5 + _GAP) if kind == "unknown" else (shares[:, :-1], -0.5)
        extent = (left, left + part.shape[1], shape[0] - 0.5, -0.5)
        if part.size:
            style: dict[str, Any] = {"aspect": "equal", "interpolation": "nearest", "label": kind}
            ax.imshow(part, cmap=cmap, vmin=0, vmax=_VMAX, extent=extent, **style)
    ax.set(xlim=(-0.5, shape[1] - 0.5 + _GAP), ylim=(shape[0] - 0.5, -0.5))
    lines: dict[str, Any] = {"color": "#ececec", "linewidth": 0.6, "zorder": 3}
    ax.hlines(np.arange(shape[0] + 1) - 0.5, -0.5, shape[1] - 1.5, **lines)
    ax.vlines(np.arange(shape[1]) - 0.5, -0.5, shape[0] - 0.5, **lines)
    ax.hlines(np.arange(shape[0] + 1) - 0.5, shape[1] - 1.5 + _GAP, shape[1] - 0.5 + _GAP, **lines)
    ax.vlines(shape[1] - np.array([1.5, 0.5]) + _GAP, -0.5, shape[0] - 0.5, **lines)


def _percentages(ax: Axes, counted: pd.DataFrame) -> None:
    last = len(counted["annotated"].cat.categories) - 1
    for row, column, share in zip(*_positions(counted), counted["share"], strict=True):
        if share >= 0.005:
            color = "white" if share > 0.6 else INK
            x = column + (_GAP if column == last else 0)
            ax.text(x, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=color, zorder=4)


def _names(ax: Axes, rows: list[str], columns: list[str], size: float) -> None:
    x = np.arange(len(columns), dtype=float)
    x[-1] += _GAP
    ax.set_xticks(x, columns, rotation=90, fontsize=size, linespacing=1.05)
    ax.set_yticks(np.arange(len(rows)), rows, fontsize=size, linespacing=1.05)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("annotated label", color=INK)
    ax.set_ylabel("given label", color=INK)
