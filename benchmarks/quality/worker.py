"""Run methods on the sets of a job, each a training set and queries, or check whether they can be imported.

    python worker.py JOB.json
    python worker.py --check MODULE [MODULE ...]

Each method runs in a separate fork, bounded in time and memory; its seconds and memory for each set, or its error, are
printed as a line of JSON. Linux.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def main() -> None:
    if sys.argv[1] == "--check":
        print(json.dumps({name: problem(name) for name in sys.argv[2:]}))
        return
    importlib.import_module("scanpy")  # once for all forks
    job = json.loads(Path(sys.argv[1]).read_text())
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for task in job["tasks"]:
        for took in bounded(task, job):
            print("\n" + json.dumps(took), flush=True)


def problem(name: str) -> str:
    """Return the error of importing a method, or an empty string."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)
    return ""


def bounded(task: dict[str, Any], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a task in a fork; return the seconds and memory of each of its sets, or the error."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(task, job, sender))
    process.start()
    sender.close()
    process.join(job["limit"])
    error = f"ended with {process.exitcode}"
    if process.is_alive():
        process.kill()
        process.join()
        error = f"stopped after {job['limit']:.0f} s"
    done = []
    while receiver.poll():
        try:
            done.append(receiver.recv())
        except EOFError:
            break
    return done + [{"set": place, "error": error} for place in task["sets"][len(done) :]]


def run(task: dict[str, Any], job: dict[str, Any], result: Connection) -> None:
    """Write one prediction for each query."""
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    for place, predictions in zip(task["sets"], task["predictions"], strict=True):
        try:
            result.send({"set": place} | one(task, job["sets"][place], predictions))
        except Exception as error:  # noqa: BLE001  (a peer may fail in any way; the others continue)
            result.send({"set": place, "error": f"{type(error).__name__}: {error}"})


def one(task: dict[str, Any], cells: dict[str, Any], predictions: list[str]) -> dict[str, float]:
    """Train and predict one set; reading and writing are not timed."""
    import anndata as ad  # noqa: PLC0415  (`--check` does not need it)
    import numpy as np  # noqa: PLC0415

    train = [ad.read_h5ad(path) for path in cells["train"]]
    tests = [ad.read_h5ad(path) for path in cells["tests"]]
    started = time.perf_counter()
    method = importlib.import_module(task["method"])
    found = method.predict(train, tests, cells["label_key"], **task["options"])
    seconds = time.perf_counter() - started
    for prediction, path in zip(found, predictions, strict=True):
        values = np.asarray(prediction)  # labels, or the rows of an embedding
        np.save(path, values if values.dtype.kind == "f" else values.astype(str))
    return {"seconds": round(seconds, 1), "gigabytes": round(peak(), 2)}


def peak() -> float:
    """Return the peak memory of this process in GB; getrusage would include that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


if __name__ == "__main__":
    main()
