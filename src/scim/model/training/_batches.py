"""Batches of cells, drawn by label and study, and changed as other experiments might have seen them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scim import ontology
from scim.model.training import _augment as augment
from scim.model.training._sample import balanced_weights, paper_weights
from scim.pp import lognorm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.data._data import TrainingCells
    from scim.model.training._config import TrainConfig


class Batch(NamedTuple):
    """What one step of training sees."""

    counts: torch.Tensor
    """(n, n_genes)"""
    observed: torch.Tensor
    """(n, n_genes) genes that were measured, 0 or 1"""
    seen: torch.Tensor
    """(n, n_genes) genes that the encoder is shown, 0 or 1"""
    labels: torch.Tensor
    studies: torch.Tensor


class Batches:
    """Draws cells and changes them.

    Attributes
    ----------
    kin
        (n_labels, n_labels) labels that are not each other's negatives.
    below
        (n_labels, n_labels): `below[a, b]` says that b is a, or a descendant of a.
    lone
        (n_labels,) labels whose pairs within a study count as positives.
    """

    def __init__(
        self, cells: TrainingCells, config: TrainConfig, random: np.random.Generator, generator: torch.Generator
    ) -> None:
        self.cells, self.config, self.random, self.generator = cells, config, random, generator
        self._cumulative = np.cumsum(_weights(cells, config))
        self._panels = torch.from_numpy(cells.panels.astype(np.float32))
        self._gene_weight = _gene_weight(cells)
        # Cells by study, label and data set: partners for mixing have the genes of the cell in common.
        group = (cells.study * len(cells.labels.names) + cells.label) * len(cells.panels) + cells.panel
        _, self._group, self._sizes = np.unique(group, return_inverse=True, return_counts=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.cumsum(self._sizes) - self._sizes
        names = [name if term is None else term for name, term in zip(*cells.labels, strict=True)]
        self.kin = torch.from_numpy(ontology.kin(names))
        self.below = torch.from_numpy(_below(names))
        n_studies = np.array([np.unique(cells.study[cells.label == i]).size for i in range(len(names))])
        self.lone = torch.from_numpy((n_studies < 2) | (config.positives == "any"))

    def draw(self) -> Batch:
        """Draw a batch, with replacement, so that rare labels keep their share."""
        config, cells = self.config, self.cells
        rows = np.searchsorted(self._cumulative, self.random.random(config.batch_size) * self._cumulative[-1])
        X = cells.X[rows]
        if config.mix > 0:
            X = augment.mix(X, lambda: cells.X[self._partners(rows)], config.mix, self.random)
        if config.thin > 0:
            X = augment.thin(X, config.thin, self.random)
        observed = self._panels[cells.panel[rows]]
        seen = augment.hide_genes(
            observed,
            self._panels,
            self._gene_weight,
            random_panel=config.random_panel,
            study_panel=config.study_panel,
            least_panel=config.least_panel,
            generator=self.generator,
        )
        counts = torch.from_numpy(X.toarray())
        return Batch(counts, observed, seen, torch.from_numpy(cells.label[rows]), torch.from_numpy(cells.study[rows]))

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


def _gene_weight(cells: TrainingCells) -> torch.Tensor:
    """Weigh genes between 0.2 and 2 by the rank of their mean square: panels are made of genes that say something.

    Over all cells, so that genes which few data sets measured are rare in panels too.
    """
    square = np.asarray(lognorm(cells.X.copy()).power(2).mean(axis=0)).ravel()
    rank = np.argsort(np.argsort(square, kind="stable"), kind="stable") / len(square)
    return torch.from_numpy(np.clip(2 * rank, 0.2, 2).astype(np.float32))


def _below(names: list[str]) -> NDArray[np.bool_]:
    above = [{name} | (ontology.ancestors(name) if ontology.term_id(name) == name else set()) for name in names]
    return np.array([[name in up for up in above] for name in names])
