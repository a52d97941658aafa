"""Draw the label of each group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scim._core import check_adata, keys
from scim._core.adata import annotation_record
from scim.pl._drawing import INK, UNKNOWN, axes_or_figure, drawn, label_colors, legend_above

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE = "#8a8a8a"
_RIGHT = 2.0  # end of the axis: the bars end at 1, the labels are beside them
_COLUMNS = ("group", "n_cells", "label", "confidence", "runner_up", "runner_up_share", "share", "unknown", "mixed")


def consensus(adata: AnnData, *, key: str = keys.LABEL, ax: Axes | None = None) -> Figure | None:
    """Draw the label of each group of cells, its confidence, and the runner-up.

    A row is a group with its number of cells. The bar is the share of its cells with the label of the group, grey for
    an unknown group; the lighter bar behind it is the share of the runner-up, the thin grey bar below that of unknown
    cells. The dot is the confidence, hollow if the group is mixed. On the right are the label and the runner-up.

    Parameters
    ----------
    adata, key
        Cells annotated by :func:`scim.tl.annotate` with `groupby`, and its `key_added`.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        There is no annotation of this name, or it has no groups.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.annotate(adata, groupby="cell_type")
    >>> figure = scim.pl.consensus(adata)
    """
    check_adata(adata)
    groups = _groups(adata, key)
    (axes,), figure = axes_or_figure(ax, size=(9.4, 1.2 + 0.4 * len(groups)))
    labels = [*groups["label"].dropna(), *groups["runner_up"].dropna()]
    _bars(axes, groups, label_colors(adata, key, labels))
    axes.set_ylabel(drawn(adata.uns[key]["params"].get("groupby", "")))
    _dots(axes, groups)
    _words(axes, groups)
    legend_above(axes, _legend_handles())
    return figure


def _groups(adata: AnnData, key: str) -> pd.DataFrame:
    groups = annotation_record(adata, key, "scim.tl.annotate(adata, groupby=...)").get("groups")
    if not isinstance(groups, pd.DataFrame) or not set(_COLUMNS) <= set(groups):
        msg = f"uns[{key!r}] was made without groups; run scim.tl.annotate(adata, groupby=...), such as 'leiden'."
        raise KeyError(msg)
    words = {name: groups[name].astype(object) for name in ("group", "label", "runner_up")}
    return groups.assign(**words).reset_index(drop=True)


def _bars(ax: Axes, groups: pd.DataFrame, colors: dict[str, str]) -> None:
    y, share, second = np.arange(len(groups)), groups["share"], groups["runner_up_share"]
    label_color, second_color = (
        [colors.get(name, UNKNOWN) if isinstance(name, str) else UNKNOWN for name in groups[column]]
        for column in ("label", "runner_up")
    )
    ax.barh(y, np.ones(len(groups)), color="#f6f6f6", height=0.52, zorder=0)
    ax.barh(y, share, color=label_color, height=0.52)
    ax.barh(y, second, left=share, color=second_color, alpha=0.38, height=0.52)
    ax.barh(y + 0.34, groups["unknown"], color="#9a9a9a", height=0.1)
    ax.set(xlim=(0, _RIGHT), ylim=(len(groups) - 0.4, -0.6), xticks=np.linspace(0, 1, 6))
    ax.set_xlabel("share of the cells, confidence", loc="left")
    ax.set_yticks(y, [f"{drawn(name)} ({n:,})" for name, n in zip(groups["group"], groups["n_cells"], strict=True)])
    ax.tick_params(axis="both", length=0, labelsize="small")
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _dots(ax: Axes, groups: pd.DataFrame) -> None:
    mixed = groups["mixed"].to_numpy(dtype=np.bool_)
    ink = np.where(groups["label"].isna(), _PALE, INK)
    fill = np.where(mixed, "white", ink)
    style: dict[str, Any] = {"edgecolor": np.where(mixed, ink, "white"), "linewidth": 1.2, "zorder": 4}
    ax.scatter(groups["confidence"], np.arange(len(groups)), s=46, c=fill, clip_on=False, **style)


def _words(ax: Axes, groups: pd.DataFrame) -> None:
    columns = (groups[name] for name in ("label", "runner_up", "runner_up_share", "mixed"))
    for y, (name, second, share, mixed) in enumerate(zip(*columns, strict=True)):
        two = pd.notna(second) and share >= 0.005  # less would be 0 %
        unknown = pd.isna(name)
        style: dict[str, Any] = {"color": _PALE, "fontstyle": "italic"} if unknown else {"color": INK}
        ax.text(1.04, y - 0.17 * two, "unknown" if unknown else drawn(name), va="center", fontsize="medium", **style)
        if two:
            what = f"{'mixed with' if mixed else 'then'} {drawn(second)} {share:.0%}"
            ax.text(1.04, y + 0.2, what, va="center", fontsize="small", color=INK if mixed else _PALE)


def _legend_handles() -> list[Line2D | Patch]:
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 6.5}
    handles: list[Line2D | Patch] = [Line2D([], [], color=INK, label="confidence", **dot)]
    handles.append(Line2D([], [], markerfacecolor="white", markeredgecolor=INK, label="of a mixed group", **dot))
    handles += [Patch(color="#6b8fb5", label="has the label"), Patch(color="#6b8fb5", alpha=0.38, label="runner-up")]
    return [*handles, Patch(color="#9a9a9a", label="unknown")]
