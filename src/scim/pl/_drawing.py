"""Provide what plots share: axes, maps of cells, colours of categories."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from scim._core import check_text, printable
from scim.io.cells import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim._core.types import Bools, Doubles

UNKNOWN, INK = "#d9d9d9", "#333333"


def axes_or_figure(
    ax: Axes | Sequence[Axes] | None, n: int = 1, *, size: tuple[float, float] = (5.0, 4.2), n_columns: int = 0
) -> tuple[list[Axes], Figure | None]:
    """Return `n` axes, and their figure if it is new: in rows of `n_columns`, each of `size` in inches.

    Raise ValueError if `ax` is given and has not `n` axes, TypeError if they are no axes.
    """
    if ax is None:
        n_rows = -(-n // (n_columns or n))
        n_columns = -(-n // n_rows)
        inches = (size[0] * n_columns, size[1] * n_rows)
        figure, panels = plt.subplots(n_rows, n_columns, figsize=inches, squeeze=False, layout="constrained")
        plt.close(figure)  # the caller shows it: a notebook would draw it a second time
        for surplus in panels.flat[n:]:
            surplus.remove()
        return list(panels.flat[:n]), figure
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != n:
        msg = f"This picture has {n} panels: expected ax with {n} axes, got {len(given)}."
        raise ValueError(msg)
    if wrong := [panel for panel in given if not isinstance(panel, mpl.axes.Axes)]:
        msg = f"ax must be axes of matplotlib, got {type(wrong[0]).__name__}."
        raise TypeError(msg)
    return given, None


def coordinates(adata: AnnData, basis: str) -> Doubles:
    """Return the first two columns of `obsm[basis]` or `obsm["X_" + basis]`. Raise KeyError without them."""
    check_text(basis=basis)
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            points = dense(adata.obsm[name], f"obsm[{name!r}]")
            if points.ndim != 2 or points.shape[1] < 2 or points.dtype.kind not in "fiu":
                msg = f"obsm[{name!r}] is no map: expected two columns of numbers, got {points.dtype}, {points.shape}."
                raise ValueError(msg)
            return points[:, :2].astype(np.float64)
    remedy = "run sc.pp.neighbors(adata, use_rep='X_scim') and sc.tl.umap(adata), or name another with basis="
    msg = f"obsm['X_{basis}'] not found; {remedy}. Present: {sorted(adata.obsm)}."
    raise KeyError(msg)


def scatter_axes(ax: Axes, basis: str, title: str) -> None:
    """Label the axes of a map of cells, which has no units and no ticks."""
    ax.set(title=title, xlabel=f"{drawn(basis)} 1", ylabel=f"{drawn(basis)} 2", xticks=[], yticks=[])
    ax.spines[["top", "right"]].set_visible(False)


def draw_points(ax: Axes, points: Doubles, where: Bools, **style: Any) -> Any:
    """Draw the cells that `where` selects, at a size at which all cells fill the map; return the artist."""
    area = float(np.clip(30_000 / max(len(points), 1), 0.5, 40))
    return ax.scatter(points[where, 0], points[where, 1], s=area, linewidths=0, **style)


def category_colors(adata: AnnData, key: str) -> dict[str, str]:
    """Return a colour for each category: those of `uns[key + "_colors"]` if as many, else distinct ones."""
    categories = pd.Categorical(adata.obs[key]).categories
    stored = adata.uns.get(f"{key}_colors")
    usable = stored is not None and len(stored) == len(categories)
    colors = [str(color) for color in stored] if usable else palette(len(categories))
    return dict(zip(categories, colors, strict=True))


def label_colors(adata: AnnData, key: str, labels: Sequence[str]) -> dict[str, str]:
    """Return the colours of annotated labels, the same in all plots; labels that no cell has get further ones."""
    colors = {str(name): color for name, color in category_colors(adata, key).items()} if key in adata.obs else {}
    further = [label for label in dict.fromkeys(labels) if label not in colors]
    return colors | dict(zip(further, palette(len(colors) + len(further))[len(colors) :], strict=True))


def palette(n: int) -> list[str]:
    """Return `n` colours, the first nine strong and distinct; none is grey, the colour of unknown and other."""
    tab20 = [*mpl.color_sequences["tab20"][::2], *mpl.color_sequences["tab20"][1::2], *mpl.color_sequences["tab20b"]]
    colors = [mpl.colors.to_hex(color) for color in tab20 if len(set(color)) > 1]
    return [colors[i % len(colors)] for i in range(n)]


def legend_above(ax: Axes, handles: Sequence[Artist]) -> None:
    """Draw a legend of one row above the axes."""
    style: dict[str, Any] = {"frameon": False, "fontsize": "small", "handlelength": 0.9, "borderaxespad": 0.35}
    ax.legend(handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1), **style)


def drawn(name: object, longest: int = 60) -> str:
    """Return a name as text of a picture: in one line, with an ellipsis if it is longer than `longest` characters."""
    text = _plain(name)
    return _escaped(text if len(text) <= longest else text[: longest - 1] + "…")


def wrapped(name: object, width: int) -> str:
    """Return a name as text of a picture: in at most two lines of `width` characters, with an ellipsis."""
    text = textwrap.fill(_plain(name), width, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return _escaped(text)


def _plain(name: object) -> str:
    return printable(" ".join(str(name).split()))


def _escaped(text: str) -> str:
    # Matplotlib takes what is between two dollars for a formula, and leaves names that begin with "_" out of a legend.
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")
