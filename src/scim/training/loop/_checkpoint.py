"""The state of a training run on disk, from which it resumes to the last bit. Tensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scim._core import FormatError, logger
from scim.io import new_folder, new_path, read_json, write_json

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from scim.training.data import TrainingCells

STATE, TENSORS, SEED = "state.json", "tensors.safetensors", "seed.json"
_FORMAT = "scim training state 1"
_LONG = ("data", "seed")  # too long to be shown when they differ


class State(NamedTuple):
    """The state of a run, besides its data and settings: `step` batches are done, `values` are for JSON."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Checkpoints:
    """A folder with the last state of a run, which is told by its settings and a digest of its data."""

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, Any]) -> None:
        self.folder = new_path(folder, what="a checkpoint")
        self._run: dict[str, Any] = json.loads(json.dumps(run))  # tuples are lists on disk

    def save(self, state: State) -> None:
        """Write a state, and then remove the one before: a whole one exists at every moment, also if this fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        older = self._states()
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
        content = {"format": _FORMAT, "step": state.step, "run": self._run, "values": state.values}
        name = f"step_{state.step:09d}"
        try:
            with new_folder(self.folder / name, marker=STATE, overwrite=True) as folder:
                save_file(tensors, folder / TENSORS)
                write_json(folder / STATE, content)
        except (SafetensorError, OSError) as error:
            msg = f"No state of training could be written to {str(self.folder)!r} ({error}); the one before is kept."
            raise OSError(msg) from error
        for path in [*older, *self.folder.glob(".step_*")]:  # the latter: leftovers of a process that was killed
            if path.name != name:
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> State | None:
        """Return the last state, `None` if none exists; a damaged one is a FormatError, a foreign one a ValueError."""
        states = self._states()
        if not states:
            return None
        content = read_json(states[-1] / STATE, kind="training state")
        if content.get("format") != _FORMAT:
            msg = f"{str(states[-1])!r} is not a training state that this scim reads; name another folder."
            raise FormatError(msg)
        try:
            self._check_run(content["run"])
            state = State(content["step"], load_file(states[-1] / TENSORS), content["values"])
        except (SafetensorError, OSError, KeyError) as error:
            msg = f"{str(states[-1])!r} is damaged ({error}); delete it to start again."
            raise FormatError(msg) from error
        logger.info("training resumes after %d batches, from %s", state.step, states[-1])
        return state

    def _states(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step_*") if (path / STATE).exists())

    def _check_run(self, run: dict[str, Any]) -> None:
        changes = ", ".join(_differences(run, self._run))
        if changes:
            msg = f"{str(self.folder)!r} has the state of another training; what differs: {changes}. "
            msg += "Name another folder with checkpoint=, or delete this one."
            raise ValueError(msg)


def seed_of(folder: str | os.PathLike[str]) -> int:
    """Return the seed of a run without `rng`: the same at each call, so that the run can resume."""
    path = new_path(folder, what="a checkpoint") / SEED
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, {"seed": int(np.random.default_rng().integers(2**62))})
    return int(read_json(path, kind="training state")["seed"])


def digest_of(cells: TrainingCells) -> str:
    """Return a digest of the cells: counts, by their checksums, codes, panels and genes."""
    digest = hashlib.sha256()
    for array in (cells.X.indptr, cells.panels, cells.panel, cells.label, cells.study, cells.mean_square):
        digest.update(np.ascontiguousarray(array).tobytes())
    words = [cells.labels.names, cells.studies, cells.genes.tolist(), cells.X.checksums]
    digest.update(json.dumps(words).encode())
    return digest.hexdigest()


def _differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name what differs, with the values if they are short."""
    found = []
    for key in sorted(was.keys() | now.keys()):
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after)
        elif before != after:
            found.append(key if key in _LONG else f"{key} (was {before!r}, is {after!r})")
    return found


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as tensors by name."""
    states = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{name}": value for i, state in states.items() for name, value in state.items()}


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """Restore the state that :func:`optimizer_tensors` returned, and the settings of the groups of parameters."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            states.setdefault(int(number), {})[name] = value
    param_groups = [{**group, "betas": (*group["betas"],)} for group in groups]
    optimizer.load_state_dict({"state": states, "param_groups": param_groups})
