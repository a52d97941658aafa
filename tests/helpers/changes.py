"""Changes of a toy atlas by name, in processes that can be killed.

`Workers` starts one process that imports everything, and forks it for each job: TileDB and numba have no threads
yet, so a fork behaves like a new process and starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import scim
from helpers import fakes, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scim.atlas import Atlas

ROWS = 20
"""Cells that are written at once, so that a few toy cells are many blocks."""

_NEW_COLUMNS = ["tissue", "age", "brand"]


# Inputs of a change -------------------------------------------------------------------------------------


def make_inputs(folder: Path) -> Path:
    """Write files and models that the changes need, and the atlas that they change; return its path."""
    for name, seed in (("a", 11), ("b", 12)):
        _coming(seed).write_h5ad(folder / f"{name}.h5ad")
    fakes.tiny_model(5).save(folder / "model")
    path = folder / "base.scim"
    with small_blocks(), scim.atlas.create(path, model=fakes.tiny_model()) as atlas:
        first = fakes.cells(40, seed=2)
        atlas.append(first, study="one", label_key="cell_type", obs_columns=["tissue", "n", "primary"], counts=True)
        atlas.build_index()
        atlas.append(fakes.cells(30, seed=3), study="two", obs_columns=["n", "note"], counts=True)
        atlas.remove("study == 'two' and n < 5")
    return path


def prepare(path: Path, change: str, folder: Path) -> None:
    """Prepare an atlas for a change: a draft to publish, or files to vacuum."""
    with small_blocks(), scim.atlas.open(path, "w") as atlas:
        if change == "publish":
            atlas.reembed(folder / "model", publish=False)
        elif change == "vacuum":
            atlas.compact()


def _coming(seed: int) -> Any:
    """Cells with columns and genes that the atlas does not have."""
    cells = fakes.cells(40, seed=seed)
    cells.obs["brand"] = [f"brand {i % 3}" for i in range(cells.n_obs)]
    cells.var_names = [f"NEW{seed}-{i}" if i < 2 else name for i, name in enumerate(cells.var_names)]
    return cells


# Changes -----------------------------------------------------------------------------------------------------------


def _append_files(atlas: Atlas, folder: Path) -> None:
    files = [folder / "a.h5ad", folder / "b.h5ad"]
    atlas.append(files, study=["three", "four"], label_key="cell_type", obs_columns=_NEW_COLUMNS, counts=True)


def _append_memory(atlas: Atlas, folder: Path) -> None:
    atlas.append(_coming(11), study="three", label_key="cell_type", obs_columns=_NEW_COLUMNS, counts=True)


def _append_plain(atlas: Atlas, folder: Path) -> None:
    atlas.append(fakes.cells(40, seed=13), study="five", on_duplicate="skip")


CHANGES: dict[str, Callable[[Atlas, Path], object]] = {
    "append_files": _append_files,
    "append_memory": _append_memory,
    "append_plain": _append_plain,
    "build_index": lambda atlas, folder: atlas.build_index(),
    "reembed": lambda atlas, folder: atlas.reembed(folder / "model"),
    "publish": lambda atlas, folder: atlas.publish(),
    "remove": lambda atlas, folder: atlas.remove("tissue == 'lung'"),
    "compact": lambda atlas, folder: atlas.compact(),
    "compact_without_samples": lambda atlas, folder: atlas.compact(samples=False),
    "vacuum": lambda atlas, folder: atlas.vacuum(),
    "refused": lambda atlas, folder: atlas.append(fakes.cells(40, seed=2), study="one"),
}

N_WRITERS = 4


def _append_own(atlas: Atlas, folder: Path, *, writer: int) -> None:
    """Append a study that no other writer appends, with columns that other writers may add too."""
    columns = ["tissue", "brand", f"only_{writer}"]
    cells = _coming(20 + writer)
    cells.obs[f"only_{writer}"] = writer
    atlas.append(cells, study=f"writer {writer}", label_key="cell_type", obs_columns=columns, counts=True)


CHANGES |= {f"writer_{number}": functools.partial(_append_own, writer=number) for number in range(N_WRITERS)}

DONE_ALREADY = ("are in the atlas already", "is embedded with model", "has no draft")
"""Errors of a change that is made again although it was committed."""


@contextlib.contextmanager
def small_blocks() -> Iterator[None]:
    """Write few cells at once."""
    from scim.atlas import _append, _rewrite

    own = [(_append, "_BLOCK_ROWS"), (_append, "_LEAST_ROWS"), (_rewrite, "_REEMBED_ROWS")]
    own += [(_rewrite, name) for name in ("_OBS_ROWS", "_EMBEDDING_ROWS", "_COUNT_ROWS")]
    before = [getattr(module, name) for module, name in own]
    for module, name in own:
        setattr(module, name, ROWS)
    try:
        yield
    finally:
        for (module, name), value in zip(own, before, strict=True):
            setattr(module, name, value)


# Processes ---------------------------------------------------------------------------------------------------------


class Workers:
    """Processes that make changes; use it as a context manager."""

    def __enter__(self) -> Self:
        folder = Path(__file__).parents[1]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no threads before the fork
        environment["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.changes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        self._read("ready")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def begin(self, job: dict[str, Any]) -> int:
        """Start one job; return its process id when it is ready."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([job]) + "\n")
        self._process.stdin.flush()
        return int(self._read("started")[1])

    def end(self) -> int:
        """Wait for the job; return its exit status: 0, or minus a signal."""
        return int(self._read("ended")[1])

    def all(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run jobs simultaneously; return the result of each, as `run` does."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        ended = [int(self._read("ended")[1]) for _ in jobs]
        results = [Path(job["result"]) for job in jobs]
        reported = [json.loads(result.read_text()) if result.exists() else {} for result in results]
        return [{"status": status, **words} for status, words in zip(ended, reported, strict=True)]

    def run(self, **job: Any) -> dict[str, Any]:
        """Run one job to its end, also after an error: `{"status": ..., "seconds": ..., "error": ...}`."""
        result = Path(job["uri"]).parent / "result.json"
        result.unlink(missing_ok=True)
        self.begin({**job, "result": str(result)})
        status = self.end()
        reported: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}
        return {"status": status, **reported}

    def _read(self, word: str) -> list[str]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(f"{word}"):
                return line.split()
        msg = f"the workers ended while {word!r} was awaited"
        raise RuntimeError(msg)


