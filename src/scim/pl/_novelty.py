"""Draw how many cells are unlike the atlas: of all, or of each group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from scim._core import check_adata, check_obs_key, keys
from scim._core.adata import annotation_record, groups_of
from scim.pl._drawing import INK, UNKNOWN, axes_or_figure, drawn, legend_above, wrapped

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim._core.types import Floats

_NOVEL, _LABELLED = "#d9822b", "#bcd0e5"
_BINS = 20  # of the novelty, so that a bin ends at the threshold of .5
_HEIGHT = 0.68  # of a bar


def novelty(
    adata: AnnData, groupby: str | None = None, *, key: str = keys.LABEL, ax: Axes | None = None
) -> Figure | None:
    """Draw the novelty of all cells, or the share of novel cells in each group with its mean confidence.

    With `groupby` a row is a group with its number of cells, the group with the largest share of novel cells first. Its
    bar is divided into novel cells, others that are unknown, and others that have a label; the dot is the mean
    confidence of the cells. Without, the bars are a histogram of the novelty, novel cells in orange.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate`, and its `key_added`.
    groupby
        Column of obs with the groups, such as `"leiden"`.
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
        All values of `groupby` are missing.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata)
    >>> figure = scim.pl.novelty(adata, "cell_type")
    """
    check_adata(adata)
    threshold = annotation_record(adata, key)["params"].get("novel", 0.5)
    check_obs_key(adata, f"{key}_novelty")
    values = adata.obs[f"{key}_novelty"].to_numpy(dtype=np.float32)
    if groupby is None:
        (axes,), figure = axes_or_figure(ax, size=(5.0, 3.2))
        _histogram(axes, values, threshold)
        return figure
    shares = _shares(adata, groupby, key, values >= threshold)
    (axes,), figure = axes_or_figure(ax, size=(7.2, 1.2 + 0.34 * len(shares)))
    _bars(axes, shares)
    axes.set_ylabel(drawn(groupby))
    legend_above(axes, _legend_handles())
    return figure


def _shares(adata: AnnData, groupby: str, key: str, is_novel: Any) -> pd.DataFrame:
    """Return the shares of each group that are novel, unknown otherwise, and labelled, and its mean confidence."""
    groups = groups_of(adata, groupby)
    unknown = adata.obs[key].isna().to_numpy() & ~is_novel
    confidence = adata.obs[f"{key}_confidence"].to_numpy()
    cells = pd.DataFrame({"novel": is_novel, "unknown": unknown, "confidence": confidence})
    frame = cells.groupby(np.where(groups.codes >= 0, groups.codes, np.nan)).mean()
    frame.insert(0, "group", groups.names)
    frame["labelled"] = 1 - frame["novel"] - frame["unknown"]
    frame["n_cells"] = np.bincount(groups.codes[groups.codes >= 0])
    return frame.sort_values("novel", ascending=False, kind="stable", ignore_index=True)


def _bars(ax: Axes, shares: pd.DataFrame) -> None:
    y, left = np.arange(len(shares)), np.zeros(len(shares))
    for name, color in (("novel", _NOVEL), ("unknown", UNKNOWN), ("labelled", _LABELLED)):
        ax.barh(y, shares[name], left=left, color=color, height=_HEIGHT, label=name)
        left += shares[name]
    ax.scatter(shares["confidence"], y, s=40, color=INK, edgecolor="white", linewidth=1, zorder=4, clip_on=False)
    for row, share in enumerate(shares["novel"]):
        ax.text(1.02, row, f"{share:.0%}", va="center", fontsize="small", color=INK if share > 0.5 else "#8a8a8a")
    ax.set(xlim=(0, 1), ylim=(len(shares) - 0.4, -0.6), xlabel="share of the cells, mean confidence")
    names = [f"{wrapped(name, 36)} ({n:,})" for name, n in zip(shares["group"], shares["n_cells"], strict=True)]
    ax.set_yticks(y, names)
    ax.tick_params(axis="both", length=0, labelsize="small")
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _histogram(ax: Axes, values: Floats, threshold: float) -> None:
    counts, edges = np.histogram(values, bins=_BINS, range=(0, 1))
    colors = np.where(edges[:-1] >= threshold - 1e-6, _NOVEL, _LABELLED)
    shares = counts / max(len(values), 1)
    ax.bar(edges[:-1], shares, width=0.94 / _BINS, align="edge", color=colors)
    ax.axvline(threshold, color="#8a8a8a", linewidth=1, linestyle=(0, (4, 3)))
    ax.set(xlim=(0, 1), xlabel="novelty: probability that the type is not in the atlas", ylabel="share of the cells")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_title(
        f"{(values >= threshold).mean():.0%} of {len(values):,} cells are novel", loc="left", fontsize="medium"
    )
    ax.tick_params(labelsize="small")
    ax.spines[["top", "right"]].set_visible(False)


def _legend_handles() -> list[Line2D | Patch]:
    colors = {"novel": _NOVEL, "unknown": UNKNOWN, "labelled": _LABELLED}
    dot = Line2D([], [], color=INK, label="mean confidence", marker="o", linestyle="", markersize=6)
    return [*(Patch(color=color, label=name) for name, color in colors.items()), dot]
