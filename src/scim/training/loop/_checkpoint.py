"""The state of a training run on disk, from which it resumes to the last bit. Tensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import save_file

from scim._core import FormatError, error_text, logger
from scim.io import (
    Record,
    as_record,
    is_link,
    new_folder,
    new_path,
    parse_object,
    read_json,
    sealed_with,
    unsealed_with,
    write_json,
)
from scim.io._tensors import read_tensors

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from scim.training.data import TrainingCells

STATE, TENSORS, SEED = "state.json", "tensors.safetensors", "seed.json"
_FORMAT = "scim training state 1"
_LONG = ("data", "seed")  # too long to be shown when they differ
_NAME = re.compile(r"step_\d{9,}")
_UNFINISHED = re.compile(r"\.step_\d{9,}\.[0-9a-f]{8}\.(tmp|old)")
_REMEDY = "Delete the folder of this state to start again."


class Epoch(Record, frozen=True):
    """What :class:`scim.training.loop._sampling.Sampler` keeps."""

    seed: Annotated[int, Meta(ge=-1, lt=1 << 62)]
    batch: Annotated[int, Meta(ge=0)]


class Score(Record, frozen=True):
    """One validation."""

    step: Annotated[int, Meta(ge=0)]
    macro_f1: Annotated[float, Meta(ge=0, le=1)]


class Values(Record, frozen=True):
    """The part of a state that JSON can hold."""

    random: list[dict[str, Any]]
    """of the generator of each process"""
    epoch: list[Epoch]
    """of the sampler of each process"""
    history: list[Score]
    schedule: Any = None
    groups: Any = None
    """Earlier versions wrote the latter two, which follow from the step."""


class _Seed(Record, frozen=True):
    seed: Annotated[int, Meta(ge=0, lt=1 << 62)]


class _Content(Record, frozen=True):
    format: str
    step: Annotated[int, Meta(ge=0)]
    run: dict[str, Any]
    values: Values


class State(NamedTuple):
    """The state of a run that was read, besides its data and settings: `step` batches are done."""

    step: int
    tensors: dict[str, Tensor]
    values: Values


class Checkpoints:
    """A folder with the last state of a run, which is told by its settings and a digest of its data."""

    def __init__(self, folder: str | os.PathLike[str], run: dict[str, Any]) -> None:
        self.folder = new_path(folder, what="a checkpoint")
        self._run = parse_object(json.dumps(run), "run")  # tuples are lists on disk

    def save(self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write a state, and then remove the one before: a whole one exists at every moment, also if this fails.

        `values` become :class:`Values`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        older = self._states()
        tensors = {name: _stored(value.detach().cpu()) for name, value in tensors.items()}
        content = {"format": _FORMAT, "step": step, "run": self._run, "values": dict(values)}
        name = f"step_{step:09d}"
        try:
            with new_folder(self.folder / name, marker=STATE, overwrite=True) as folder:
                save_file(tensors, folder / TENSORS)
                write_json(folder / STATE, sealed_with(folder, content, [TENSORS]))
        except (SafetensorError, OSError) as error:
            msg = f"No state of training could be written to {str(self.folder)!r} ({error}); the one before is kept."
            raise OSError(msg) from error
        killed = [path for path in self.folder.iterdir() if _UNFINISHED.fullmatch(path.name) and not is_link(path)]
        for path in [*older, *killed]:
            if path.name != name:
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> State | None:
        """Return the last state, `None` if none exists; a damaged one is a FormatError, a foreign one a ValueError."""
        states = self._states()
        if not states:
            return None
        file = states[-1] / STATE
        content = read_json(file, kind="training state")
        if content.get("format") != _FORMAT:
            msg = f"{str(states[-1])!r} is not a training state that this scim reads; name another folder."
            raise FormatError(msg)
        try:
            found = as_record(unsealed_with(file, content, [TENSORS], remedy=_REMEDY), _Content, str(file))
            self._check_run(found.run)
            arrays = read_tensors(states[-1] / TENSORS)
        except FormatError as error:
            msg = f"{error_text(error)}: {str(states[-1])!r} is damaged; delete it to start again."
            raise FormatError(msg) from error
        logger.info("training resumes after %d batches, from %s", found.step, states[-1])
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        return State(found.step, tensors, found.values)

    def _states(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        folders = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and not is_link(path)]
        return sorted(path for path in folders if (path / STATE).exists())

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
    return as_record(read_json(path, kind="training state"), _Seed, str(path)).seed


def digest_of(cells: TrainingCells) -> str:
    """Return a digest of the cells: counts, by their checksums, codes, panels and genes."""
    digest = hashlib.sha256()
    for array in (cells.X.indptr, cells.panels, cells.panel, cells.label, cells.study, cells.mean_square):
        digest.update(np.ascontiguousarray(array).tobytes())
    words = [cells.labels.names, cells.studies, cells.genes.tolist(), cells.X.checksums]
    digest.update(json.dumps(words).encode())
    return digest.hexdigest()


def _stored(value: Tensor) -> Tensor:
    # Nothing is lost, and numpy, which reads it, has no bfloat16.
    return (value.float() if value.dtype == torch.bfloat16 else value).contiguous()


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


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that :func:`optimizer_tensors` returned; FormatError if it is not of these parameters."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            shape = () if name == "step" else parameters[int(number)].shape
            check_tensor(key, value, torch.empty(shape, device="meta"))
            states.setdefault(int(number), {})[name] = value
    if any(set(state) != {"step", "exp_avg", "exp_avg_sq"} for state in states.values()):
        msg = "its optimizer is another"
        raise FormatError(msg)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def check_tensor(name: str, value: Tensor, expected: Tensor) -> None:
    """Raise FormatError for a tensor of another shape, and for values that it cannot have."""
    positive = name.endswith(("running_var", "exp_avg_sq", ".step")) or not value.is_floating_point()
    same = value.shape == expected.shape and value.is_floating_point() == expected.is_floating_point()
    if not same or not bool(value.isfinite().all()) or (positive and bool((value < 0).any())):
        msg = f"{name} is {value.dtype} of shape {tuple(value.shape)}, or has values that it cannot have"
        raise FormatError(msg)
