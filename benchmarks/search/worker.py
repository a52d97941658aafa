"""Run one engine in a process that `run.py` starts. Each result is a line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data as data_sets
import numpy as np
from engines import engine
from filters import filters, with_random
from measure import measured
from memory import Peak, resident
from truth import recall, right_count, thresholds

if TYPE_CHECKING:
    from data import Data
    from engines import Engine

K, WIDE = 50, 10_000
FEW = 5000  # rows
N_WIDE = 100  # queries with k = WIDE
GOAL = 0.99
ENOUGH = 0.9995  # recall at which slower settings are not tried


def report(**finding: Any) -> None:
    print(json.dumps(finding), flush=True)


def build(index: Engine, data: Data, spec: dict[str, Any]) -> None:
    """Build and save; report seconds and memory."""
    folder = Path(spec["index"])
    folder.mkdir(parents=True)
    if index.compiles:
        with tempfile.TemporaryDirectory() as elsewhere:
            index.build(first_rows(data), Path(elsewhere), spec["threads"])
    with Peak() as peak:
        started = time.perf_counter()
        index.build(data, folder, spec["threads"])
        seconds = time.perf_counter() - started
    maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report(what="build", seconds=seconds, anon=peak.growth["anon"], file=peak.growth["file"], maxrss=maxrss)


def first_rows(data: Data) -> Data:
    """Return a small data set, to compile the kernels."""
    return data._replace(base=data.base[:FEW], obs={name: codes[:FEW] for name, codes in data.obs.items()})


def opened(index: Engine, data: Data, spec: dict[str, Any]) -> None:
    """Report the seconds from opening to the first result, and the memory after all queries."""
    folder, threads, before = Path(spec["index"]), spec["threads"], resident()
    started = time.perf_counter()
    index.open(folder, threads)
    setting = index.sweep(K)[0]
    index.query(data.warm[:1], K, threads, setting)
    seconds = time.perf_counter() - started
    index.query(data.queries, K, threads, setting)
    growth = {kind: now - before[kind] for kind, now in resident().items()}
    report(what="open", seconds=seconds, bytes=index.bytes(folder), **growth, n_rows=len(data.base))


def table(index: Engine, data: Data, spec: dict[str, Any]) -> None:
    """Run the settings for few neighbours, and for many."""
    for k, n, enough in ((K, len(data.queries), ENOUGH), (WIDE, N_WIDE, GOAL)):
        if k > len(data.base):
            continue
        kth = thresholds(Path(spec["data"]), data, n, k)
        for setting in index.sweep(k):
            point, ids = measured(index, k, data.queries[:n], data.warm, spec["threads"], setting)
            found = recall(data, ids, kth, k)
            report(what="point", k=k, setting=setting, recall=found, **point._asdict())
            if found >= enough:
                break


def filtered(index: Engine, data: Data, spec: dict[str, Any]) -> None:
    """Raise the settings with each filter until the recall is reached; the first run has no filter."""
    settings = index.sweep(K) + [s for s in index.sweep(WIDE) if s not in index.sweep(K)]
    for passing in (None, *filters(data)):
        mask = np.ones(len(data.base), dtype=np.bool_) if passing is None else passing.mask
        n_right = min(K, int(mask.sum()))
        kth = thresholds(Path(spec["data"]), data, len(data.queries), max(1, n_right), passing and (passing.name, mask))
        prepared = None if passing is None else index.prepare(passing)
        for setting in settings:
            point, ids = measured(index, K, data.queries, data.warm, spec["threads"], setting, prepared)
            found, right = recall(data, ids, kth, n_right), right_count(ids, mask, n_right)
            name = "no filter" if passing is None else passing.name
            facts = {"filter": name, "passing": int(mask.sum()), "setting": setting, "recall": found}
            report(what="filter", **facts, right_count=right, **point._asdict())
            if found >= GOAL and right == 1:
                break


def main() -> None:
    spec = json.loads(sys.argv[1])
    index, data = engine(spec["engine"]), data_sets.load(Path(spec["data"]), spec["name"])
    data = with_random(data) if spec["filters"] else data
    if spec["step"] == "build":
        build(index, data, spec)
        return
    opened(index, data, spec)
    (filtered if spec["filters"] else table)(index, data, spec)


if __name__ == "__main__":
    main()
