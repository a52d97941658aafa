"""Compare training on h5ad files with the counts on disk and with all counts in memory.

    python benchmarks/train/disk.py [--files 4] [--cells 250000] [--steps 300] [--rounds 2] [--n-genes 2000]

The files are those of benchmarks/atlas/data.py. Both run in separate processes, in turns: `disk` with
`max_memory=0`, `memory` without a limit. Reading (both passes over the files) and steps are timed separately. Another
process samples the memory every 20 ms, interpreter and libraries included: `anonymous` is the memory of the process,
`resident` includes pages of mapped files.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "atlas"))
import data as cells
from timing import Parts, run_child

WAYS = {"disk": 0, "memory": 10**12}


def train(way: str, files: list[str], steps: int, n_genes: int) -> dict[str, Any]:
    """Train on the files, each a study; return the seconds by part, and the CPU seconds of the steps."""
    import scim  # noqa: PLC0415
    from scim.training.loop import _loop, _train  # noqa: PLC0415

    scim.settings.progress, scim.settings.n_threads = False, 1
    parts, busy = Parts(), []
    for name in ("pick_genes", "combine"):
        parts.watch(_train, name, name)
    fit = _loop.Run.fit

    def timed(run: Any, *arguments: Any, **named: Any) -> Any:
        before = time.process_time()
        with parts.timed("steps"):
            fitted = fit(run, *arguments, **named)
        busy.append(time.process_time() - before)
        return fitted

    _loop.Run.fit = timed
    config, net = scim.model.TrainConfig(n_steps=steps, max_memory=WAYS[way]), scim.model.ModelConfig(n_genes)
    model = scim.model.train(files, label_key="cell_type", model=net, config=config, rng=0)
    return {**parts.seconds, "cpu": busy[0], "uid": model.uid}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.add_arguments(parser)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--n-genes", type=int, default=2000, help="genes of the model")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    files = cells.made(
        given.folder, given.files, given.cells, n_genes=given.genes, values=given.values, seed=given.seed
    )
    if given.way is not None:
        print(json.dumps(train(given.way, [*map(str, files)], given.steps, given.n_genes)))
        return
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way in WAYS:
            found = run_child(__file__, *sys.argv[1:], "--way", way)
            cpu[way].append(found["cpu"])
            memory = f"anonymous {found['anonymous'] / 1e9:.2f} GB, resident {found['resident'] / 1e9:.2f} GB"
            reading = f"choosing genes {found['pick_genes']:.0f} s, reading {found['combine']:.0f} s"
            steps = f"{given.steps} steps {found['steps']:.0f} s ({found['cpu']:.0f} s of CPU)"
            print(f"{way:6s} {memory}; {reading}; {steps}; model {found['uid']}", flush=True)
    ratio = statistics.median(cpu["disk"]) / statistics.median(cpu["memory"])
    print(f"a step from disk takes {ratio:.2f} x the CPU of one from memory")


if __name__ == "__main__":
    main()
