"""Our own folders of arrays: index, label transfer, model, checkpoint of a training."""

from __future__ import annotations

import functools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scim
from fuzz import forgers, mutators
from fuzz.target import GENERIC, SEALED, Target, embed_by_command
from helpers import fakes, trainings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fuzz.target import Step


@functools.cache
def rows() -> tuple[Any, Any]:
    """Return rows around centroids, and their ids."""
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(12, 16))
    X = (centroids[rng.integers(12, size=300)] + 0.4 * rng.normal(size=(300, 16))).astype(np.float32)
    return X, rng.permutation(600)[:300]


def table(n: int = 300) -> dict[str, Any]:
    """Return columns of every kind."""
    rng = np.random.default_rng(n)
    tissues = np.array(["lung", "blood", "liver", None, "lung || blood"], dtype=object)
    return {
        "tissue": list(rng.choice(tissues, n)),
        "share": [int(value) for value in rng.integers(0, 1000, n)],
        "age": [None if value > 90 else float(value) for value in rng.uniform(0, 100, n).round()],
        "ok": [bool(value) for value in rng.integers(0, 2, n)],
    }


def use_index(index: Any) -> dict[str, Any]:
    """Return results of all calls of an index."""
    queries = np.random.default_rng(9).normal(size=(5, 16)).astype(np.float32)
    exact = {"ivf": {"probe_factor": 1e6, "rerank_factor": 1e3}}.get(index.kind, {})
    found: dict[str, Any] = {"all": list(index.query(queries, 12, **exact))}
    for where in ("tissue == 'lung'", "share < 300", "age > 20", "ok == True"):
        found[where] = list(index.query(queries, 12, where=where, **exact))
    found["allowed"] = list(index.query(queries, 12, allowed=index.ids[::2], **exact))
    found["distinct"] = list(index.query(queries, 3, distinct=True, **exact))
    return found | {"vectors": index.vectors(index.ids), "obs": index.obs(index.ids)}


def use_by_threads(index: Any) -> list[Any]:
    """Return results of eight threads at once: one layer of threads of numba ends the process there, if it may."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: use_index(index)["all"], range(8)))


def make_index(folder: Path, kind: str) -> None:
    """Save an index of two segments, with columns and deleted rows."""
    index = scim.index.build(*rows(), obs=table(), kind=kind, rng=0)
    index.append(rows()[0][:60] + 0.1, obs=table(60))
    index.delete(index.ids[::20])
    index.save(folder / "an-index")


def read_index(path: Path) -> Iterator[Step]:
    """Open an index in every way."""
    for resident in ("none", "codes", "all"):
        yield resident, lambda resident=resident: use_index(scim.index.open(path, resident=resident))
    yield "threads", lambda: use_by_threads(scim.index.open(path))
    yield "verify", lambda: scim.index.verify(path)


def change_index(path: Path) -> Iterator[Step]:
    """Append to it, and save it in its place."""

    def changed(call: Callable[[Any], Any]) -> dict[str, Any]:
        index = scim.index.open(path)
        call(index)
        index.save(path, overwrite=True)
        return use_index(scim.index.open(path))

    yield "append", lambda: changed(lambda index: index.append(rows()[0][:5] + 0.2, obs=table(5)))
    yield "compact", lambda: changed(lambda index: index.compact())


def make_transfer(folder: Path) -> None:
    """Save a label transfer that finds neighbours itself."""
    rng = np.random.default_rng(0)
    types, studies = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    X = 2 * np.eye(4, 12)[types] + rng.normal(scale=0.3, size=(200, 12))
    names = np.array(["T cell", "B cell", "monocyte", "my cells"], object)
    scim.label_transfer.LabelTransfer.fit(X, names[types], np.array(["a", "b", "c"])[studies]).save(
        folder / "a-transfer"
    )


def read_transfer(path: Path) -> Iterator[Step]:
    """Load it and predict labels."""

    def predict() -> dict[str, Any]:
        transfer = scim.label_transfer.LabelTransfer.load(path)
        found = transfer.predict(np.random.default_rng(1).normal(size=(8, 12)), max_error=1)
        return {name: getattr(found, name) for name in ("confidence", "distance", "top_codes", "top_shares")} | {
            "labels": found.labels.astype(str).tolist()
        }

    yield "predict", predict


def make_model(folder: Path) -> None:
    """Save a model, and cells to embed."""
    model = fakes.tiny_model()
    model.save(folder / "a-model", dtype="float32")
    fakes.cells(12, seed=4).write_h5ad(folder / "cells.h5ad")


def read_model(path: Path) -> Iterator[Step]:
    """Load it and embed cells, by the library and the command line."""

    def embed() -> Any:
        adata = fakes.cells(12, seed=4)
        scim.tl.embed(adata, model=scim.model.load(path))
        return adata.obsm["X_scim"]

    yield "embed", embed
    yield "command", lambda: embed_by_command(path.parent / "cells.h5ad", path)


def make_checkpoint(folder: Path) -> None:
    """Train until after the second checkpoint, in a process that is killed there."""
    child = os.fork()
    if child == 0:
        trainings.fit_and_die(folder / "a-checkpoint", "scim.training.loop._loop:Run._take_step", 8)
    os.waitpid(child, 0)


def resume(path: Path) -> Iterator[Step]:
    """Resume the training, and embed cells."""

    def embed() -> Any:
        adata = fakes.cells(12, seed=4)
        scim.tl.embed(adata, model=trainings.fit(path))
        return adata.obsm["X_scim"]

    yield "resume", embed


def damage_later(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Choose what another program will write into a file while the index is open."""
    later = sandbox / "scratch" / "later"
    shutil.rmtree(later, ignore_errors=True)
    shutil.copytree(path, later)
    return mutators.damage_bytes(later, rng, sandbox)


def use_overwritten(path: Path) -> Iterator[Step]:
    """Query an index, have another program write into its files, and query it again."""

    def query() -> dict[str, Any]:
        index = scim.index.open(path)
        use_index(index)
        later = Path(os.environ["TMPDIR"]) / "later"
        for file in sorted(later.iterdir()) if later.exists() else ():
            content = file.read_bytes()
            if content != (path / file.name).read_bytes():
                (path / file.name).write_bytes(content)  # the same inode: it is mapped
        return use_index(index)

    yield "query", query


def targets() -> Iterator[Target]:
    """Yield the targets of this file."""
    for kind in ("exact", "ivf", "graph"):
        make = functools.partial(make_index, kind=kind)
        yield Target(f"index-{kind}", "an-index", make, SEALED, read_index, change_index)
    make = functools.partial(make_index, kind="ivf")
    yield Target("index-in-use", "an-index", make, (damage_later,), use_overwritten)
    yield Target("label-transfer", "a-transfer", make_transfer, SEALED, read_transfer)
    forged = (forgers.damage_json, forgers.forge_json, forgers.forge_tensors, forgers.forge_table, mutators.forge_bytes)
    yield Target("model", "a-model", make_model, (*GENERIC, *forged), read_model)
    yield Target("checkpoint", "a-checkpoint", make_checkpoint, (*GENERIC, *forged), resume)