def _report(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # in one write, also from several processes


def serve() -> None:
    """Fork for each job, which is a line of JSON."""
    import torch

    torch.set_num_threads(1)
    for name in ("scim.atlas._atlas", "scim.model", "scim.index", "scim.cli", "tiledbsoma", "h5py"):
        importlib.import_module(name)
    fakes.cells(5)
    _report("ready")
    for line in sys.stdin:
        children = [_fork(job) for job in json.loads(line)]
        for child in children:
            _, status = os.waitpid(child, 0)
            _report(f"ended {os.waitstatus_to_exitcode(status)}")


def _fork(job: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _do(job)
    except BaseException:  # noqa: BLE001  (it must not return into the loop of its parent)
        traceback.print_exc()
        os._exit(9)
    os._exit(0)


def _do(job: dict[str, Any]) -> None:
    for kill in job.get("kills", ()):
        _die(**kill)
    if job.get("powerless"):
        _give_up_power()
    if "limit" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], resource.RLIM_INFINITY))
    time.sleep(max(0, job.get("begin", 0) - time.time()))
    _report(f"started {os.getpid()}")
    begun, error = time.perf_counter(), None
    try:
        if "read" in job:
            reading.read_for(job["uri"], **job["read"])
        elif "append" in job:
            with small_blocks():
                reading.append_for(job["uri"], **job["append"])
        else:
            how = {name: job[name] for name in ("change", "uri", "inputs", "timeout") if name in job}
            error = make(**how)["error"]
    except Exception as problem:  # noqa: BLE001  (it is told)
        error = _described(problem)
    seconds = time.perf_counter() - begun
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(job["result"]).write_text(json.dumps({"seconds": seconds, "error": error}))


def _die(where: str, when: str = "before", call: int = 1, first: str | None = None) -> None:
    """Make this process kill itself at a call of a function, `module:name` or `module:Class.name`.

    Parameters
    ----------
    where
        The function.
    when
        `"before"` or `"after"` it.
    call
        Which call, of those with
    first
        as first argument (of a method, the first after self).
    """
    module, _, name = where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function, left = getattr(owner, name), call

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        given = [str(arg) for arg in args[len(parents) :][:1]]
        counts = first is None or any(arg.startswith(first) for arg in given)
        left -= counts
        if counts and left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if counts and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def _give_up_power() -> None:
    """Apply file permissions to this process even if it runs as root."""
    if os.geteuid() != 0:
        return
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def make(*, change: str, uri: str, inputs: str, timeout: float = 10) -> dict[str, Any]:
    """Make a change in this process; report its result as `Workers.run` does."""
    error = None
    try:
        with small_blocks(), scim.atlas.open(uri, "w", timeout=timeout) as atlas:
            CHANGES[change](atlas, Path(inputs))
    except Exception as problem:  # noqa: BLE001  (it is told)
        error = _described(problem)
    return {"status": 0, "error": error}


def _described(problem: Exception) -> dict[str, Any]:
    return {"type": [kind.__name__ for kind in type(problem).__mro__], "text": str(problem)}


def copy_atlas(path: Path, to: Path) -> Path:
    """Copy an atlas into a folder; return its new path."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.copytree(path, to / path.name)
    return to / path.name


if __name__ == "__main__":
    serve()
