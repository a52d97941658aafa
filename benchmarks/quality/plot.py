"""Plot the results: the tests side by side, and the effect of fewer genes and counts.

python benchmarks/quality/plot.py RESULTS.json [--out docs/_static/quality.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from data import TESTS
from methods import MODULES
from tables import by_test, by_variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUT = Path(__file__).parents[2] / "docs" / "_static" / "quality.png"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999", "#B8A600")
"""Colours of Okabe and Ito, distinct for colour-blind readers; markers differ too."""
MARKERS = "oD^vsP*X<"
LEAST = 0.4
"""Lower end of the axis of the tests."""
CURVES = {
    "genes": (["full", "genes 2000", "genes 1000", "genes 500", "genes 200"], ["all", "2,000", "1,000", "500", "200"]),
    "counts": (["full", "counts 50%", "counts 20%", "counts 10%"], ["all", "50 %", "20 %", "10 %"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    draw(json.loads(arguments.results.read_text()), arguments.out)


def draw(found: list[dict[str, Any]], out: Path) -> None:
    """Draw the tests with both references, and the variants with blood and pancreas together."""
    every = pd.DataFrame(found)
    frame, apart = every[every["reference"] == "together"], every[every["reference"] == "apart"]
    table = by_test(frame, "macro_f1")
    style = styles(list(table.index))
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.6), width_ratios=[2.4, 1.2, 1], layout="constrained")
    dots(axes[0], table, by_test(apart, "macro_f1") if len(apart) else table[:0], style)
    for ax, what in zip(axes[1:], CURVES, strict=True):
        curves(ax, by_variant(frame), what, style)
    axes[2].sharey(axes[1])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    plt.close(figure)


def styles(methods: list[str]) -> dict[str, dict[str, Any]]:
    """Return marker and colour of each method, independent of the shown methods; scim is in front."""
    looks = dict(zip(MODULES, zip(COLOURS, MARKERS, strict=True), strict=True))
    return {
        name: {"color": look[0], "marker": look[1], "zorder": 4 if name == "scim" else 3}
        for name, look in looks.items()
        if name in methods
    }


def dots(ax: Axes, table: pd.DataFrame, apart: pd.DataFrame, style: dict[str, dict[str, Any]]) -> None:
    """Draw one column per test and per mean; values below `LEAST` are drawn at `LEAST`."""
    names = [name for name in table if name in TESTS] + [name for name in table if name not in TESTS]
    for place, (name, look) in enumerate(style.items()):
        across = np.arange(len(names)) + 0.6 * (place / max(1, len(style) - 1) - 0.5)
        size = 60 if name == "scim" else 26
        ax.scatter(across, table.loc[name, names].clip(lower=LEAST), s=size, label=name, **look)
        if name in apart.index:
            values = apart.loc[name].reindex(names).clip(lower=LEAST)
            ax.scatter(
                across, values, s=size, **look | {"facecolor": "none", "edgecolor": look["color"], "color": None}
            )
    for place in range(1, len(names)):
        last = names[place - 1] in TESTS and names[place] not in TESTS
        ax.axvline(place - 0.5, color="black" if last else "0.9", lw=0.8)
    labels = [name.replace("_", "\n", 1).replace("mean ", "mean\n") for name in names]
    ax.set_xticks(range(len(names)), labels, fontsize=8, rotation=60)
    ticks = np.arange(LEAST, 1.01, 0.1)
    ax.set_yticks(ticks, [f"<{LEAST}", *(f"{tick:.1f}" for tick in ticks[1:])])
    title = "held-out study" + (" (hollow: trained on its tissue only)" if len(apart) else "")
    ax.set(ylabel="macro-F1", title=title, xlim=(-0.5, len(names) - 0.5))
    ax.grid(axis="y", alpha=0.3)


def curves(ax: Axes, table: pd.DataFrame, what: str, style: dict[str, dict[str, Any]]) -> None:
    """Draw the mean of the tests against the number of genes or counts."""
    variants, ticks = CURVES[what]
    if set(variants) <= set(table):
        for name, look in style.items():
            width = 2.2 if name == "scim" else 1
            ax.plot(range(len(variants)), table.loc[name, variants], lw=width, ms=5, **look)
    ax.set_xticks(range(len(variants)), ticks, fontsize=8)
    ax.set(title=f"fewer {what}", xlabel=f"{what} of the query")
    ax.grid(alpha=0.3)


if __name__ == "__main__":
    main()
