"""Training in processes that can be killed.

Processes are forks of one server that has imported everything (`multiprocessing`, start method `forkserver`), so
they start at once.
"""

from __future__ import annotations

import functools
import importlib
import json
import multiprocessing
import os
import resource
import signal
import warnings
from typing import TYPE_CHECKING, Any

from lightning_fabric import Fabric

import scim
from scim.model import ModelConfig, TrainConfig, train
from scim.training.loop import _loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scim.model import Model

scim.ontology.related(["T cell", "B cell"])  # loads the ontology, which each fork would load again

SIZES: dict[str, Any] = {"model": ModelConfig(hidden=(8,), latent_dim=4)}


@functools.cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    modules = ["scim.training.loop._train", "pytorch_metric_learning.losses", "scim.datasets"]
    context.set_forkserver_preload([__name__, *modules])
    return context


def toy(n: int = 60, seed: int = 0, genes: slice = slice(None)) -> Any:
    """Toy cells of a study."""
    return scim.datasets.toy(n, rng=seed)[:, genes].copy()


def config_of(**changes: Any) -> TrainConfig:
    """Return a training of eleven small steps, by triplets and reconstruction, with a checkpoint every third step."""
    small = {"n_steps": 11, "batch_size": 24, "queue_size": 64, "validate_every": 4, "least_panel": 20}
    terms = {"checkpoint_every": 3, "n_members": 1, "objective": "triplet", "reconstruction_weight": 0.1}
    return TrainConfig(**{**small, **terms, "margin": 1.0, **changes})


def fit(folder: Path | str | None = None, **changes: Any) -> Model:
    """Train on one thread; changes go to `train` or to its configuration."""
    scim.settings.n_threads = 1
    options = {"label_key": "cell_type", "rng": 0, **SIZES}
    names = ("data", "rng", "validation", "fabric", "model", "label_key", "study_key")
    options |= {name: changes.pop(name) for name in names if name in changes}
    data = options.pop("data", None)
    data = [toy(), toy(48, 1, slice(0, 90))] if data is None else data
    return train(data, config=config_of(**changes), checkpoint=folder, **options)


def run(function: Callable[..., object], *args: Any, seconds: float = 60, **kwargs: Any) -> int:
    """Call a function in a process; return its exit status: 0, 1 after an error, or minus a signal."""
    process = _context().Process(target=function, args=args, kwargs=kwargs)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        msg = f"{function} did not end in {seconds} s"
        raise TimeoutError(msg)
    return int(process.exitcode)


def fit_and_die(folder: Path, where: str, call: int, when: str = "before", **changes: Any) -> None:
    """Train until a call of a function, `module:name` or `module:Class.name`, and kill this process there."""
    module, _, name = where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function, left = getattr(owner, name), call

    @functools.wraps(function)
    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)
    fit(folder, **changes)


def fit_on_a_full_disk(folder: Path, limit: int, log: Path) -> None:
    """Train with files limited to `limit` bytes; write the error to a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    error: Exception | None = None
    try:
        fit(folder)
    except Exception as problem:  # noqa: BLE001  (it is written down)
        error = problem
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.write_text(json.dumps([[kind.__name__ for kind in type(error).__mro__], str(error)]))


def fit_with_two(folder: Path, changes: dict[str, Any]) -> None:
    """Train with two processes, as with several devices; each saves its model."""
    folder.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")  # of torch, about the addresses of this machine
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_fit_one_of_two, folder, changes)


def _fit_one_of_two(fabric: Fabric, folder: Path, changes: dict[str, Any]) -> None:
    last = changes.pop("last_step", None)
    take = _loop.Run._take_step

    def dying(run: _loop.Run) -> float:
        if run.step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return take(run)

    _loop.Run._take_step = dying  # type: ignore[method-assign]  # in this process, which does nothing else
    fit(changes.pop("checkpoint", None), fabric=fabric, **changes).save(
        folder / f"rank{fabric.global_rank}", overwrite=True
    )
