"""Make the searched vectors and the queries: by a script, or from the embeddings of the packaged atlas.

    python benchmarks/search/data.py 1e6 --make ../shared/bench/make_embeddings.py [--seed 0] [--data FOLDER]

A data set is a file of unit rows, of which the last (a tenth, at most 10,000) are left out of the base: 1,000 of
them are the queries, the others are warm-up queries. The base is a view of a memory map.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(tempfile.gettempdir()) / "scim-bench"
N_QUERIES = 1000
HELD_OUT = 10_000


class Data(NamedTuple):
    """Rows to index, and queries."""

    name: str
    base: NDArray[np.float32]  # (n, dim), unit length, memory-mapped
    queries: NDArray[np.float32]  # (N_QUERIES, dim)
    warm: NDArray[np.float32]  # other rows, (about N_QUERIES, dim)
    obs: dict[str, NDArray[np.int16]]  # codes of the base rows by column; none for the packaged atlas


def made(folder: Path, rows: int, seed: int, make: Path | None) -> str:
    """Return the name of a data set of the script `make`, which runs if the files do not exist."""
    name = f"made-{rows}-{seed}"
    if not (folder / f"{name}.npy").exists():
        if make is None:
            msg = f"{str(folder / name)!r}.npy not found: name the script that makes it by `--make`."
            raise FileNotFoundError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / f"{name}-half.npy"
        subprocess.run([sys.executable, make, str(rows), half, str(seed)], check=True)
        half.with_suffix(".obs.npz").rename(folder / f"{name}.obs.npz")
        half.rename(folder / f"{name}.npy")  # last: a file of this name is complete
    return name


def packaged(folder: Path) -> str:
    """Return the name of the data set of the packaged atlas, its cells in random order."""
    if not (folder / "packaged.npy").exists():
        import scim  # noqa: PLC0415  (slow to import, and only this data set needs it)

        folder.mkdir(parents=True, exist_ok=True)
        with scim.atlas.open() as atlas:
            rows = np.random.default_rng(0).permutation(atlas.embeddings())
        np.save(folder / "packaged.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return "packaged"


def load(folder: Path, name: str) -> Data:
    """Open a data set."""
    rows = np.load(folder / f"{name}.npy", mmap_mode="r")
    n = len(rows) - min(HELD_OUT, len(rows) // 10)
    held_out = np.random.default_rng(0).permutation(np.array(rows[n:]))
    obs = {}
    if (folder / f"{name}.obs.npz").exists():
        with np.load(folder / f"{name}.obs.npz") as columns:
            obs = {column: codes[:n] for column, codes in columns.items()}
    return Data(name, rows[:n], held_out[:N_QUERIES], held_out[N_QUERIES : 2 * N_QUERIES], obs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--make", type=Path)
    parser.add_argument("--data", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    name = made(arguments.data, int(arguments.rows), arguments.seed, arguments.make)
    print(name, load(arguments.data, name).base.shape)


if __name__ == "__main__":
    main()
