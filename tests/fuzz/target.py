"""What a target is: a kind of file, how it is damaged, and what is done with it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import linecache
import os
import pkgutil
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scim
from fuzz import forgers as f
from fuzz import mutators as m
from fuzz.verdicts import CommandError
from helpers import fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Step = tuple[str, Callable[[], Any]]

GENERIC = (m.damage_bytes, m.damage_bytes, m.damage_tree)
SEALED = (*GENERIC, f.damage_json, f.damage_beside, m.forge_bytes, f.forge_json, f.forge_npy, f.forge_npy, m.forge_tree)


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
    seconds: float = 20  # of a case, by the clock; most end within two

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
    X = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    for kind in ("exact", "ivf"):
        scim.index.build(X, kind=kind, rng=0).query(X[:5], 5)
    scim.tl.embed(fakes.cells(6), model=fakes.tiny_model())
    for module in [*sys.modules.values()]:  # lines of the sources, which may change while cases run
        if (getattr(module, "__name__", "") or "").startswith("scim."):
            linecache.getlines(module.__file__ or "")
    gc.freeze()  # a collection in a fork would copy all pages


def embed_by_command(file: Path, model: Path) -> Any:
    """Embed a file by the command line; return the rows."""
    out = out_folder() / "rows.npy"
    command("embed", file, "--model", model, "-o", out, "--overwrite")
    return np.load(out)


def out_folder() -> Path:
    """Return the folder of the case for results."""
    return Path(os.environ["HOME"]).parent / "out"
