"""Read an atlas from many processes while another appends to it: every result must be that of a committed version.

    python benchmarks/atlas/readers.py --readers 20 --minutes 5

A read covers everything: obs from the index and from the store, counts, embeddings, labels, names, search results.
Half of the readers open the atlas for each read, the others keep it open, read each version twice and `refresh`. The
writer appends a study of 24 cells at a time, removes some, builds the index and compacts. At the end each version is
opened once more and compared with the results of the readers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from toy import table  # first: it adds the helpers to the path

from helpers import changes, reading


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pause", type=float, default=1, help="seconds that the writer waits between two changes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, changes.Workers() as workers:
        path, seconds = changes.make_inputs(Path(folder)), 60 * given.minutes
        notes = [Path(folder) / f"notes{number}" for number in range(given.readers)]
        jobs = [{"append": {"seconds": seconds, "pause": given.pause}}]
        jobs += [
            {"read": {"seconds": seconds, "notes": str(file), "keep": bool(number % 2)}}
            for number, file in enumerate(notes)
        ]
        for number, job in enumerate(jobs):
            job |= {"uri": str(path), "result": str(Path(folder) / f"result{number}")}
        ended = workers.all(jobs)
        failures = [result for result in ended if result["status"] != 0 or result["error"] is not None]
        n_readings, n_versions, wrong = reading.wrong_notes(path, notes)
        head = ["readers", "minutes", "reads", "versions read", "wrong results", "errors"]
        print(table(head, [[given.readers, given.minutes, n_readings, n_versions, len(wrong), len(failures)]]))
        print("\n".join([*wrong[:10], *map(str, failures[:10])]))


if __name__ == "__main__":
    main()
