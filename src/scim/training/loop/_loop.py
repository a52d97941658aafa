"""The loop: batches, steps, checkpoints, early stopping. Lightning Fabric says on what it runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from scim._core.log import logger, progress
from scim._core.settings import settings
from scim.training.loop._average import WeightAverage
from scim.training.loop._batches import Batches
from scim.training.loop._checkpoint import State, optimizer_tensors, restore_optimizer
from scim.training.loop._learner import Learner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.model._config import ModelConfig
    from scim.model.net import Decoder, Encoder
    from scim.training.data import TrainingCells
    from scim.training.loop._checkpoint import Checkpoints
    from scim.training.loop._config import TrainConfig
    from scim.training.loop._validation import Validation

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises."""

_LOG_EVERY = 50


class Fitted(NamedTuple):
    """What training gives."""

    encoder: Encoder
    decoder: Decoder | None
    history: list[dict[str, float]]
    """`step` and `macro_f1` of each validation."""


class Run:
    """One training run: all of its state, and how it steps, stops, is saved and restored.

    Parameters
    ----------
    cells
        What it learns from.
    net, config
        Sizes, and how.
    random
        Seeds it.
    fabric
        Device, precision, strategy, loggers; default: one GPU if there is one, else the CPU.
    validation
        Early stopping looks at it.
    """

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
        # Every process of several draws cells and changes of its own; the first weights are those of process 0.
        seeds = random.integers(2**62, size=2) + self.fabric.global_rank
        self.random, generator = np.random.default_rng(seeds[0]), torch.Generator().manual_seed(int(seeds[1]))
        learner = Learner(net, config, cells.labels, lone_labels(cells, config), generator)
        optimizer = torch.optim.AdamW(learner.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        # Besides the rate, the momentum of AdamW falls to 0.85 and comes back: on studies left out better than without.
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.lr, total_steps=config.n_steps + 1, pct_start=WARM_UP
        )
        self.learner, self.optimizer = self.fabric.setup(learner, optimizer)
        self.generators = {"cpu": generator}
        if self.fabric.device.type != "cpu":
            seed = int(seeds[1]) + 1
            self.generators["device"] = torch.Generator(self.fabric.device).manual_seed(seed)
            self.net.draw_dropout_from(self.generators["device"])
        self.batches = Batches(
            cells, config, self.random, generator,
            n_views=self.net.objective.n_views, target_sum=net.target_sum, device=self.fabric.device,
        )  # fmt: skip
        self.average = WeightAverage(self.net.nets, config.averaging)
        self.step, self.history = 0, list[dict[str, float]]()
        self.best: dict[str, torch.Tensor] = {}

    @property
    def net(self) -> Learner:
        """The learner without what Fabric wraps it in."""
        learner: Learner = self.learner.module
        return learner

    def fit(self, checkpoints: Checkpoints | None = None, every: int = 500, *, name: str = "train") -> Fitted:
        """Take the steps that are left; `every` so many, and at the end, the state is saved."""
        with steady(self.fabric.device):
            self._restore(checkpoints)
            with progress(total=self.config.n_steps, initial=self.step, desc=name, unit="batch") as bar:
                while self.step < self.config.n_steps and not self._is_enough():
                    loss = self._take_step()
                    bar.update()
                    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                    if checkpoints is not None and (self.step % every == 0 or self._is_last()):
                        self._save(checkpoints)
        self.net.nets.load_state_dict(self.best or self.average.tensors)
        if self.fabric.world_size > 1:  # the statistics of batch normalisation are those of the cells of each process
            self.net.load_state_dict(self.fabric.broadcast(self.net.state_dict()))
        decoder = None if self.net.decoder is None else self.net.decoder.cpu().eval()
        return Fitted(self.net.encoder.cpu().eval(), decoder, self.history)

    def _take_step(self) -> float:
        self.learner.train()
        losses = self.learner(self.batches.draw())
        self.optimizer.zero_grad()
        self.fabric.backward(losses.total)
        self.optimizer.step()
        self.schedule.step()
        self.net.after_step()
        self.average.update(self.net.nets, self.step)
        self.step += 1
        loss: float = losses.total.item()
        if self.step % _LOG_EVERY == 0:
            values = {name: value.item() for name, value in losses.parts.items()}
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
        logger.info("batch %d: macro-F1 %.3f on studies that do not train", self.step, score)

    def _is_last(self) -> bool:
        return self.step == self.config.n_steps or self._is_enough()

    def _is_enough(self) -> bool:
        """Say whether the last `patience` validations brought nothing."""
        scores = [earlier["macro_f1"] for earlier in self.history]
        return len(scores) > self.config.patience and int(np.argmax(scores)) < len(scores) - self.config.patience

    def _save(self, checkpoints: Checkpoints) -> None:
        own: dict[str, Any] = {"random": self.random.bit_generator.state}
        own |= {name: one.get_state() for name, one in self.generators.items()}
        draws = self._of_every_process(own)
        if not self.fabric.is_global_zero:
            return
        tensors = {f"learner.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()} | optimizer_tensors(self.optimizer)
        tensors |= {f"generator.{i}.{name}": one[name] for i, one in enumerate(draws) for name in self.generators}
        values = {
            "random": [one["random"] for one in draws],
            "schedule": self.schedule.state_dict(),
            "groups": self.optimizer.state_dict()["param_groups"],
            "history": self.history,
        }
        checkpoints.save(State(self.step, tensors, values))

    def _restore(self, checkpoints: Checkpoints | None) -> None:
        state = None if checkpoints is None else checkpoints.load()
        if state is None:
            return
        tensors, values = state.tensors, state.values
        self.net.load_state_dict(_part(tensors, "learner."))
        self.best, self.average.tensors = (
            {name: value.to(self.fabric.device) for name, value in _part(tensors, part).items()}
            for part in ("best.", "average.")
        )
        restore_optimizer(self.optimizer, tensors, values["groups"])
        self.schedule.load_state_dict(values["schedule"])
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator.{self.fabric.global_rank}.{name}"])
        self.random.bit_generator.state = values["random"][self.fabric.global_rank]
        self.step, self.history = state.step, values["history"]

    def _of_every_process(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        if self.fabric.world_size == 1:
            return [own]
        every: list[dict[str, Any]] = [{}] * self.fabric.world_size
        torch.distributed.all_gather_object(every, own)
        return every


def lone_labels(cells: TrainingCells, config: TrainConfig) -> NDArray[np.bool_]:
    """Say of which labels pairs within a study are positives: those that one study alone has, or all."""
    pairs = np.unique(np.stack([cells.label, cells.study]), axis=1)
    n_studies = np.bincount(pairs[0], minlength=len(cells.labels.names))
    return (n_studies < 2) | (config.positives == "any")


@contextlib.contextmanager
def steady(device: torch.device) -> Iterator[None]:
    """Use the threads of the settings, and on a CPU only what adds up in the same order each time."""
    n_threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(settings.n_threads)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
