"""Draw how reliable the confidence of labels is, and the error of the most confident ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from scim import get
from scim._core import keys
from scim.pl._drawing import INK, axes_or_figure

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim._core import Ancestors

_BLUE, _ORANGE, _LIGHT = "#1f77b4", "#d9822b", "#bbbbbb"
_FEW = 0.05  # share of the cells below which the error is that of few cells, and does not set the scale


def reliability(
    adata: AnnData,
    truth: str,
    *,
    n_bins: int = 10,
    ancestors: Ancestors = "right",
    key: str = keys.LABEL,
    ax: Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw the share of right labels by confidence, and the share of wrong ones among the most confident.

    Three panels: the share of right labels in bins of the confidence, with 95 % intervals, on the diagonal where the
    confidence is calibrated (:func:`scim.get.reliability`); below it, the number of cells in each bin; beside it, the
    error among the most confident cells by their share of all (:func:`scim.get.selective_risk`), dashed if labels that
    are ancestors of the true one count the other way.

    Parameters
    ----------
    adata, truth, n_bins, ancestors, key
        As in :func:`scim.get.reliability`.
    ax
        Three axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError, ValueError, TypeError
        As in :func:`scim.get.reliability`, or `ax` are not three axes.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, max_distance=2.0)
    >>> figure = scim.pl.reliability(adata, "cell_type")
    """
    binned = get.reliability(adata, truth, n_bins=n_bins, ancestors=ancestors, key=key)
    risk = get.selective_risk(adata, truth, ancestors=ancestors, key=key)
    (diagram, histogram, selective), figure = _axes(ax)
    _diagram(diagram, binned)
    _histogram(histogram, binned)
    _risk(selective, risk, ancestors)
    for panel in (diagram, histogram, selective):
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["bottom", "left"]].set_color(_LIGHT)
        panel.tick_params(color=_LIGHT, labelsize="small")
    return figure


def _axes(ax: Sequence[Axes] | None) -> tuple[list[Axes], Figure | None]:
    if ax is not None:
        return axes_or_figure(ax, 3)
    figure = plt.figure(figsize=(9.2, 4.9), layout="constrained")
    plt.close(figure)  # the caller shows it: a notebook would draw it a second time
    grid = figure.add_gridspec(2, 2, height_ratios=(3.4, 1))
    diagram = figure.add_subplot(grid[0, 0])
    histogram = figure.add_subplot(grid[1, 0], sharex=diagram)
    return [diagram, histogram, figure.add_subplot(grid[:, 1])], figure


def _diagram(ax: Axes, binned: pd.DataFrame) -> None:
    filled = binned[binned["n"] > 0]
    ax.plot([0, 1], [0, 1], color=_LIGHT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    x, y = filled["confidence"], filled["right"]
    ax.vlines(x, filled["right_low"], filled["right_high"], color=_BLUE, linewidth=1.4, alpha=0.7, zorder=2)
    ax.plot(x, y, color=_BLUE, linewidth=1, alpha=0.4, zorder=2)
    ax.scatter(x, y, s=34, color=_BLUE, edgecolor="white", linewidth=0.8, zorder=3)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of labels that are right")
    ax.set_title("calibration of the confidence", loc="left", fontsize="medium", color=INK)
    ax.tick_params(labelbottom=False)
    above = (y - x).mean() > 0  # the points leave the other corner free
    style: dict[str, Any] = {"ha": "right", "va": "bottom"} if above else {"ha": "left", "va": "top"}
    style["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    style |= {"transform": ax.transAxes, "fontsize": "small", "color": INK, "linespacing": 1.4}
    ax.text(*((0.98, 0.03) if above else (0.03, 0.98)), _summary(binned.attrs), **style)


def _summary(totals: dict[Hashable, Any]) -> str:
    if totals["n"] == 0:
        return "no cell is labelled"
    lines = [f"calibration error {totals['calibration_error']:.3f}", f"mean confidence {totals['confidence']:.1%}"]
    lines.append(f"right {totals['right']:.1%}")
    if totals["broader"] > 0:
        lines[-1] += f" ({'with' if totals['ancestors'] == 'right' else 'without'} {totals['broader']:.1%} broader)"
    return "\n".join(lines)


def _histogram(ax: Axes, binned: pd.DataFrame) -> None:
    width = binned["high"] - binned["low"]
    ax.bar(binned["low"], binned["n"], width=width * 0.94, align="edge", color=_BLUE, alpha=0.35, linewidth=0)
    ax.set(xlim=(0, 1), xlabel="confidence", ylabel="cells")
    ax.locator_params(axis="y", nbins=3)


def _risk(ax: Axes, risk: pd.DataFrame, ancestors: Ancestors) -> None:
    names = ["wrong", "wrong or broader"]
    if ancestors == "wrong":
        names.reverse()
    ax.step(risk["coverage"], risk["error"], where="post", color=_ORANGE, linewidth=1.8, label=names[0])
    if risk["broader"].any():
        alternative = risk["error"] + (1 if ancestors == "right" else -1) * risk["broader"]
        style: dict[str, Any] = {"color": _ORANGE, "alpha": 0.55, "linestyle": (0, (3, 2)), "linewidth": 1.2}
        ax.step(risk["coverage"], alternative, where="post", label=names[1], **style)
    if len(risk):
        end = risk.iloc[-1]
        ax.scatter([end["coverage"]], [end["error"]], s=34, color=_ORANGE, edgecolor="white", zorder=3, clip_on=False)
        if end["coverage"] < 1:
            ax.axvspan(end["coverage"], 1, color="#eeeeee", linewidth=0, zorder=0)
    ax.set(xlim=(0, 1), xlabel="share of cells that are labelled, most confident first", ylabel="share of them")
    drawn = risk[risk["coverage"] >= _FEW]
    ax.set_ylim(0, max(0.05, 1.1 * (drawn["error"] + drawn["broader"]).max() if len(drawn) else 0.0))
    ax.set_title("error of the most confident", loc="left", fontsize="medium", color=INK)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(frameon=False, fontsize="small", loc="upper left")
