"""Which cells a batch has: weights by label and study, and draws with and without replacement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.training.data import TrainingCells
    from scim.training.loop._config import TrainConfig


class Sampler:
    """Draws the rows of batches of `size`, in proportion to the weights (n,) of the cells.

    With replacement, so that rare labels keep their share; or without it within `epoch` batches, of which there are no
    more than a tenth of the cells fills: a draw of all cells would not depend on their weights. Fewer cells than one
    batch are drawn with replacement.
    """

    def __init__(self, weights: NDArray[np.float64], size: int, epoch: int) -> None:
        self._weights, self._cumulative, self._size = weights, np.cumsum(weights), size
        self.n_batches = min(epoch, max(1, len(weights) // (10 * size))) if len(weights) >= size else 0
        """of an epoch; 0: every batch is drawn with replacement"""
        self.state = {"seed": -1, "batch": 0}
        """seed of the current epoch, and how many of its batches were drawn"""
        self._rows, self._seed = np.empty(0, np.int64), -1  # of the current epoch; `state` may come from a checkpoint

    def draw(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw the rows of the next batch."""
        if self.n_batches == 0:
            rows = np.searchsorted(self._cumulative, random.random(self._size) * self._cumulative[-1])
            return np.asarray(rows, dtype=np.int64)
        if self.state["batch"] % self.n_batches == 0:
            self.state = {"seed": int(random.integers(2**62)), "batch": 0}
        if self._seed != self.state["seed"]:
            self._seed = self.state["seed"]
            n = self.n_batches * self._size
            self._rows = draw_without_replacement(self._weights, n, np.random.default_rng(self._seed))
        start = self.state["batch"] * self._size
        self.state["batch"] += 1
        return self._rows[start : start + self._size]


def draw_without_replacement(weights: NDArray[np.float64], n: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw `n` rows one after the other, each in proportion to its weight among those that are left.

    Waiting times, exponential with the weights as rates, end in the order of such draws.
    """
    waiting = random.exponential(size=len(weights)) / weights
    return np.argsort(waiting, kind="stable")[:n]


def sampling_weights(cells: TrainingCells, config: TrainConfig) -> NDArray[np.float64]:
    """Return the weight of each cell as `config.sampling` says; they add up to 1."""
    if config.sampling == "paper":
        return paper_weights(cells.label, cells.study)
    return balanced_weights(cells.label, cells.study, config.class_balance, config.study_balance)


def paper_weights(labels: NDArray[np.int64], studies: NDArray[np.int64]) -> NDArray[np.float64]:
    r"""Return the weights of :cite:t:`Heimberg2025`: :math:`1/\log(1 + n_c/10^4) \cdot 1/\log(1 + n_s/10^6)`.

    :math:`n_c` and :math:`n_s` count the cells of the label and of the study. Weights are clipped at twice their
    99.9 % quantile and add up to 1. They suit millions of cells; on thousands they are nearly inverse frequencies.
    """
    of_label, of_study = np.bincount(labels)[labels], np.bincount(studies)[studies]
    weights = 1 / np.log1p(of_label / 1e4) / np.log1p(of_study / 1e6)
    weights = np.minimum(weights, 2 * np.quantile(weights, 0.999))
    return np.asarray(weights / weights.sum())


def balanced_weights(
    labels: NDArray[np.int64], studies: NDArray[np.int64], class_balance: float, study_balance: float
) -> NDArray[np.float64]:
    """Return weights by label within study, and by study, as :class:`TrainConfig` describes them; they add up to 1."""
    group = studies * (labels.max() + 1) + labels
    _, codes, counts = np.unique(group, return_inverse=True, return_counts=True)
    weights = counts[codes] ** -float(class_balance)
    per_study = np.bincount(studies)
    total = np.bincount(studies, weights=weights)
    wanted = np.where(per_study > 0, per_study ** (1.0 - study_balance), 0)
    weights = weights * (wanted / np.where(total > 0, total, 1))[studies]
    return np.asarray(weights / weights.sum())
