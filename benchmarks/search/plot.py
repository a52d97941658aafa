"""Plot recall against the time per query, one figure per data set, from the results of `run.py table` or `packaged`.

python benchmarks/search/plot.py [--data FOLDER] [--out docs/_static]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import data as data_sets
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator
from tables import best, engines

OUT = Path(__file__).parents[2] / "docs" / "_static"
MOST = 1e-5  # 1 - recall at which the axis ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_sets.FOLDER)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.data / "results"
    for path in sorted([*results.glob("table-*.jsonl"), *results.glob("packaged-*.jsonl")]):
        found = [json.loads(line) for line in path.read_text().splitlines()]
        out = arguments.out / f"search-{found[0]['data']}.png"
        draw(found, out)
        print(out)


def draw(found: list[dict[str, Any]], out: Path) -> None:
    """Draw single queries and batches side by side."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    styles = [f"{marker}-" for marker in "osD^vP*X<>"]
    for ax, key, label in zip(axes, ("p50", "batch"), ("single query, median", "batch of 1,000"), strict=True):
        for place, engine in enumerate(engines(found)):
            points = best([f for f in found if f["engine"] == engine], ["setting"], k=50)
            times, missed = frontier(points, key)
            ax.plot(times, missed, styles[place % len(styles)], ms=5, label=engine, zorder=3 - (place > 0))
        ax.set(xscale="log", yscale="log", xlabel=f"ms per query, {label}")
        ax.axhline(0.01, color="grey", lw=0.8, ls="--")
        ax.grid(which="major", alpha=0.3)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
    n_rows = next(f["n_rows"] for f in found if f["what"] == "open")
    ticks = [0.5, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]
    axes[0].set(ylim=(0.3, 4e-4), ylabel="recall@50", yticks=ticks, yticklabels=[f"{1 - t:g}" for t in ticks])
    for ax in axes:
        ax.minorticks_off()
    axes[1].legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{n_rows:,} rows")
    figure.savefig(out, dpi=120)
    plt.close(figure)


def frontier(points: list[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return ms and 1 - recall of the points on the Pareto front."""
    times, missed = [], []
    for point in sorted(points, key=lambda p: p[key]):
        left = max(MOST, 1 - point["recall"])
        if not missed or left < missed[-1]:
            times.append(point[key] * 1e3)
            missed.append(left)
    return times, missed


if __name__ == "__main__":
    main()
