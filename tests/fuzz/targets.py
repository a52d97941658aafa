"""What is damaged, and what is done with it: one target for each kind of file."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import pkgutil
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

import scim
from fuzz import mutators as m
from fuzz.readers import read_counts
from fuzz.verdicts import CommandError
from helpers import fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Step = tuple[str, Callable[[], Any]]

GENERIC = (m.damage_bytes, m.damage_bytes, m.damage_tree)
SEALED = (*GENERIC, m.damage_json, m.forge_bytes, m.forge_json, m.forge_npy, m.forge_npy, m.forge_tree)


@dataclass(frozen=True)
class Target:
    """A kind of file: how one is made, its name, how it is damaged, and what is done with it."""

    name: str
    file: str
    make: Callable[[Path], None]  # writes `file` into a new folder, and what else the steps need beside it
    mutators: tuple[m.Mutator, ...]
    reads: Callable[[Path], Iterator[Step]]  # steps that leave the input as it is
    writes: Callable[[Path], Iterator[Step]] = lambda path: iter(())  # steps that change it: one of them in a case
    says: Callable[[Path, str], Any] | None = None  # what an independent reader makes of the damaged file
    n_short: int = 20  # cases in the short form

    def path(self, sandbox: Path) -> Path:
        """Return the path of the input."""
        return sandbox / "input" / self.file

    def steps(self, sandbox: Path, rng: np.random.Generator | None) -> Iterator[Step]:
        """Yield what is done in a case; without `rng` everything, each change on a copy of its own."""
        path = self.path(sandbox)
        yield from self.reads(path)
        if rng is not None:
            changes = list(self.writes(path))
            if changes:
                yield changes[rng.integers(len(changes))]
            return
        for number in range(len(list(self.writes(path)))):
            copy = sandbox / "scratch" / f"copy{number}" / self.file
            shutil.copytree(sandbox / "input", copy.parent)
            yield list(self.writes(copy))[number]


def command(*words: str | Path) -> str:
    """Run the command line in this process; return what it printed."""
    from scim.cli import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    if code:
        raise CommandError(code, err.getvalue() + out.getvalue())
    return out.getvalue()


def warm() -> None:
    """Import what cases use and load kernels, without starting threads."""
    warnings.simplefilter("ignore")
    rooms = [module.name for module in pkgutil.walk_packages(scim.__path__, "scim.") if module.name != "scim.__main__"]
    for name in (*rooms, "pytorch_metric_learning.losses", "tiledb", "helpers.published", "helpers.trainings"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    scim.settings.n_threads = 1
    scim.settings.progress = False
    scim.ontology.related(["T cell", "B cell"])
    for kind in ("exact", "ivf"):
        use_index(scim.index.build(*rows(), obs=table(), kind=kind, rng=0))
    scim.tl.embed(fakes.cells(6), model=fakes.tiny_model())


# atlas


def make_atlas(folder: Path) -> None:
    """Write a whole atlas, and cells to append."""
    from helpers import damage

    damage.whole_atlas(folder / "toy.scim")
    for file in (folder / "toy.scim" / "lock").glob("*"):
        file.unlink()
    more = fakes.cells(8, seed=5)
    more.write_h5ad(folder / "more.h5ad")


def read_atlas(path: Path) -> Iterator[Step]:
    """Everything a reader does."""
    query = fakes.cells(6, seed=7)

    def cells() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            facts = {
                key: value
                for key, value in atlas.info().items()
                if key in ("cells", "removed", "genes", "labels", "studies")
            }
            return {"info": facts, "obs": atlas.obs(), "embeddings": atlas.embeddings(), "ids": atlas.ids}

    def neighbours() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            queries = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
            return {
                "all": list(atlas.index.query(queries, 5)),
                "some": list(atlas.index.query(queries, 5, where="tissue == 'lung' and age > 10")),
                "selected": atlas.select("primary == True"),
            }

    def annotate() -> dict[str, Any]:
        adata = query.copy()
        scim.tl.embed(adata, path)
        scim.tl.annotate(adata, path, max_error=1)
        names = ["scim_label_confidence", "scim_label_distance"]
        return {
            "labels": adata.obs["scim_label"].astype(str).tolist(),
            "values": adata.obs[names].to_numpy(),
            "X": adata.obsm["X_scim"],
        }

    yield "cells", cells
    yield "neighbours", neighbours
    yield "annotate", annotate


def change_atlas(path: Path) -> Iterator[Step]:
    """Everything a writer does; returns the cells afterwards."""

    def after(call: Callable[[Any], Any]) -> dict[str, Any]:
        with scim.atlas.open(path, mode="w", timeout=0.2) as atlas:
            call(atlas)
        return content()

    def content() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            return {"obs": atlas.obs(), "embeddings": atlas.embeddings()}

    def verify(*, repair: bool) -> dict[str, Any]:
        problems = scim.atlas.verify(path, repair=repair, timeout=0.2)
        for problem in problems:
            str(problem)
        with contextlib.suppress(scim._core.FormatError, OSError):
            return content() if repair else {}
        if repair and not problems:
            msg = "verify finds nothing, and the atlas cannot be read"
            raise AssertionError(msg)
        return {}

    yield (
        "append",
        lambda: after(lambda atlas: atlas.append(path.parent / "more.h5ad", study="three", label_key="cell_type")),
    )
    yield "remove", lambda: after(lambda atlas: atlas.remove("tissue == 'lung'"))
    yield "vacuum", lambda: after(lambda atlas: atlas.vacuum())
    yield "compact", lambda: after(lambda atlas: atlas.compact())
    yield "build", lambda: after(lambda atlas: atlas.build_index())
    yield "publish", lambda: after(lambda atlas: atlas.publish())
    yield "verify", lambda: verify(repair=False)
    yield "repair", lambda: verify(repair=True)
    yield "info", lambda: command("atlas", "info", path) and None
    yield "overwrite", lambda: scim.atlas.create(path, model=path / "model", overwrite=True).close()


# index


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


# label transfer


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


# model


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


def embed_by_command(file: Path, model: Path) -> Any:
    """Embed a file by the command line; return the rows."""
    out = Path(os.environ["HOME"]).parent / "out" / "rows.npy"
    command("embed", file, "--model", model, "-o", out, "--overwrite")
    return np.load(out)


# cells


def make_cells(folder: Path, file: str, form: str) -> None:
    """Write cells in a form, and beside them a model and an atlas without cells."""
    adata = fakes.cells(40, seed=6)
    adata.obs["study"] = pd.Categorical(np.array(["a", "b"])[np.arange(40) % 2])
    adata.var = adata.var[[]]
    adata.X = {"csc": adata.X.tocsc, "dense": adata.X.toarray}.get(form, adata.X.tocsr)()
    model = fakes.tiny_model()
    model.save(folder / "a-model", dtype="float32")
    if file.endswith(".zip"):
        adata.write_zarr(folder / "unzipped")
        shutil.make_archive(str(folder / file.removesuffix(".zip")), "zip", folder / "unzipped")
        shutil.rmtree(folder / "unzipped")
    elif file.endswith(".zarr"):
        adata.write_zarr(folder / file)
    else:
        adata.write_h5ad(folder / file, compression="gzip" if form == "gzip" else None)


def read_cells(path: Path) -> Iterator[Step]:
    """Embed cells of a file, whole by the command line, and by rows into an atlas."""

    def by_rows() -> Any:
        from scim.io.cells import opened
        from scim.pp import find_counts, match_genes

        model = scim.model.load(path.parent / "a-model")
        with opened(path, ()) as cells:
            counts = find_counts(cells)
            return model.embed(counts, match_genes(counts.var, model.genes))

    yield "rows", by_rows
    if path.suffix != ".zip":
        yield "command", lambda: embed_by_command(path, path.parent / "a-model")


def appended(path: Path) -> Iterator[Step]:
    """Append a file to an atlas, or train on it."""

    def append() -> Any:
        out = Path(os.environ["HOME"]).parent / "out" / "new.scim"
        with scim.atlas.create(out, model=path.parent / "a-model") as atlas:
            atlas.append(path, study="one", counts=True)
            return atlas.embeddings()

    yield "append", append


def says_embedding(sandbox: Path, file: str) -> Any:
    """Return what an independent reader and plain arithmetic make of the file."""
    path = sandbox / "input" / file
    counts, names = read_counts(path)
    adata = AnnData(counts.astype(np.float32), var=pd.DataFrame(index=pd.Index(names)))
    scim.tl.embed(adata, model=fakes.tiny_model())
    return adata.obsm["X_scim"]


def _cells_target(name: str, file: str, form: str, *special: m.Mutator) -> Target:
    ways = (m.damage_bytes, m.damage_bytes, *special, *special, *special, m.damage_tree)
    says = lambda sandbox, _, file=file: says_embedding(sandbox, file)  # noqa: E731
    return Target(name, file, lambda folder: make_cells(folder, file, form), ways, read_cells, appended, says)


def _targets() -> Iterator[Target]:
    yield Target("atlas", "toy.scim", make_atlas, SEALED, read_atlas, change_atlas)
    for kind in ("exact", "ivf", "graph"):
        make = functools.partial(make_index, kind=kind)
        yield Target(f"index-{kind}", "an-index", make, SEALED, read_index, change_index)
    yield Target("label-transfer", "a-transfer", make_transfer, SEALED, read_transfer)
    yield Target("model", "a-model", make_model, (*GENERIC, m.damage_json, m.forge_json, m.forge_bytes), read_model)
    for form in ("csr", "csc", "dense", "gzip"):
        yield _cells_target(f"h5ad-{form}", "cells.h5ad", form, m.forge_group)
    yield _cells_target("zarr", "cells.zarr", "csr", m.forge_group)
    yield _cells_target("zarr-zip", "cells.zarr.zip", "csr", m.forge_zip)


TARGETS = {target.name: target for target in _targets()}

__all__ = ["TARGETS", "Target", "replace", "warm"]
