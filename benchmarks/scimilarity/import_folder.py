"""Measure the seconds, memory and disk space of importing a published folder, at several sizes.

    python benchmarks/scimilarity/import_folder.py OUT --cells 1000000 2500000 5000000

Each folder is simulated: 128 dimensions, hnswlib files of M = 80, a third of the cells labelled, 25 metadata columns,
a network of full shape. The import is the command `scim import-scimilarity`, in a monitored process; then another
process opens the atlas and searches it. A linear fit of the sizes predicts 23.4 million cells. The row of a size
is printed when it is done, so a run can be stopped early; folders are deleted after their import.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from helpers import published

WHOLE = 23_381_150
GENES = [f"gene{i}" for i in range(28_231)]
LABELS = (
    "B cell", "T cell", "natural killer cell", "platelet", "classical monocyte", "type B pancreatic cell", "macrophage",
    "fibroblast", "endothelial cell", "neuron", "hepatocyte", "mast cell", "plasma cell", "erythrocyte", "neutrophil",
    "basophil", "pericyte", "astrocyte", "oligodendrocyte", "keratinocyte",
)  # fmt: skip

COMMAND = "from scim.cli import main; main()"

SEARCH = """
import json, sys, time, numpy as np, scim
with scim.atlas.open(sys.argv[1]) as atlas:
    rng = np.random.default_rng(0)
    X = atlas.embeddings(rng.choice(atlas.ids, 1000, replace=False)) + rng.normal(0, 0.02, (1000, atlas.dim))
    atlas.index.query(X[:10], 50)
    start = time.perf_counter()
    for row in X:
        atlas.index.query(row[None], 50)
    took = (time.perf_counter() - start) / len(X)
    one = {line.split(":")[0]: int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("Rss")}
    for start in range(0, len(X), 100):
        atlas.index.query(X[start : start + 100], 50)
    held = sum(atlas.index.nbytes.values())
    print(json.dumps({"ms": took * 1000, "resident": held, **one}))
"""


def monitored(command: list[str]) -> dict[str, float]:
    """Run a command; return its minutes, and its peak anonymous and peak resident memory in GB."""
    start, anonymous, resident = time.perf_counter(), 0, 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            break
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmRSS"))}
        anonymous, resident = max(anonymous, sizes.get("RssAnon", 0)), max(resident, sizes.get("VmRSS", 0))
        time.sleep(0.02)
    if process.wait() != 0:
        sys.exit(f"{command} failed")
    seconds = time.perf_counter() - start
    return {"minutes": seconds / 60, "anonymous_gb": anonymous / 1e6, "resident_gb": resident / 1e6}


def size_of(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


def measure(n: int, out: Path) -> dict[str, float]:
    folder, atlas = out / f"model_{n}", out / f"{n}.scim"
    for path in (folder, atlas):
        shutil.rmtree(path, ignore_errors=True)
    cells = published.Cells(n, 128, len(LABELS), 60)
    published.write_folder(
        folder,
        cells,
        genes=GENES,
        hidden=(1024, 1024, 1024),
        labels=LABELS,
        m=80,
        links="none",
        search=("full_kNN.bin",),
    )
    row = {"cells": float(n), "folder_gb": size_of(folder)}
    row |= monitored([sys.executable, "-c", COMMAND, "import-scimilarity", str(folder), str(atlas)])
    shutil.rmtree(folder)
    row["atlas_gb"] = size_of(atlas)
    found = json.loads(
        subprocess.run([sys.executable, "-c", SEARCH, str(atlas)], capture_output=True, check=True).stdout
    )
    row |= {"search_gb": (found["RssAnon"] + found["RssFile"]) / 1e6, "codes_gb": found["resident"] / 1e9}
    row["search_ms"] = found["ms"]
    return row


def line_at(rows: list[dict[str, float]], key: str) -> float:
    """Return the prediction of a linear fit of the sizes for the whole atlas."""
    n, y = np.array([row["cells"] for row in rows]), np.array([row[key] for row in rows])
    slope, start = np.polyfit(n, y, 1)
    return float(start + slope * WHOLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000_000, 2_500_000, 5_000_000])
    parser.add_argument("--keep", action="store_true", help="do not delete the atlases")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float]] = []
    for n in arguments.cells:
        rows.append(measure(n, arguments.out))
        if len(rows) == 1:
            print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
        print(
            "| " + " | ".join(f"{value:,.2f}" if key != "cells" else f"{n:,}" for key, value in rows[-1].items()) + " |"
        )
        sys.stdout.flush()
        if not arguments.keep:
            shutil.rmtree(arguments.out / f"{n}.scim")
    if len(rows) > 1:
        predicted = [f"{line_at(rows, key):,.2f}" for key in rows[0] if key != "cells"]
        print(f"| {WHOLE:,} (linear fit) | " + " | ".join(predicted) + " |")


if __name__ == "__main__":
    main()
