"""The loop: batches, steps, checkpoints, validation and early stopping, on the devices of a Lightning Fabric."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from msgspec.structs import asdict

from scim._core import FormatError, error_text, logger, progress
from scim.model.net import torch_threads
from scim.training.loop._batches import Batches
from scim.training.loop._checkpoint import check_tensor, optimizer_tensors, restore_optimizer
from scim.training.loop._learner import Learner, WeightAverage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from scim.model._config import ModelConfig
    from scim.model.net import Decoder, Encoder
    from scim.training.data import TrainingCells
    from scim.training.loop._checkpoint import Checkpoints, State
    from scim.training.loop._config import TrainConfig
    from scim.training.loop._validation import Validation

_LOG_EVERY = 50


class Fitted(NamedTuple):
    """The trained nets, and `step` and `macro_f1` of each validation."""

    encoder: Encoder
    decoder: Decoder | None
    history: list[dict[str, float]]


class Run:
    """One training run with all of its state; `random` seeds it, and it stops early by `validation`."""

    def __init__(
        self,
        cells: TrainingCells,
        net: ModelConfig,
        config: TrainConfig,
        random: np.random.Generator,
        *,
        fabric: Fabric | None = None,
        validation: Validation | None = None,
    ) -> None:
        self.config, self.validation = config, validation
        self.fabric = Fabric(accelerator="auto", devices=1) if fabric is None else fabric
        # Each of several processes draws its own cells and augmentations; the first weights are those of process 0.
        seeds = random.integers(2**62, size=2) + self.fabric.global_rank
        self.random, generator = np.random.default_rng(seeds[0]), torch.Generator().manual_seed(int(seeds[1]))
        learner = Learner(net, config, cells.labels, labels_within_study(cells, config), generator)
        optimizer = torch.optim.AdamW(learner.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.schedule = schedule(optimizer, config)
        self.learner, self.optimizer = self.fabric.setup(learner, optimizer)
        self.generators = {"cpu": generator}
        if self.fabric.device.type != "cpu":
            self.generators["device"] = torch.Generator(self.fabric.device).manual_seed(int(seeds[1]) + 1)
            self.net.draw_dropout_from(self.generators["device"])
        self.batches = Batches(
            cells, config, self.random, generator,
            n_views=self.net.loss.n_views, target_sum=net.target_sum, device=self.fabric.device,
        )  # fmt: skip
        self.average = WeightAverage(self.net.nets, config.averaging)
        self.step, self.history = 0, list[dict[str, float]]()
        self.best: dict[str, Tensor] = {}

    @property
    def net(self) -> Learner:
        """The learner without the wrapper of Fabric."""
        learner: Learner = self.learner.module
        return learner

    def fit(self, checkpoints: Checkpoints | None = None, *, name: str = "train") -> Fitted:
        """Take the steps that are left; every `checkpoint_every` of them, and at the end, save the state."""
        with deterministic(self.fabric.device):
            self._restore(checkpoints)
            with progress(total=self.config.n_steps, initial=self.step, desc=name, unit="batch") as bar:
                while self.step < self.config.n_steps and not self._is_enough():
                    loss = self._take_step()
                    bar.update()
                    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                    if checkpoints is not None and (self.step % self.config.checkpoint_every == 0 or self._is_last()):
                        self._save(checkpoints)
        self.net.nets.load_state_dict(self.best or self.average.tensors)
        if self.fabric.world_size > 1:  # the statistics of batch normalisation are those of the cells of each process
            self.net.load_state_dict(self.fabric.broadcast(self.net.state_dict()))
        decoder = None if self.net.decoder is None else self.net.decoder.cpu().eval()
        return Fitted(self.net.encoder.cpu().eval(), decoder, self.history)

    def _take_step(self) -> float:
        self.learner.train()
        total, terms = self.learner(self.batches.draw())
        self.optimizer.zero_grad()
        self.fabric.backward(total)
        self.optimizer.step()
        self.schedule.step()
        self.net.loss.after_step(self.net.encoder)
        self.average.update(self.net.nets, self.step)
        self.step += 1
        loss: float = total.item()
        if self.step % _LOG_EVERY == 0:
            values = {name: value.item() for name, value in terms.items()}
            self.fabric.log_dict({"loss": loss, **values, "lr": self.schedule.get_last_lr()[0]}, self.step)
        if self.validation is not None and (self.step % self.config.validate_every == 0 or self._is_last()):
            self._validate(self.validation)
        return loss

    def _validate(self, validation: Validation) -> None:
        with self.average.put_into(self.net.nets):
            score = self.fabric.broadcast(validation.score(self.net.encoder))  # all processes have to stop at once
        if all(score > earlier["macro_f1"] for earlier in self.history):
            self.best = {name: value.clone() for name, value in self.average.tensors.items()}
        self.history.append({"step": self.step, "macro_f1": score})
        self.fabric.log_dict({"validation_macro_f1": score}, self.step)
        logger.info("batch %d: macro-F1 %.3f on held-out studies", self.step, score)

    def _is_last(self) -> bool:
        return self.step == self.config.n_steps or self._is_enough()

    def _is_enough(self) -> bool:
        """Return whether the last `patience` validations brought no better score."""
        scores = [earlier["macro_f1"] for earlier in self.history]
        return len(scores) > self.config.patience and int(np.argmax(scores)) < len(scores) - self.config.patience

    def _save(self, checkpoints: Checkpoints) -> None:
        state: dict[str, Any] = {"random": self.random.bit_generator.state, "epoch": self.batches.sampler.state}
        state |= {name: generator.get_state() for name, generator in self.generators.items()}
        states = [state] * self.fabric.world_size
        if self.fabric.world_size > 1:
            torch.distributed.all_gather_object(states, state)
        if not self.fabric.is_global_zero:
            return
        tensors = {f"learner.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()} | optimizer_tensors(self.optimizer)
        tensors |= {f"generator.{i}.{name}": state[name] for i, state in enumerate(states) for name in self.generators}
        values = {
            **{name: [state[name] for state in states] for name in ("random", "epoch")},
            "history": self.history,
        }
        checkpoints.save(self.step, tensors, values)

    def _restore(self, checkpoints: Checkpoints | None) -> None:
        state = None if checkpoints is None else checkpoints.load()
        if checkpoints is None or state is None:
            return
        try:
            self._put(state)
        except (LookupError, ArithmeticError, TypeError, ValueError, RuntimeError) as error:  # of torch and numpy
            msg = f"The training state in {str(checkpoints.folder)!r} is damaged ({error_text(error)}); delete it to "
            msg += "start again."
            raise FormatError(msg) from error

    def _put(self, state: State) -> None:
        tensors, values, rank = state.tensors, state.values, self.fabric.global_rank
        sampler, epoch = self.batches.sampler, values.epoch[rank]
        if state.step > self.config.n_steps or epoch.batch > sampler.n_batches or (epoch.seed < 0 < epoch.batch):
            msg = f"step {state.step} of {self.config.n_steps}, batch {epoch.batch} of {sampler.n_batches}"
            raise ValueError(msg)
        self.net.load_state_dict(_with_prefix(tensors, "learner.", self.net.state_dict()))
        average = self.average.tensors
        self.average.tensors = _with_prefix(tensors, "average.", average)
        self.best = _with_prefix(tensors, "best.", average if values.history else {})
        restore_optimizer(self.optimizer, tensors)
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator.{rank}.{name}"])
        self.random.bit_generator.state = values.random[rank]
        sampler.state = asdict(epoch)
        self.step, self.history = state.step, [asdict(score) for score in values.history]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch expects a step of the optimizer before each
            for _ in range(self.step):
                self.schedule.step()


def schedule(optimizer: torch.optim.Optimizer, config: TrainConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of the learning rate, one step a batch; see `TrainConfig.warmup`."""
    if config.warmup == 0:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.n_steps)
    # Besides the rate, the momentum of AdamW falls to 0.85 and comes back: better on held-out studies than without.
    steps = config.n_steps + 1
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=config.warmup)


def labels_within_study(cells: TrainingCells, config: TrainConfig) -> NDArray[np.bool_]:
    """Return which labels have positives within a study: those of a single study, or all."""
    pairs = np.unique(np.stack([cells.label, cells.study]), axis=1)
    n_studies = np.bincount(pairs[0], minlength=len(cells.labels.names))
    return (n_studies < 2) | (config.positives == "any")


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Use the threads of the settings, and on a CPU only operations that add up in the same order each time."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch_threads():
        if device.type == "cpu":
            torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _with_prefix(tensors: dict[str, Tensor], prefix: str, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a prefix without it, checked, on the devices of the `expected` ones."""
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if found.keys() != expected.keys():
        msg = f"its tensors {prefix}* are of another net"
        raise ValueError(msg)
    for name, value in found.items():
        check_tensor(f"{prefix}{name}", value, expected[name])
    return {name: value.to(expected[name]) for name, value in found.items()}
