"""Make Markdown tables of the results of `run.py`."""

from __future__ import annotations

import math
from itertools import groupby, pairwise
from typing import Any

GOAL = 0.99

Finding = dict[str, Any]


def main_table(found: list[Finding]) -> str:
    """Return one row per engine: its cheapest settings that reach the recall, and ratios to the first engine."""
    heads = ["engine", "single p50 / p99 ms", "recall, setting", "batch ms/query", "recall, setting"]
    heads += [
        "k=10,000 p50 ms (recall)",
        "build s",
        "build peak MB (anon / file)",
        "bytes/row",
        "held MB (anon / file)",
    ]
    heads += ["open s", "single x", "batch x", "bytes x", "build x"]
    rows, first = [], None
    for engine in engines(found):
        mine = [f for f in found if f["engine"] == engine]
        facts = summary(mine)
        first = first or facts
        ratios = [ratio(facts[key], first[key]) for key in ("single_s", "batch_s", "bytes", "build_s")]
        rows.append([engine, *facts["cells"], *ratios])
    n_rows = next((f["n_rows"] for f in found if f["what"] == "open"), 0)
    return f"{found[0]['data']}, {n_rows:,} rows, k = 50, recall@50 >= {GOAL}\n\n" + markdown(heads, rows)


def summary(mine: list[Finding]) -> Finding:
    """Return the cells of an engine's row, and the numbers for the ratios."""
    points = {k: best(mine, ["setting"], k=k) for k in (50, 10_000)}
    single, batch, wide = (cheapest(points[k], key) for k, key in ((50, "p50"), (50, "batch"), (10_000, "p50")))
    builds, opens = ([f for f in mine if f["what"] == what] for what in ("build", "open"))
    opened = min(opens, key=lambda f: f["seconds"], default=None)
    built = builds[0] if builds else None
    cells = [f"{ms(single, 'p50')} / {ms(single, 'p99')}", reached(single), ms(batch, "batch"), reached(batch)]
    cells.append(f"{ms(wide, 'p50')} ({wide['recall']:.3f})" if wide else "-")
    cells += [f"{built['seconds']:.1f}", mb(built)] if built else ["-", "-"]
    if opened:
        cells += [f"{opened['bytes'] / opened['n_rows']:.0f}", mb(opened), f"{opened['seconds']:.3f}"]
    else:
        cells += ["-", "-", "-"]
    cells[0] += "".join(f" ({f['error']})" for f in mine if f["what"] == "error")
    figures = {"single_s": single and single["p50"], "batch_s": batch and batch["batch"]}
    return {**figures, "bytes": opened and opened["bytes"], "build_s": built and built["seconds"], "cells": cells}


def filters_table(found: list[Finding]) -> str:
    """Return one row per filter and engine, with ratios to no filter and to the first engine."""
    heads = ["filter", "passing", "engine", "p50 / p99 ms", "batch ms/query", "recall", "right count", "setting"]
    heads += ["p50 x no filter", "single x", "batch x"]
    points = best([f for f in found if f["what"] == "filter"], ["filter", "engine", "setting"])
    rows = []
    names = list(dict.fromkeys(p["filter"] for p in points))
    chosen = {
        (name, engine): cheapest([p for p in points if (p["filter"], p["engine"]) == (name, engine)], "batch")
        for name in names
        for engine in engines(found)
    }
    for (name, engine), p in chosen.items():
        if p is None:
            continue
        plain, first = chosen["no filter", engine], chosen[name, engines(found)[0]]
        facts = [name, f"{p['passing']:,}", engine, f"{ms(p, 'p50')} / {ms(p, 'p99')}", ms(p, "batch")]
        facts += [
            f"{p['recall']:.3f}",
            f"{p['right_count']:.3f}",
            text_of(p["setting"]),
            ratio(p["p50"], plain and plain["p50"]),
        ]
        rows.append([*facts, *(ratio(p[key], first and first[key]) for key in ("p50", "batch"))])
    cut = "".join(f"\n\n{f['engine']}: {f['error']}" for f in found if f["what"] == "error")
    return f"{found[0]['data']}, k = 50\n\n" + markdown(heads, rows) + cut


def growth_table(found: list[Finding]) -> str:
    """Return the exponent with which time grows from one number of rows to the next; 0.5 is the square root."""
    rows = []
    for engine in engines(found):
        steps = []
        for _, group in groupby((f for f in found if f["engine"] == engine), key=lambda f: f["data"]):
            mine = list(group)
            n_rows = next((f["n_rows"] for f in mine if f["what"] == "open"), None)
            steps.append((n_rows, summary(mine)))
        for (n, before), (m, after) in pairwise(steps):
            if n and m:
                grown = [exponent(after[key], before[key], m / n) for key in ("single_s", "batch_s")]
                rows.append([engine, f"{n:,} to {m:,}", *grown])
    return markdown(["engine", "rows", "exponent of rows: single", "batch"], rows)


def engines(found: list[Finding]) -> list[str]:
    return list(dict.fromkeys(f["engine"] for f in found))


def best(found: list[Finding], by: list[str], **only: Any) -> list[Finding]:
    """Return one point per setting; each time is the best of the rounds."""
    groups: dict[str, Finding] = {}
    for f in found:
        if "p50" not in f or any(f[key] != value for key, value in only.items()):
            continue
        seen = groups.setdefault(str([f[key] for key in by]), dict(f))
        seen |= {key: min(seen[key], f[key]) for key in ("p50", "p99", "batch")}
    return list(groups.values())


def cheapest(points: list[Finding], key: str) -> Finding | None:
    """Return the fastest point that reaches the recall, or that of the best recall."""
    good = [p for p in points if p["recall"] >= GOAL and p.get("right_count", 1) == 1]
    if good:
        return min(good, key=lambda p: p[key])
    return max(points, key=lambda p: p["recall"], default=None)


def reached(point: Finding | None) -> str:
    if point is None:
        return "-"
    return f"{point['recall']:.3f}{'' if point['recall'] >= GOAL else ' (below)'}, {text_of(point['setting'])}"


def text_of(setting: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in setting.items())


def ms(point: Finding | None, key: str) -> str:
    return "-" if point is None else f"{point[key] * 1e3:.3f}"


def mb(finding: Finding) -> str:
    return f"{finding['anon'] / 1e6:.0f} / {finding['file'] / 1e6:.0f}"


def ratio(value: float | None, to: float | None) -> str:
    return f"{value / to:.2f}" if value and to else "-"


def exponent(after: float | None, before: float | None, times: float) -> str:
    return f"{math.log(after / before) / math.log(times):.2f}" if after and before else "-"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
