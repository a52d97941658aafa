"""Batches of cells, drawn by label and study and augmented: fewer counts, other genes, more counts of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import sparse

from scim.pp import lognorm
from scim.training.loop._sampling import Sampler, sampling_weights
from scim.training.losses import View

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    from scim.training.data import TrainingCells
    from scim.training.loop._config import TrainConfig

MOST_PARTNERS, NEXT_PARTNER = 5, 0.7  # partners of a mixed cell, and the probability of each after the first
LEAST_KEPT = 0.05  # share of its counts that a thinned cell keeps at least; shares are log-uniform
N_PLATFORMS, PLAIN = 16, 4  # virtual platforms in a batch; those of them that leave the counts as they are
N_PANELS = 32  # random panels in a batch: one for each cell would cost more than the first layer
FEW_GENES = 60  # a panel that leaves a cell fewer genes is not used


class Batch(NamedTuple):
    """One step's input, on the device that trains."""

    target: Tensor
    """(n, n_genes) log-normalised values of the first view, of all genes that were measured"""
    observed: Tensor
    """(n, n_genes) genes that were measured, 0 or 1"""
    views: list[View]
    labels: Tensor
    studies: Tensor


class Batches:
    """Draws cells and augments them, `n_views` times each, as `config` says; all randomness is in the generators."""

    def __init__(
        self,
        cells: TrainingCells,
        config: TrainConfig,
        random: np.random.Generator,
        generator: Generator,
        *,
        n_views: int = 1,
        target_sum: float = 1e4,
        device: torch.device | str = "cpu",
    ) -> None:
        self.cells, self.config, self.random, self.generator = cells, config, random, generator
        self.n_views, self.target_sum, self.device = n_views, target_sum, torch.device(device)
        self.sampler = Sampler(sampling_weights(cells, config), config.batch_size, config.epoch)
        self._panels = torch.from_numpy(cells.panels.astype(np.float32)).to(self.device)
        self._gene_weight = _gene_weight(cells.mean_square)
        # Cells by study, label and data set: partners for mixing have the genes of the cell in common.
        group = (cells.study * len(cells.labels.names) + cells.label) * len(cells.panels) + cells.panel
        _, self._group, self._sizes = np.unique(group, return_inverse=True, return_counts=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.cumsum(self._sizes) - self._sizes

    def draw(self) -> Batch:
        """Draw a batch."""
        cells, config = self.cells, self.config
        rows = self.sampler.draw(self.random)
        X = cells.X[rows]
        observed = self._panels[torch.from_numpy(cells.panel[rows]).to(self.device)]
        views, targets = [], []
        for _ in range(self.n_views):
            counts = _dense(self._augmented(X, rows), self.device)
            if config.platform > 0:
                counts = shift_platform(counts, config.platform, self.generator)
            seen = hide_genes(observed, self._panels, self._gene_weight, config, self.generator)
            views.append(View(_lognorm(counts * seen, self.target_sum), seen))
            targets.append(counts)
        labels, studies = (torch.from_numpy(codes[rows]).to(self.device) for codes in (cells.label, cells.study))
        return Batch(_lognorm(targets[0], self.target_sum), observed, views, labels, studies)

    def _augmented(self, X: sparse.csr_matrix, rows: NDArray[np.int64]) -> sparse.csr_matrix:
        config = self.config
        if config.mix > 0:
            X = mix(X, lambda chosen: self.cells.X[self._partners(rows[chosen])], config.mix, self.random)
        return thin(X, config.thin, self.random) if config.thin > 0 else X

    def _partners(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        group = self._group[rows]
        within = (self.random.random(len(rows)) * self._sizes[group]).astype(np.int64)
        return np.asarray(self._order[self._starts[group] + within])


def mix(
    X: sparse.csr_matrix,
    draw_partners: Callable[[NDArray[np.int64]], sparse.csr_matrix],
    share: float,
    random: np.random.Generator,
) -> sparse.csr_matrix:
    """Add to a share of the cells the counts of one to five others of their type, which `draw_partners` draws by row.

    The sum is what one cell with more counts could have looked like; small classes gain most. Without deep cells of
    every type, depth itself looks like a type: precursors have three times the counts of T cells.
    """
    n = X.shape[0]
    chosen = random.random(n) < share
    for _ in range(MOST_PARTNERS):
        rows = np.flatnonzero(chosen)
        expand = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, np.arange(rows.size))), (n, rows.size))
        X = sparse.csr_matrix(X + expand @ draw_partners(rows))
        chosen &= random.random(n) < NEXT_PARTNER
    return X


