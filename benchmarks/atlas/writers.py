"""Append from several processes at the same time: no cell may be lost or mixed, and a failure names the lock owner.

    python benchmarks/atlas/writers.py --trials 50 --seed 0

Trials alternate: two writers or four; they wait up to a minute for the lock, or not at all; in every fourth trial
with waiting, one of the writers is killed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from toy import table  # first: it adds the helpers to the path

from helpers import changes, concurrent_writers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    counts: dict[tuple[int, str], Counter[str]] = {}
    failures = []
    with tempfile.TemporaryDirectory() as folder, changes.Workers() as workers:
        base = changes.make_inputs(Path(folder))
        alone = concurrent_writers.alone(workers, base, Path(folder))
        for number in range(given.trials):
            n_writers, patient = (2, 4)[number % 2], number // 2 % 2 == 0
            dies = int(rng.integers(1, 4)) if patient and number % 8 > 3 else 0
            kind = "one is killed" if dies else "they wait" if patient else "they do not wait"
            row = counts.setdefault((n_writers, kind), Counter())
            row["trials"] += 1
            room = Path(folder) / f"trial{number}"
            try:
                result = concurrent_writers.trial(
                    workers, base, alone, room, n_writers, timeout=60 if patient else 0, dies=dies
                )
                row.update(result)
            except AssertionError as error:
                row["failed"] += 1
                failures.append(f"trial {number}, {n_writers} writers, {kind}: {error}")
                print(failures[-1], flush=True)
            shutil.rmtree(room, ignore_errors=True)
    columns = ["trials", "succeeded", "refused by the lock", "killed", "failed"]
    rows = [[n, kind, *(row[column] for column in columns)] for (n, kind), row in sorted(counts.items())]
    print(table(["writers", "", *columns], rows))


if __name__ == "__main__":
    main()
