"""Batches of cells, drawn by label and study, and changed as other experiments might have seen them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scim.training.loop import _augment as augment
from scim.training.loop._sample import balanced_weights, paper_weights
from scim.training.losses import View

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from scim.training.data import TrainingCells
    from scim.training.loop._config import TrainConfig


class Batch(NamedTuple):
    """What one step of training sees; tensors are on the device that trains."""

    target: torch.Tensor
    """(n, n_genes) log-normalised values of the first view, of all genes that were measured"""
    observed: torch.Tensor
    """(n, n_genes) genes that were measured, 0 or 1"""
    views: list[View]
    """what the encoder is shown"""
    labels: torch.Tensor
    studies: torch.Tensor


class Batches:
    """Draws cells and changes them.

    Parameters
    ----------
    cells
        All cells.
    config
        How they are drawn and changed.
    random, generator
        Draw them, and what is done to them.
    n_views
        How many views of each cell.
    target_sum
        Total of a cell's counts after normalisation.
    device
        Where batches go.
    """

    def __init__(
        self,
        cells: TrainingCells,
        config: TrainConfig,
        random: np.random.Generator,
        generator: torch.Generator,
        *,
        n_views: int = 1,
        target_sum: float = 1e4,
        device: torch.device | str = "cpu",
    ) -> None:
        self.cells, self.config, self.random, self.generator = cells, config, random, generator
        self.n_views, self.target_sum, self.device = n_views, target_sum, torch.device(device)
        self._cumulative = np.cumsum(_weights(cells, config))
        self._panels = torch.from_numpy(cells.panels.astype(np.float32)).to(self.device)
        self._gene_weight = _gene_weight(cells.mean_square)
        # Cells by study, label and data set: partners for mixing have the genes of the cell in common.
        group = (cells.study * len(cells.labels.names) + cells.label) * len(cells.panels) + cells.panel
        _, self._group, self._sizes = np.unique(group, return_inverse=True, return_counts=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self) -> Batch:
        """Draw a batch, with replacement, so that rare labels keep their share."""
        cells = self.cells
        rows = np.searchsorted(self._cumulative, self.random.random(self.config.batch_size) * self._cumulative[-1])
        X = cells.X[rows]
        observed = self._panels[torch.from_numpy(cells.panel[rows]).to(self.device)]
        views, targets = [], []
        for _ in range(self.n_views):
            counts = _dense(self._changed(X, rows), self.device)
            if self.config.platform > 0:
                counts = augment.shift_platform(counts, self.config.platform, self.generator)
            seen = self._seen(observed)
            views.append(View(_lognorm(counts * seen, self.target_sum), seen))
            targets.append(counts)
        labels, studies = (torch.from_numpy(codes[rows]).to(self.device) for codes in (cells.label, cells.study))
        return Batch(_lognorm(targets[0], self.target_sum), observed, views, labels, studies)

    def _changed(self, X: sparse.csr_matrix, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        config = self.config
        if config.mix > 0:
            X = augment.mix(X, lambda chosen: self.cells.X[self._partners(rows[chosen])], config.mix, self.random)
        return augment.thin(X, config.thin, self.random) if config.thin > 0 else X

    def _seen(self, observed: torch.Tensor) -> torch.Tensor:
        return augment.hide_genes(
            observed,
            self._panels,
            self._gene_weight,
            random_panel=self.config.random_panel,
            study_panel=self.config.study_panel,
            least_panel=self.config.least_panel,
            generator=self.generator,
        )

    def _partners(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        group = self._group[rows]
        within = (self.random.random(len(rows)) * self._sizes[group]).astype(np.int64)
        partners: NDArray[np.int64] = self._order[self._starts[group] + within]
        return partners


def _weights(cells: TrainingCells, config: TrainConfig) -> NDArray[np.float64]:
    if config.sampling == "paper":
        return paper_weights(cells.label, cells.study)
    return balanced_weights(
        cells.label, cells.study, class_balance=config.class_balance, study_balance=config.study_balance
    )


def _gene_weight(mean_square: NDArray[np.float64]) -> torch.Tensor:
    """Weigh genes for each panel by the rank of their mean square: panels are made of genes that say something.

    Between 0.2 and 2, and in every second panel the square of that, as in a panel of markers. Over all cells, so that
    genes which few data sets measured are rare in panels too.
    """
    rank = np.argsort(np.argsort(mean_square, kind="stable"), kind="stable") / len(mean_square)
    weight = torch.from_numpy(np.clip(2 * rank, 0.2, 2).astype(np.float32))
    return torch.stack([weight ** (1 + i % 2) for i in range(augment.N_PANELS)])


def _dense(X: sparse.csr_matrix, device: torch.device) -> torch.Tensor:
    if device.type == "cpu":
        return torch.from_numpy(X.toarray())
    # Made dense where it is needed: a tenth of the bytes travel.
    row = torch.from_numpy(np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))).to(device)
    gene, values = (torch.from_numpy(part).to(device) for part in (X.indices.astype(np.int64), X.data))
    return torch.zeros(X.shape, device=device).index_put_((row, gene), values, accumulate=True)


def _lognorm(counts: torch.Tensor, target_sum: float) -> torch.Tensor:
    total = counts.sum(1, keepdim=True)
    lognorm: torch.Tensor = (counts * (target_sum / total.clamp(min=1e-6))).log1p()
    return lognorm
