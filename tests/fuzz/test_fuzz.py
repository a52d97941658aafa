"""Damaged and hostile files end in the right result or in a clear error, and nothing else.

Without options some cases of each target run, always the same. `--fuzz=long` runs 300 of each, `--fuzz-cases N`
that many, `--fuzz-case TARGET:SEED` one. A case depends on its target and seed alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fuzz.verdicts import BAD

LONG = 300
SHORT = {
    "atlas": 5, "bucket": 2, "tables": 2, "addresses": 6, "index-exact": 5, "index-ivf": 6, "index-graph": 5, "index-in-use": 4,
    "label-transfer": 6, "model": 6, "checkpoint": 3, "h5ad-csr": 6, "h5ad-csc": 4, "h5ad-dense": 3, "h5ad-gzip": 3, "zarr": 4, "zarr-zip": 3,
    "10x": 4, "soma": 1, "published": 1,
}  # fmt: skip
"""Cases of each target in the short form; the targets themselves import what takes seconds."""
TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cases are forks with limits of memory")


@pytest.fixture(scope="module")
def server():
    """A process that forks one process for each case; it starts no threads, which a fork would lack."""
    one = dict.fromkeys(("OMP", "MKL", "OPENBLAS", "NUMBA"), "1")
    environment = os.environ | {f"{name}_NUM_THREADS": n for name, n in one.items()}
    environment |= {"NUMBA_THREADING_LAYER": "workqueue", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-m", "fuzz.runner", "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert json.loads(process.stdout.readline()) == list(SHORT)
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def run(server, case):
    server.stdin.write(f"{case}\n")
    server.stdin.flush()
    line = server.stdout.readline()
    assert line, f"the process that runs the cases ended at {case}"
    return json.loads(line)


def seeds_of(config, target):
    if one := config.getoption("--fuzz-case"):
        name, _, seed = one.partition(":")
        return [int(seed)] if name == target else []
    wanted = config.getoption("--fuzz-cases")
    return range(wanted or (LONG if config.getoption("--fuzz") == "long" else SHORT[target]))


@pytest.mark.parametrize("target", SHORT)
def test_damaged(target, server, request):
    seeds = seeds_of(request.config, target)
    if not seeds:
        pytest.skip("another case was asked for")
    outcomes = [run(server, f"{target}:{seed}") for seed in seeds]
    sys.stdout.write(f"{target}: {dict(Counter(outcome['verdict'] for outcome in outcomes))}\n")
    bad = [
        f"--fuzz-case {o['case']}: {o['verdict']}: {o['change']}: {o['detail']}"
        for o in outcomes
        if o["verdict"] in BAD
    ]
    assert not bad, "\n".join([f"{len(bad)} of {len(outcomes)} cases:", *bad])
