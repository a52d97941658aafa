"""Compare the search of scim with other engines: one command per table.

    python benchmarks/search/run.py table --rows 1e6 --make ../shared/bench/make_embeddings.py
    python benchmarks/search/run.py filters --rows 1e6
    python benchmarks/search/run.py growth
    python benchmarks/search/run.py packaged

Each engine builds and saves its index in a separate process; other processes open and search it. These take turns
in rounds, of which the best counts. A step longer than `--limit` seconds is stopped; its results so far are kept.
Indexes are deleted at the end, or kept and used again with `--keep`. Needs hnswlib, faiss-cpu, pynndescent. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import data as data_sets
from engines import ENGINES
from tables import filters_table, growth_table, main_table

PEERS = [
    "hnswlib-16",
    "hnswlib-32",
    "faiss-ivfflat",
    "faiss-sq8",
    "faiss-fp16",
    "faiss-sq8-refined",
    "faiss-pqfs",
    "faiss-pqfs-residual",
]
DEFAULTS = {
    "table": ["scim", *PEERS, "faiss-hnsw", "pynndescent"],
    "filters": ["scim", "hnswlib-16", "faiss-ivfflat", "faiss-fp16", "faiss-sq8-refined", "faiss-pqfs", "faiss-hnsw"],
    "growth": ["scim", "hnswlib-16", "faiss-ivfflat"],
    "packaged": ["scim", "scim-exact", "scim-graph", "hnswlib-16", "faiss-ivfflat", "faiss-hnsw"],
}


def main() -> None:
    arguments = parsed()
    if arguments.command == "packaged":
        names = [data_sets.packaged(arguments.data)]
    else:
        names = [data_sets.made(arguments.data, int(n), arguments.seed, arguments.make) for n in arguments.rows]
    found = [finding for name in names for finding in compare(arguments, name)]
    show = filters_table if arguments.command == "filters" else main_table
    for name in names:
        print(show([f for f in found if f["data"] == name]), end="\n\n")
    if arguments.command == "growth":
        print(growth_table(found))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=DEFAULTS)
    parser.add_argument("--rows", type=float, nargs="+", help="1e6, or 1e5 1e6 1e7 for `growth`")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--make", type=Path, help="the script that makes the data, if they do not exist")
    parser.add_argument(
        "--data", type=Path, default=data_sets.FOLDER, help="folder of data, truth, indexes and results"
    )
    parser.add_argument("--engines", nargs="+", help=f"of {', '.join(ENGINES)}; faiss-sq8@4096 for 4,096 lists")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--limit", type=float, default=3600, help="seconds for a step of an engine")
    parser.add_argument("--keep", action="store_true", help="keep the indexes, and use kept ones")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or ([1e5, 1e6, 1e7] if arguments.command == "growth" else [1e6])
    arguments.engines = arguments.engines or DEFAULTS[arguments.command]
    return arguments


def compare(arguments: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """Run all engines on a data set; also write the results to a file."""
    results = arguments.data / "results" / f"{arguments.command}-{name}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    failed: set[str] = set()
    steps = ["build", *range(1, arguments.rounds + 1)]
    for step in steps:
        for engine in arguments.engines:
            if engine in failed:
                continue
            findings = one(arguments, name, engine, step)
            found += findings
            failed |= {engine} if "error" in findings[-1] else set()
            results.write_text("".join(json.dumps(finding) + "\n" for finding in found))
    if not arguments.keep:
        shutil.rmtree(arguments.data / "indexes", ignore_errors=True)
    return found


def one(arguments: argparse.Namespace, name: str, engine: str, step: str | int) -> list[dict[str, Any]]:
    """Run one step of one engine; the last result has the error, if any."""
    filtered = arguments.command == "filters"
    index = arguments.data / "indexes" / f"{name}-{engine}{'-filters' * filtered}"
    kept = index / "build.json"
    if step == "build" and kept.exists():
        return [json.loads(kept.read_text())]
    if step == "build":
        shutil.rmtree(index, ignore_errors=True)
    spec = {"engine": engine, "name": name, "data": str(arguments.data), "index": str(index / "files")}
    spec |= {"step": step, "filters": filtered, "threads": arguments.threads}
    print(f"{name} {engine} {step}", file=sys.stderr)
    lines, error = output(json.dumps(spec), arguments.limit)
    who = {"data": name, "engine": engine, "step": step}
    findings = [who | json.loads(line) for line in lines]
    if error:
        print(error, file=sys.stderr)
        findings.append(who | {"what": "error", "error": error})
    elif step == "build":
        kept.write_text(json.dumps(findings[-1]))
    return findings


def output(spec: str, limit: float) -> tuple[list[str], str]:
    """Return the complete lines that a worker printed, and its error."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), spec]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=limit)
            error = f"failed: {err.strip().splitlines()[-1:]}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            error = f"stopped after {limit:.0f} s"
    return [line for line in out.splitlines(keepends=True) if line.startswith("{") and line.endswith("}\n")], error


if __name__ == "__main__":
    main()
