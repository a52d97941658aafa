"""Draw the share of hits in each sample, by the values of a column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim import get
from scim._core import check_adata, check_count, check_range, keys
from scim.pl._drawing import UNKNOWN, axes_or_figure, drawn, palette
from scim.pl._query_counts import check_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scim._core.types import Doubles


def enrichment(
    adata: AnnData,
    queries: str | Sequence[str] | None = None,
    *,
    top: int = 12,
    max_q: float = 0.05,
    key: str = keys.ENRICHMENT,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure | None:
    """Draw the share of the cells of each sample that are hits, by the values of a column.

    A dot is a sample, larger with more cells; a black tick is the mean of the value, a grey one its background.
    Values with a q of at most `max_q` are coloured and have a star.

    Parameters
    ----------
    adata, key
        Cells for which :func:`scim.tl.enrichment` was run, and its `key_added`.
    queries
        Groups to draw, a panel each. Default: all.
    top
        Number of values to show for each: the most significant.
    max_q
        False discovery rate up to which a value is marked, 0 to 1.
    ax
        Axes to draw on, as many as panels.

    Returns
    -------
    The figure, or `None` when `ax` was given.

    Raises
    ------
    KeyError
        `tl.enrichment` wrote nothing under this name, or there is no such query.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.embed(adata)
    >>> scim.tl.search(adata, groupby="cell_type", k=500, where="study == 'onek1k'")
    >>> scim.tl.enrichment(adata, "label", sample_key="donor")
    >>> figure = scim.pl.enrichment(adata, ["T cell", "B cell"], top=5)
    """
    check_adata(adata)
    top = check_count("top", top)
    check_range("max_q", max_q, 1.0)
    table = get.enrichment(adata, key=key)
    record = adata.uns[key]
    present = [str(query) for query in record["queries"]]
    names = present if queries is None else check_queries(queries)
    if unknown := [name for name in names if name not in present]:
        msg = f"uns[{key!r}] has no query {unknown}. Present: {present}."
        raise KeyError(msg)
    tables = [table[table["query"] == name].head(top) for name in names]
    axes, figure = axes_or_figure(ax, len(names), size=(5.5, 1.2 + 0.34 * max(map(len, tables))))
    samples = record["samples"]
    for axis, name, rows in zip(axes, names, tables, strict=True):
        shares = np.asarray(record["hits"])[present.index(name)] / samples["n_cells"].to_numpy()
        _panel(axis, rows, samples, shares, max_q)
        axis.set(title=drawn(name), xlabel="share of the cells of a sample that are hits")
    axes[0].set_ylabel(drawn(record["params"]["by"]))
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, samples: pd.DataFrame, shares: Doubles, max_q: float) -> None:
    significant = (rows["q"] <= max_q).to_numpy()
    marked, values = palette(1)[0], samples["value"].to_numpy()
    area = 4 + 36 * np.sqrt(samples["n_cells"].to_numpy() / samples["n_cells"].max())
    for y, value in enumerate(rows["value"]):
        selected, color = values == value, marked if significant[y] else UNKNOWN
        # Dots of equal samples would hide each other: they are shifted, in the order of the samples.
        n = int(selected.sum())
        shift = np.linspace(-0.28, 0.28, n) if n > 1 else np.zeros(1)
        ax.scatter(shares[selected], y + shift, s=area[selected], color=color, linewidths=0, label=drawn(value))
    y_rows = np.arange(len(rows))
    ax.scatter(rows["background"], y_rows, marker="|", s=160, color="#808080", label="background")
    ax.scatter(rows["fraction"], y_rows, marker="|", s=160, color="black", label="mean")
    marks = np.where(significant, " *", "")
    ax.set_yticks(y_rows, [f"{drawn(value)}{mark}" for value, mark in zip(rows["value"], marks, strict=True)])
    ax.invert_yaxis()
    ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
    ax.spines[["top", "right"]].set_visible(False)