def thin(X: sparse.csr_matrix, share: float, random: np.random.Generator) -> sparse.csr_matrix:
    """Keep each count of a share of the cells with a probability drawn for the cell (binomial thinning)."""
    n = X.shape[0]
    kept = np.where(random.random(n) < share, LEAST_KEPT ** random.random(n), 1.0)
    rate = np.repeat(kept, np.diff(X.indptr))
    counts = np.round(X.data).astype(np.int64)
    thinned = np.where(rate < 1, random.binomial(counts, rate), X.data).astype(np.float32)
    return sparse.csr_matrix((thinned, X.indices, X.indptr), shape=X.shape)


def shift_platform(counts: Tensor, most: float, generator: Generator) -> Tensor:
    """Multiply the counts of each gene, (n, n_genes), by a factor of the virtual platform of the cell.

    Chemistries and protocols catch the same molecules with different yields, gene by gene. The standard deviation of
    the logarithm of a platform's factors lies between 0 and `most`.
    """
    n, n_genes = counts.shape
    device = generator.device
    sd = most * torch.rand(N_PLATFORMS, 1, generator=generator, device=device)
    sd[:PLAIN] = 0
    factors = (sd * torch.randn(N_PLATFORMS, n_genes, generator=generator, device=device)).exp().to(counts.device)
    return counts * factors[torch.randint(N_PLATFORMS, (n,), generator=generator, device=device).to(counts.device)]


def hide_genes(
    observed: Tensor, panels: Tensor, gene_weight: Tensor, config: TrainConfig, generator: Generator
) -> Tensor:
    """Return the genes that the encoder sees of each cell of a batch, (n, n_genes), of those that were observed.

    All are 0 or 1. A cell is seen through a random panel, of log-uniform size, or through one of the `panels` of the
    studies, (n_panels, n_genes), in the shares of `config`. `gene_weight`, (N_PANELS, n_genes), around 1, has the
    relative probability of each gene in each random panel.
    """
    n, n_genes = observed.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device)

    def pick(n_choices: int) -> Tensor:
        return torch.randint(n_choices, (n,), generator=generator, device=generator.device).to(observed.device)

    least = min(config.least_panel, n_genes) / n_genes
    size = least ** uniform(N_PANELS, 1)  # log-uniform between `least` and 1
    size[uniform(N_PANELS) >= config.random_panel] = torch.inf
    random_panels = (uniform(N_PANELS, n_genes) < size * gene_weight).to(observed)
    seen = observed * random_panels[pick(N_PANELS)]
    through_study = observed * panels[pick(len(panels))]
    seen = torch.where((uniform(n, 1) < config.study_panel).to(observed.device), through_study, seen)
    few = seen.sum(1, keepdim=True) < min(FEW_GENES, n_genes // 10)
    return torch.where(few, observed, seen)


def _gene_weight(mean_square: NDArray[np.float64]) -> Tensor:
    """Weight genes by the rank of their mean square, 0.2 to 2, squared in every second panel as if of markers."""
    rank = np.argsort(np.argsort(mean_square, kind="stable"), kind="stable") / len(mean_square)
    weight = torch.from_numpy(np.clip(2 * rank, 0.2, 2).astype(np.float32))
    return torch.stack([weight ** (1 + i % 2) for i in range(N_PANELS)])


def unaugmented(cells: TrainingCells, rows: NDArray[np.int64], target_sum: float) -> View:
    """Return cells without augmentation, through all genes that were measured, on the CPU."""
    x = torch.from_numpy(lognorm(cells.X[rows], target_sum).toarray())
    return View(x, torch.from_numpy(cells.panels[cells.panel[rows]].astype(np.float32)))


def _dense(X: sparse.csr_matrix, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.from_numpy(X.toarray())
    # Made dense on the device: a tenth of the bytes travel.
    row = torch.from_numpy(np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))).to(device)
    gene, values = (torch.from_numpy(part).to(device) for part in (X.indices.astype(np.int64), X.data))
    return torch.zeros(X.shape, device=device).index_put_((row, gene), values, accumulate=True)


def _lognorm(counts: Tensor, target_sum: float) -> Tensor:
    total = counts.sum(1, keepdim=True)
    values: Tensor = (counts * (target_sum / total.clamp(min=1e-6))).log1p()
    return values
