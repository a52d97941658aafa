"""Compare the kinds of index in small bases: evenly spread or clustered rows, several dimensions, one thread.

    python benchmarks/search/kinds.py even:20000x16 clustered:60000x32 [--recalls .95 .99]

Times are CPU seconds of one thread, so that other work on the machine matters less: of the build, of a single query and
of a query in a batch of 1,000. Queries are rows that are not in the base, 50 neighbours of each. A graph builds on the
exact neighbours of its rows unless `--pynndescent`; the seconds of importing and compiling it are then in its build.
`repaid` is the number of queries, single or in batches, after which a build took less time than an exact search.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

import scim
from scim.index.graph import _links

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.index import Index

    Rows = NDArray[np.float32]

K = 50
N_QUERIES = 1000
N_SINGLE = 200
LATENT, N_TYPES = 24, 200


def rows_of(spec: str) -> tuple[Rows, Rows]:
    """Return base and queries of a specification, as `even:20000x16`."""
    what, _, shape = spec.partition(":")
    n, dim = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    if what == "even":
        X = rng.normal(size=(n + N_QUERIES, dim))
    else:  # types of uneven size and spread around centres, of fewer dimensions than the rows
        centres = 2 * rng.normal(size=(N_TYPES, LATENT))
        types = rng.choice(N_TYPES, n + N_QUERIES, p=rng.dirichlet(np.full(N_TYPES, 0.3)))
        spread = 0.6 * rng.gamma(4, 0.25, size=(len(types), 1))
        latent = centres[types] + rng.normal(size=(len(types), LATENT)) * spread
        X = np.maximum(latent @ rng.normal(size=(LATENT, 256)), 0) @ rng.normal(size=(256, dim))
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    return X[:n], X[n:]


def measured(index: Index, X: Rows, truth: NDArray[np.int64], **how: float) -> tuple[float, float, float]:
    """Return milliseconds of a single query and of one in a batch, and the recall."""
    index.query(X[:50], K, n_threads=1, **how)
    index.query(X[:1], K, n_threads=1, **how)
    started = time.process_time()
    ids = index.query(X, K, n_threads=1, **how).ids
    batch = (time.process_time() - started) / len(X)
    started = time.process_time()
    for row in range(N_SINGLE):
        index.query(X[row], K, n_threads=1, **how)
    single = (time.process_time() - started) / N_SINGLE
    return 1e3 * single, 1e3 * batch, float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, ids, strict=True)]))


def compare(spec: str, recalls: list[float]) -> None:
    """Print a row for each kind and recall."""
    base, X = rows_of(spec)
    truth, exact = np.empty(0, dtype=np.int64), (0.0, 0.0)
    for kind in ("exact", "ivf", "graph"):
        started = time.process_time()
        index = scim.index.build(base, kind=kind, rng=0, n_threads=1)
        build = time.process_time() - started
        if kind == "exact":
            truth = index.query(X, K, n_threads=1).ids
        for recall in recalls if kind != "exact" else [1.0]:
            single, batch, found = measured(index, X, truth, recall=recall)
            if kind == "exact":
                exact = single, batch
            repaid = [f"{1e3 * build / gain:,.0f}" if (gain := e - t) > 0 else "never" for e, t in
                      zip(exact, (single, batch), strict=True)]  # fmt: skip
            said = ["-", "-"] if kind == "exact" else repaid
            cells = [spec, kind, f"{recall:g}", f"{found:.3f}", f"{build:.1f}", f"{single:.3f}", f"{batch:.3f}", *said]
            print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--recalls", type=float, nargs="+", default=[0.95, 0.99])
    parser.add_argument("--pynndescent", action="store_true", help="find the neighbours of a graph by pynndescent")
    arguments = parser.parse_args()
    _links._EXACT_UP_TO = 0 if arguments.pynndescent else np.inf
    scim.settings.progress = False
    for kind in ("exact", "ivf", "graph"):  # compiles
        scim.index.build(rows_of("even:4000x8")[0], kind=kind, rng=0, n_threads=1).query(np.ones(8), K, recall=0.9)
    print("| rows | kind | recall asked | recall | build s | single ms | batch ms | repaid, single | repaid, batch |")
    print("|---|---|---|---|---|---|---|---|---|")
    for spec in arguments.specs:
        compare(spec, arguments.recalls)


if __name__ == "__main__":
    main()
