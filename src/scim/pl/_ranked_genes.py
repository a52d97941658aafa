"""A ranking of genes, as bars with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.checks import check_count, refuse_absent
from scim.pl._attribution import gene_bars
from scim.pl._axes import INK, axes_or_figure, palette

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ranked_genes(genes: pd.DataFrame, *, top: int = 15, ax: Axes | None = None) -> Figure | None:
    """Draw the first genes of a frame, as :func:`scim.get.attribution` gives for one group.

    Parameters
    ----------
    genes
        A row a gene, in the order in which they are drawn: `gene`, `mean`, and the interval `low` to `high`.
    top
        Number of genes.
    ax
        Axes to draw on.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        A column is not there.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> figure = scim.pl.ranked_genes(scim.get.attribution(adata, "T cell"), top=5)
    """
    refuse_absent(["gene", "mean", "low", "high"], list(genes.columns), of="genes")
    check_count("top", top)
    some = genes.head(top)
    axes, figure = axes_or_figure(ax, size=(3.3, 0.9 + 0.21 * len(some)))
    gene_bars(axes[0], some, palette(1)[0])
    axes[0].set_xlabel("attribution", color=INK)
    return figure
