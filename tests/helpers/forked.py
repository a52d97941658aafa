"""A process that uses scim and then forks: `python forked.py ATLAS` prints one line for each way to fork."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import scim
from helpers import fakes

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60  # after which a fork counts as hanging


def work(_: int = 0) -> list[float]:
    """Embed cells with kernels, torch and TileDB, and read the atlas of the parent."""
    adata = fakes.cells(45, seed=9)
    scim.tl.embed(adata, sys.argv[1])
    read = OPENED.obs(columns=["n"])["n"].sum() + OPENED.embeddings(range(10)).sum()
    dense = OPENED.model.encode(BIG, n_threads=2).sum()
    return [round(float(x), 3) for x in (np.abs(adata.obsm["X_scim"]).sum(), read, dense)]


def by_fork() -> list[float]:
    """Fork by hand; the fork ends as a whole process does, with an exit code."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.write(writer, repr(work()).encode())
        sys.exit(7)
    started = time.monotonic()
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > started + SECONDS:
            os.kill(process, 9)
            msg = "the fork hangs"
            raise TimeoutError(msg)
        time.sleep(0.05)
    return eval(os.read(reader, 1000))


def by_pool() -> list[float]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map_async(work, [0]).get(SECONDS)[0]


def by_joblib() -> list[float]:
    import joblib

    parallel = joblib.Parallel(n_jobs=2, backend="multiprocessing", timeout=SECONDS)
    return parallel(joblib.delayed(work)(i) for i in range(2))[0]


def by_loader() -> list[float]:
    import torch

    class Cells(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, i: int) -> list[float]:
            return work()

    loader = torch.utils.data.DataLoader(
        Cells(), num_workers=1, multiprocessing_context="fork", collate_fn=lambda rows: rows[0], timeout=SECONDS
    )
    return next(iter(loader))


def main() -> None:
    warnings.simplefilter("ignore")
    ways: list[Callable[[], list[float]]] = [by_fork, by_pool, by_joblib, by_loader]
    expected = work()
    for way in ways:
        found = "same" if np.allclose(way(), expected, atol=2e-3) else "another"
        sys.stdout.write(f"{way.__name__} {found}\n")
        sys.stdout.flush()  # a fork would write it again
    assert work() == expected  # and the parent works on


if __name__ == "__main__":
    OPENED = scim.atlas.open(sys.argv[1])
    BIG = np.random.default_rng(0).random((3000, len(OPENED.model.genes)), dtype=np.float32)
    main()
