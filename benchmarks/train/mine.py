"""Measure the mining of triplets, beside the same rules in Python loops, and as a share of a training step.

    python benchmarks/train/mine.py [--device cpu] [--cells 1000 4000] [--genes 28231] [--rounds 20] [--threads 1]

Every pair of cells of the same label and of different studies is an anchor and a positive, as in the paper. The cells
have 30 labels, the k-th with a weight of 1 / k, and 8 studies: 80,000 pairs among 1,000 cells. The loops run
once on the CPU: `plain` loops over each negative, the other over pairs, with all negatives of a pair in numpy. The
step is that of the paper (G -> 1024 -> 1024 -> 1024 -> 128 and back, AdamW) without drawing the batch.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scim._core import settings
from scim.model import Decoder, Encoder, ModelConfig
from scim.model.net import Dropout
from scim.training.loop._config import MINING
from scim.training.loop._learner import reconstruction_loss
from scim.training.losses import Relations, View
from scim.training.losses._triplet import TripletLoss, Triplets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scim.training.loop._config import Mining

N_LABELS, N_STUDIES, LATENT, HIDDEN = 30, 8, 128, (1024, 1024, 1024)
MARGIN = 0.05
EXPRESSED = 0.08
"""Share of the genes that a cell expresses."""


class Cells(NamedTuple):
    """A batch: unit rows, and codes."""

    embedding: torch.Tensor
    labels: torch.Tensor
    studies: torch.Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--genes", type=int, default=28_231)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=settings.n_threads)
    arguments = parser.parse_args()
    settings.n_threads = arguments.threads
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    clock = Clock(device)
    print(f"{device}, {arguments.threads} threads, torch {torch.__version__}\n")
    beside_loops(arguments.cells[0], clock, arguments.rounds)
    print()
    share_of_a_step(arguments.cells, arguments.genes, clock)


class Clock:
    """Measure seconds after a device has finished its work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self) -> float:
        """Wait for the device, and return the seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def least(self, function: Callable[..., object], *arguments: object, rounds: int) -> float:
        """Return the seconds of the fastest of several calls."""
        seconds = []
        for _ in range(rounds):
            before = self()
            function(*arguments)
            seconds.append(self() - before)
        return min(seconds)


def beside_loops(n: int, clock: Clock, rounds: int) -> None:
    cells = draw(n)
    here = Cells(*(part.to(clock.device) for part in cells))
    rows = []
    for rule in MINING:
        n_triplets = len(mine_on(here, rule).anchor)  # and kernels are compiled
        mined = clock.least(mine_on, here, rule, rounds=rounds)
        plain, in_numpy = (clock.least(way, cells, rule, rounds=1) for way in (loops, numpy_loops))
        times = f"{plain:.1f} s", f"{in_numpy:.2f} s", f"{mined * 1e3:.1f} ms"
        rows.append((rule, n_triplets, *times, f"{plain / mined:.0f} x", f"{in_numpy / mined:.0f} x"))
    show((f"{n} cells", "triplets", "plain loops", "numpy in loops", "ours", "plain / ours", "numpy / ours"), rows)


def share_of_a_step(sizes: Sequence[int], n_genes: int, clock: Clock) -> None:
    training = Training(n_genes, clock)
    rows = []
    for n in sizes:
        cells, view = Cells(*(part.to(clock.device) for part in draw(n))), draw_view(n, n_genes, clock.device)
        training.step(cells, view)
        steps = [training.step(cells, view) for _ in range(3)]
        whole, mining = (min(seconds) for seconds in zip(*steps, strict=True))
        rows.append((n, f"{whole:.3f} s", f"{mining * 1e3:.1f} ms", f"{mining / whole:.1%}"))
    show((f"cells x {n_genes} genes", "step", "mining", "share"), rows)


class Training:
    """The networks of the paper, and their training steps."""

    def __init__(self, n_genes: int, clock: Clock) -> None:
        self.clock, self.generator = clock, torch.Generator().manual_seed(0)
        device = clock.device
        net = ModelConfig(n_genes, hidden=HIDDEN, latent_dim=LATENT)
        self.encoder = Encoder(net, self.generator).to(device).train()
        self.decoder = Decoder(net, self.generator).to(device).train()
        for module in (*self.encoder.modules(), *self.decoder.modules()):
            if isinstance(module, Dropout):  # it draws on the device of the networks
                module.generator = torch.Generator(device).manual_seed(0)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        self.loss = loss_on(device, "semihard")
        self.mine = self.loss.mine

    def step(self, cells: Cells, view: View) -> tuple[float, float]:
        """Return the seconds of a step, and of mining within it."""
        mining = [0.0]
        self.loss.mine = timed(self.mine, mining, self.clock)  # type: ignore[assignment, method-assign]
        start = self.clock()
        (embedding,) = self.loss.embed(self.encoder, [view])
        loss = 0.001 * self.loss([embedding], cells.labels, cells.studies, self.generator)
        loss = loss + reconstruction_loss(self.decoder(embedding), self.encoder.scale(view.x), view.seen)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return self.clock() - start, mining[0]


def draw_view(n: int, n_genes: int, device: torch.device) -> View:
    x = torch.rand(n, n_genes, generator=torch.Generator().manual_seed(0))
    x = (x - (1 - EXPRESSED)).clamp_(min=0).mul_(5 / EXPRESSED)
    return View(x.to(device), torch.ones(1, device=device).expand(n, n_genes))


def draw(n: int) -> Cells:
    rng = np.random.default_rng(0)
    weight = 1 / np.arange(1, N_LABELS + 1)
    labels = rng.choice(N_LABELS, n, p=weight / weight.sum())
    X = 0.6 * rng.normal(size=(N_LABELS, LATENT))[labels] + rng.normal(size=(n, LATENT))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return Cells(*(torch.from_numpy(x) for x in (X.astype(np.float32), labels, rng.integers(0, N_STUDIES, n))))


def mine_on(cells: Cells, rule: Mining) -> Triplets:
    return loss_on(cells.embedding.device, rule).mine(*cells, torch.Generator().manual_seed(0))


def loss_on(device: torch.device, rule: Mining) -> TripletLoss:
    unrelated = torch.eye(N_LABELS, dtype=torch.bool)
    relations, within_study = Relations(unrelated, unrelated, ~unrelated), torch.zeros(N_LABELS, dtype=torch.bool)
    return TripletLoss(relations, within_study, margin=MARGIN, mining=rule).to(device)


def loops(cells: Cells, rule: Mining) -> list[tuple[int, int, int]]:
    """Mine in plain loops over lists."""
    X, labels, studies = (part.numpy() for part in cells)
    distances, labels, studies = (2 - 2 * X @ X.T).tolist(), labels.tolist(), studies.tolist()
    highest = MARGIN if rule == "semihard" else float("inf")
    triplets = []
    for a, row in enumerate(distances):
        negatives = [i for i, label in enumerate(labels) if label != labels[a]]
        for p, near in enumerate(row):
            if a == p or labels[a] != labels[p] or studies[a] == studies[p]:
                continue
            admissible = [i for i in negatives if 0 < near - row[i] + MARGIN < highest]
            if admissible:
                n = min(admissible, key=row.__getitem__) if rule == "hardest" else random.choice(admissible)
                triplets.append((a, p, n))
    return triplets


def numpy_loops(cells: Cells, rule: Mining) -> list[tuple[int, int, int]]:
    """Mine in a loop over pairs, with numpy over the negatives of each pair."""
    X, labels, studies = (part.numpy() for part in cells)
    distances, rng = 2 - 2 * X @ X.T, np.random.default_rng(0)
    triplets = []
    for a in range(len(labels)):
        negatives = np.flatnonzero(labels != labels[a])
        far = distances[a, negatives]
        for p in np.flatnonzero((labels == labels[a]) & (studies != studies[a])):
            violations = distances[a, p] - far + MARGIN
            if rule == "semihard":
                admissible = np.flatnonzero((violations > 0) & (violations < MARGIN))
            else:
                admissible = np.flatnonzero(violations > 0)
            if len(admissible):
                hardest = rule == "hardest"
                i = violations.argmax() if hardest else admissible[rng.integers(len(admissible))]
                triplets.append((a, int(p), int(negatives[i])))
    return triplets


def timed(function: Callable[..., object], seconds: list[float], clock: Clock) -> Callable[..., object]:
    def watched(*args: object, **kwargs: object) -> object:
        before = clock()
        result = function(*args, **kwargs)
        seconds[0] += clock() - before
        return result

    return watched


def show(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    for line in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in line) + " |")


if __name__ == "__main__":
    main()
