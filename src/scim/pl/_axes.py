"""What the pictures share: axes to draw on, coordinates of the cells, colours of the categories."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

UNKNOWN, INK = "#d9d9d9", "#333333"


def axes_or_figure(
    ax: Axes | Sequence[Axes] | None,
    n: int = 1,
    *,
    size: tuple[float, float] = (5.0, 4.2),
    n_columns: int | None = None,
) -> tuple[list[Axes], Figure | None]:
    """Return `n` axes of a size in inches, and the figure when it had to be made; in one row, or as many as needed.

    Raises
    ------
    ValueError
        `ax` is given, but not `n` of them.
    """
    if ax is None:
        high = -(-n // (n_columns or n))
        wide = -(-n // high)
        inches = (size[0] * wide, size[1] * high)
        figure, made = plt.subplots(high, wide, figsize=inches, squeeze=False, layout="constrained")
        plt.close(figure)  # the caller shows it: a notebook would draw it a second time
        for surplus in made.flat[n:]:
            surplus.remove()
        return list(made.flat[:n]), figure
    given = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(given) != n:
        msg = f"This picture has {n} panels: expected ax with {n} axes, got {len(given)}."
        raise ValueError(msg)
    return given, None


def coordinates(adata: AnnData, basis: str) -> NDArray[np.float64]:
    """Return the first two columns of `obsm[basis]` or `obsm["X_" + basis]`.

    Raises
    ------
    KeyError
        It is not there.
    """
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            return np.asarray(adata.obsm[name], dtype=np.float64)[:, :2]
    msg = (
        f"obsm['X_{basis}'] not found; run sc.pp.neighbors(adata, use_rep='X_scim') and sc.tl.umap(adata), "
        f"or name another with basis=. Present: {sorted(adata.obsm)}."
    )
    raise KeyError(msg)


def scatter_axes(ax: Axes, basis: str, title: str) -> None:
    """Label the axes of a map of cells; its units mean nothing, so there are no ticks."""
    ax.set(title=title, xlabel=f"{basis} 1", ylabel=f"{basis} 2", xticks=[], yticks=[])
    ax.spines[["top", "right"]].set_visible(False)


def draw_points(ax: Axes, points: NDArray[np.float64], where: NDArray[np.bool_], **style: Any) -> Any:
    """Draw those cells that `where` marks, at a size with which all fill the map; return the artist."""
    return ax.scatter(points[where, 0], points[where, 1], s=point_size(len(points)), linewidths=0, **style)


def point_size(n: int) -> float:
    """Return a marker area with which `n` cells fill a map without hiding each other."""
    return float(np.clip(30_000 / max(n, 1), 0.5, 40))


def category_colors(adata: AnnData, key: str) -> dict[str, str]:
    """Return a colour for each category: those of `uns[key + "_colors"]` if as many, else distinct ones."""
    categories = pd.Categorical(adata.obs[key]).categories
    own = adata.uns.get(f"{key}_colors")
    colors = palette(len(categories)) if own is None or len(own) != len(categories) else [str(color) for color in own]
    return dict(zip(categories, colors, strict=True))


def label_colors(adata: AnnData, key: str, labels: Sequence[str]) -> dict[str, str]:
    """Return the colours that annotated labels have in all pictures; labels that no cell has get further ones."""
    own = {str(name): color for name, color in category_colors(adata, key).items()} if key in adata.obs else {}
    further = [label for label in dict.fromkeys(labels) if label not in own]
    return own | dict(zip(further, palette(len(own) + len(further))[len(own) :], strict=True))


def palette(n: int) -> list[str]:
    """Return `n` colours, the first nine of them strong and distinct; none is grey, which means unknown or other."""
    tab20 = [*mpl.color_sequences["tab20"][::2], *mpl.color_sequences["tab20"][1::2], *mpl.color_sequences["tab20b"]]
    colors = [mpl.colors.to_hex(color) for color in tab20 if len(set(color)) > 1]
    return [colors[i % len(colors)] for i in range(n)]


def wrapped(name: str, width: int) -> str:
    """Return a long name in two lines of at most `width` characters, what is longer cut with an ellipsis."""
    return textwrap.fill(name, width, max_lines=2, placeholder=" …", break_on_hyphens=False)
