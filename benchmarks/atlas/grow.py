"""Measure appending 10,000 cells to atlases of 100,000 and a million cells, up to the first search with a new hit.

    python benchmarks/atlas/grow.py [--sizes 1e5 1e6] [--new 10000] [--times 10] [--seed 0] [--folder FOLDER]

The atlases are made first: counts of 60 genes per cell, an ivf index; with `--keep` they are kept for another run. The
appended cells have 700 of 20,000 genes each, all counts are stored, and the index covers the new cells. Everything runs
in one process, with compiled kernels; after each append the atlas is reopened and searched for the last new cell.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import data as cells
import numpy as np
from append import small_model
from timing import Parts, bytes_in

import scim
from scim.atlas import _append, _index, _snapshot
from scim.atlas.commit import Transaction, _transaction
from scim.atlas.soma import Writer

N_GENES, IN_FILE = 20_000, 100_000
WATCHED: tuple[tuple[Any, str, str], ...] = (
    (_append.Source, "read", "reading"),
    (_append, "_counts", "reading"),
    (_append, "_embed", "embedding"),
    (_append, "align", "counts"),
    (Writer, "block", "counts"),
    (Writer, "columns", "store made larger"),
    (Writer, "grow", "store made larger"),
    (Writer, "grow_counts", "store made larger"),
    (_append, "match_genes", "genes matched"),
    (_append, "_choose", "names looked up"),
    (_append, "add_names", "names added"),
    (_append, "extend", "index"),
    (_index, "columns_to_index", "index: obs read"),
    (_index, "build_part", "index: built"),
    (_snapshot, "open_parts", "index: opened"),
    (_transaction, "roll_back", "roll back"),
    (_transaction, "read_inventory", "inventory read"),
    (_transaction, "write_inventory", "checksums"),
    (Transaction, "__enter__", "lock"),
    (Transaction, "__exit__", "lock"),
    (Transaction, "reached", "journal"),
    (Transaction, "commit", "commit"),
)


def base(folder: Path, n_cells: int, seed: int, *, keep: bool) -> Path:
    """Return a new copy of an atlas of `n_cells` cells."""
    made = folder / f"grow-{n_cells}-{seed}"
    if not made.exists():
        n_files = max(1, n_cells // IN_FILE)
        how = {"n_genes": N_GENES, "values": 60, "seed": seed}
        files = cells.made(folder, n_files, n_cells // n_files, **how)
        part = made.with_suffix(".part")
        with scim.atlas.create(part, model=small_model(N_GENES), overwrite=True) as atlas:
            names = [f"study {i}" for i in range(n_files)]
            atlas.append([*map(str, files)], study=names, **columns())
            atlas.build_index(kind="ivf")
        part.rename(made)
    if not keep:
        return made
    copy = folder / f"growing-{n_cells}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(made, copy, copy_function=os.link)  # files of an atlas are replaced, never changed
    return copy


def columns() -> dict[str, Any]:
    return {"label_key": "cell_type", "obs_columns": cells.COLUMNS, "counts": True}


def measure(uri: Path, files: list[Path], parts: Parts) -> list[dict[str, float]]:
    """Append the files in order; return the seconds of each by step."""
    taken = []
    for number, file in enumerate(files):
        parts.seconds.clear()
        began = time.perf_counter()
        with scim.atlas.open(uri, "w") as atlas:
            opened, busy = time.perf_counter(), time.process_time()
            atlas.append(str(file), study=f"new {number}", **columns())
            done, cpu = time.perf_counter(), time.process_time() - busy
            last = int(atlas.ids[-1])
        inside = dict(parts.seconds)
        query = time.perf_counter()
        with scim.atlas.open(uri) as atlas:
            row = atlas.embeddings([last])
            first = time.perf_counter()
            found = atlas.index.query(row, 1)
            searched = time.perf_counter()
        # Two cells without counts, or with equal counts, are equally near.
        assert found.ids[0, 0] == last or found.distances[0, 0] < 1e-6
        inside["else"] = done - opened - sum(inside.values())
        times = {"open": opened - began, "append": done - opened, "append, CPU": cpu}
        times |= {"reader": first - query, "search": searched - first}
        taken.append(times | {f"- {part}": seconds for part, seconds in inside.items()})
    return taken


def report(n_cells: int, taken: list[dict[str, float]], n_bytes: int) -> None:
    print(f"\n{n_cells:,} cells, {n_bytes / 1e9:.2f} GB after {len(taken)} appends; seconds: first, median, last, max")
    names = [*dict.fromkeys(name for times in taken for name in times)]
    for name in sorted(names, key=lambda name: (name.startswith("- "), -np.median([t.get(name, 0) for t in taken]))):
        values = [times.get(name, 0.0) for times in taken]
        print(f"{name:22s} {values[0]:7.3f} {np.median(values):7.3f} {values[-1]:7.3f} {max(values):7.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: int(float(text)), nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--new", type=lambda text: int(float(text)), default=10_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=cells.FOLDER)
    parser.add_argument("--keep", action="store_true", help="keep the atlases for another run")
    given = parser.parse_args()
    scim.settings.progress = False
    new = cells.made(given.folder, given.times, given.new, n_genes=N_GENES, values=700, seed=given.seed + 1)
    atlases = {n: base(given.folder, n, given.seed, keep=given.keep) for n in given.sizes}
    with tempfile.TemporaryDirectory(dir=given.folder) as room:  # compiles the kernels
        warm = base(Path(room), 5_000, given.seed, keep=False)
        measure(warm, cells.made(Path(room), 1, 500, n_genes=N_GENES, values=700, seed=given.seed + 2), Parts())
    parts = Parts()
    for watched in WATCHED:
        parts.watch(*watched)
    for n, uri in atlases.items():
        report(n, measure(uri, new, parts), bytes_in(uri))
        shutil.rmtree(uri)


if __name__ == "__main__":
    main()
