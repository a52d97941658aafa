"""Kill writers at random moments; check that committed data is intact, partial data invisible, and a retry succeeds.

    python benchmarks/atlas/crash.py --kills 300 --seed 0

Each kill is a SIGKILL of another process, at a moment drawn uniformly from the duration of an undisturbed change.
Then the atlas is compared with the committed version: obs, counts, embeddings, labels, names, genes, search results of
the index. The process of this script repeats the call and compares the atlas with one on which
the change was not interrupted; `verify()` must find nothing, and no file of the dead writer may remain.

One in five is killed a second time, while it rolls back or resumes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from toy import table  # first: it adds the helpers to the path

from helpers import changes, crashes

CHANGES = {
    "append_files": 0.3,
    "append_memory": 0.15,
    "append_plain": 0.1,
    "build_index": 0.1,
    "reembed": 0.15,
    "remove": 0.1,
    "compact": 0.05,
    "publish": 0.025,
    "vacuum": 0.025,
}
"""Changes, and the share of the kills of each."""

AGAIN = 0.2


def kill(workers: changes.Workers, path: Path, reference: crashes.Reference, after: float) -> bool:
    """Start a change and kill it `after` seconds; return whether it was still running."""
    job = {"change": reference.change, "uri": str(path), "inputs": str(reference.inputs), "timeout": 30}
    process = workers.begin(job | {"result": str(path.parent / "result.json")})
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(process, signal.SIGKILL)
    return workers.end() == -signal.SIGKILL


def trial(workers: changes.Workers, reference: crashes.Reference, room: Path, rng: np.random.Generator) -> str:
    """Kill once or twice, compare, retry, compare; return when the kill happened."""
    path = changes.copy_atlas(reference.base, room)
    alive = kill(workers, path, reference, rng.uniform(0, reference.seconds))
    phase = crashes.check_killed(path, reference)
    if rng.random() < AGAIN:
        kill(workers, path, reference, rng.uniform(0, reference.seconds))
        crashes.check_killed(path, reference)
    crashes.check_again(None, path, reference, timeout=30)
    return phase if alive else "it had ended"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="stop after this time")
    parser.add_argument("--keep", type=Path, help="folder for the atlases of failed trials")
    given = parser.parse_args()
    rng, end = np.random.default_rng(given.seed), time.monotonic() + 60 * given.minutes
    hits: dict[str, Counter[str]] = {name: Counter() for name in CHANGES}
    failures = []
    with tempfile.TemporaryDirectory() as folder, changes.Workers() as workers:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        base = changes.make_inputs(inputs)
        references = {name: crashes.measure(workers, name, base, inputs, Path(folder), attempts=2) for name in CHANGES}
        plan = [name for name, share in CHANGES.items() for _ in range(round(share * given.kills))]
        queue, number = rng.permutation(plan).tolist(), 0
        while queue and time.monotonic() < end:
            name, number = queue.pop(0), number + 1
            room = Path(folder) / f"trial{number}"
            try:
                phase = trial(workers, references[name], room, rng)
                hits[name][phase] += 1
                if phase == "it had ended":  # it ended before the kill
                    queue.append(name)
            except Exception as error:  # noqa: BLE001  (all of them count)
                hits[name]["failed"] += 1
                failures.append(f"trial {number}, {name}: {error}")
                print(failures[-1], flush=True)
                traceback.print_exc()
                if given.keep is not None:
                    shutil.copytree(room, given.keep / room.name)
            shutil.rmtree(room, ignore_errors=True)
            if number % 25 == 0:
                print(f"{number} trials, {len(queue)} left, {len(failures)} failures", flush=True)
    phases = ["before", "during", "after", "it had ended", "failed"]
    rows = [[name, f"{references[name].seconds:.2f}", *(hit[phase] for phase in phases)] for name, hit in hits.items()]
    total = [sum(hit[phase] for hit in hits.values()) for phase in phases]
    head = ["change", "seconds undisturbed", "before the first write", "during", "after the commit", *phases[3:]]
    print(table(head, [*rows, ["all", "", *total]]))
    print("\n".join(failures))


if __name__ == "__main__":
    main()
