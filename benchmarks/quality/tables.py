"""Make Markdown tables of the results."""

from __future__ import annotations

from typing import Any

import pandas as pd
from data import TESTS, VARIANTS


def all_tables(found: list[dict[str, Any]]) -> str:
    """Return macro-F1 and accuracy by test, and macro-F1 by variant of the query."""
    frame = pd.DataFrame(found)
    frame["method"] = frame["method"].where(frame["reference"] == "together", frame["method"] + ", apart")
    parts = [
        "Macro-F1, whole queries\n\n" + markdown(by_test(frame, "macro_f1")),
        "Accuracy, whole queries\n\n" + markdown(by_test(frame, "accuracy")),
        "Macro-F1, mean of the tests\n\n" + markdown(by_variant(frame)),
        "Seconds and GB of a training with its predictions, mean and max\n\n" + markdown(costs(frame), 1),
    ]
    return "\n\n".join(parts)


def by_test(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return methods x tests with the means of blood, pancreas and all, the best method first."""
    table = frame[frame["variant"] == "full"].pivot_table(value, "method", "test")
    table = table[[name for name in TESTS if name in table]]
    for tissue in ("blood", "pancreas"):
        tests = [name for name in table if name in TESTS and TESTS[name].tissue == tissue]
        if tests:
            table[f"mean {tissue}"] = table[tests].mean(axis=1, skipna=False)
    table["mean"] = table[[name for name in table if name in TESTS]].mean(axis=1, skipna=False)
    return table.sort_values("mean", ascending=False)


def by_variant(frame: pd.DataFrame) -> pd.DataFrame:
    """Return methods x variants, for methods with predictions of all tests."""
    each = frame.pivot_table("macro_f1", ["method", "variant"], "test")
    table = each.mean(axis=1, skipna=False).unstack("variant")
    table = table[[name for name in VARIANTS if name in table]]
    return table.sort_values(table.columns[0], ascending=False)


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds and memory of one training with its predictions."""
    once = frame.drop_duplicates(["method", "seed", "trained"])
    return once.groupby("method")[["seconds", "gigabytes"]].agg(["mean", "max"])


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """Return a table with numbers as .876."""
    heads = ["", *(" ".join(name) if isinstance(name, tuple) else name for name in table.columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, row in table.iterrows():
        values = ["" if pd.isna(value) else f"{value:.{digits}f}".removeprefix("0") for value in row]
        lines.append("| " + " | ".join([str(name), *values]) + " |")
    return "\n".join(lines)
