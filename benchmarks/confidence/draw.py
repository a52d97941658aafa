"""Draw reliability diagrams: one panel per method over all studies, with the histogram of its confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import matplotlib.pyplot as plt
import measures
import numpy as np
from findings import by_test
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

INK, LINE, OVER, UNDER = "#222222", "#0072B2", "#D55E00", "#009E73"
"""Colours of Okabe and Ito, distinct for colour-blind readers."""
LEAST_WEIGHT = 0.002
"""A bin of a smaller share of the cells is not drawn."""


def reliability(found: dict[str, dict[str, measures.Scored]], out: Path) -> None:
    """Draw a panel for each method, with equal weights of the studies, and below it the share of cells in each bin."""
    errors = by_test(found, measures.calibration_error)["all"]
    columns = -(-len(found) // 2)
    figure = plt.figure(figsize=(2.6 * columns, 7.9), layout="constrained")
    grid = figure.add_gridspec(5, columns, height_ratios=[1, 0.28, 0.06, 1, 0.28])
    for place, (name, tests) in enumerate(found.items()):
        row, column = divmod(place, columns)
        above = figure.add_subplot(grid[3 * row, column])
        below = figure.add_subplot(grid[3 * row + 1, column], sharex=above)
        table = measures.bins(list(tests.values()), weights(list(tests)))
        curve(above, table, name, errors[name])
        histogram(below, table, mean(table, "right"), mean(table, "confidence"))
        if column == 0:
            above.set_ylabel("share right", color=INK)
            below.set_ylabel("cells", color=INK)
        else:
            above.tick_params(labelleft=False)
        if row == 1 or place + columns >= len(found):
            below.set_xlabel("confidence", color=INK)
    figure.legend(handles=key(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, facecolor="white")
    plt.close(figure)


def weights(tests: list[str]) -> list[float]:
    """Return the weights of the tests; studies have equal weights."""
    studies = [data.TESTS[test].left_out for test in tests]
    return [1 / studies.count(study) / len(set(studies)) for study in studies]


def mean(table: pd.DataFrame, column: str) -> float:
    """Return the mean of a column over all cells."""
    return float((table["weight"] * table[column].fillna(0)).sum())


def curve(ax: Axes, table: pd.DataFrame, name: str, error: float) -> None:
    """Draw the share of right labels by confidence, and the gap to the confidence."""
    filled = table[table["weight"] >= LEAST_WEIGHT]
    ax.plot([0, 1], [0, 1], color="0.75", lw=1, zorder=1)
    for _, (_, p, right) in filled.iterrows():
        ax.plot(
            [p, p],
            [p, right],
            color=OVER if right < p else UNDER,
            lw=3.5,
            alpha=0.35,
            solid_capstyle="butt",
            clip_on=False,
        )
    ax.plot(filled["confidence"], filled["right"], color=LINE, lw=1.6, zorder=3, clip_on=False)
    size = 14 + 130 * filled["weight"]
    ax.scatter(
        filled["confidence"], filled["right"], s=size, color=LINE, edgecolor="white", lw=0.8, zorder=4, clip_on=False
    )
    ax.text(0.97, 0.05, f"ECE {error:.3f}".replace("0.", "."), ha="right", color=INK, fontsize=10, weight="bold")
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.set_title(title(name), fontsize=10, color=INK, weight="bold" if name.startswith("scim") else "normal")
    ax.tick_params(labelbottom=False, length=2, colors="0.35")
    tidy(ax)


def histogram(ax: Axes, table: pd.DataFrame, right: float, confidence: float) -> None:
    """Draw the share of cells in each bin, the mean confidence and the share of right labels."""
    edges = np.linspace(0, 1, len(table) + 1)
    ax.bar(edges[:-1], table["weight"], width=edges[1] * 0.92, align="edge", color="0.82")
    ax.axvline(right, color=INK, lw=1.2)
    ax.axvline(confidence, color=LINE, lw=1.2, ls=(0, (3, 2)))
    ax.set(ylim=(0, 1), yticks=[0, 1], xticks=[0, 0.5, 1])
    ax.tick_params(length=2, colors="0.35")
    tidy(ax)


def key() -> list[Line2D]:
    """Return the legend."""
    return [
        Line2D([], [], color=LINE, marker="o", ms=5, lw=1.6, label="share right in a bin of confidence"),
        Line2D([], [], color=OVER, lw=4, alpha=0.35, label="overconfident"),
        Line2D([], [], color=UNDER, lw=4, alpha=0.35, label="underconfident"),
        Line2D([], [], color=INK, lw=1.2, label="right, of all"),
        Line2D([], [], color=LINE, lw=1.2, ls=(0, (3, 2)), label="mean confidence"),
    ]


def tidy(ax: Axes) -> None:
    """Remove the top and right spines."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("0.6")


def title(name: str) -> str:
    """Return the name of a method in at most two lines."""
    return name.replace(", ", ",\n", 1).replace(" of the plain", " of the\nplain", 1)
