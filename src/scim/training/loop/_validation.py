"""How well the labels of studies that do not train are found on the way: what early stopping looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from scim.pp import lognorm
from scim.training.evaluation import label_scores
from scim.training.loop._sample import balanced_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.net import Encoder
    from scim.training.data import TrainingCells

MOST_CELLS = 4000
"""Cells of each side: enough for a macro-F1 that is stable to a hundredth, in about a second."""

NEIGHBORS = 15

_BATCH = 512


class _Side(NamedTuple):
    cells: TrainingCells
    rows: NDArray[np.int64]

    @property
    def words(self) -> NDArray[np.object_]:
        return np.array(self.cells.labels.names, dtype=object)[self.cells.label[self.rows]]


class Validation:
    """Labels cells of other studies by their nearest training cells.

    Parameters
    ----------
    training, others
        Cells that train, and cells of the studies that do not, over the same genes.
    random
        Draws at most `MOST_CELLS` of each, rare labels first.

    Raises
    ------
    ValueError
        They have no label in common, nor any below one another.
    """

    def __init__(self, training: TrainingCells, others: TrainingCells, random: np.random.Generator) -> None:
        self._known = _Side(training, _some(training, random))
        self._new = _Side(others, _some(others, random))
        best = label_scores(self._new.words, self._new.words, seen=training.labels.names)
        if np.isnan(best.summary["macro_f1_ontology"]):
            msg = (
                f"The studies of validation have no label that training has, so that none can be found: "
                f"{sorted(others.labels.names)[:5]}, in training {sorted(training.labels.names)[:5]}."
            )
            raise ValueError(msg)

    def score(self, encoder: Encoder) -> float:
        """Return the ontology-aware macro-F1 of an encoder, 0 to 1, over the labels that training has."""
        mode = encoder.training
        encoder.eval()
        with torch.inference_mode():
            known, new = _embed(encoder, self._known), _embed(encoder, self._new)
            codes = torch.from_numpy(self._known.cells.label[self._known.rows]).to(known.device)
            k = min(NEIGHBORS, len(codes))
            votes = functional.one_hot(codes[(new @ known.T).topk(k, dim=1).indices]).sum(1)
            found = votes.argmax(1).cpu().numpy()
        encoder.train(mode)
        names = np.array(self._known.cells.labels.names, dtype=object)
        scores = label_scores(self._new.words, names[found], seen=self._known.cells.labels.names)
        return scores.summary["macro_f1_ontology"]


def _some(cells: TrainingCells, random: np.random.Generator) -> NDArray[np.int64]:
    n = len(cells.label)
    if n <= MOST_CELLS:
        return np.arange(n)
    weights = balanced_weights(cells.label, cells.study, class_balance=0.5, study_balance=0.5)
    return np.sort(random.choice(n, MOST_CELLS, replace=False, p=weights))


def _embed(encoder: Encoder, side: _Side) -> torch.Tensor:
    """Embed cells as they are, through all genes that were measured."""
    device = encoder.head.weight.device
    panels = torch.from_numpy(side.cells.panels.astype(np.float32)).to(device)
    parts = []
    for start in range(0, side.rows.size, _BATCH):
        rows = side.rows[start : start + _BATCH]
        x = torch.from_numpy(lognorm(side.cells.X[rows], encoder.config.target_sum).toarray()).to(device)
        parts.append(encoder(x, panels[torch.from_numpy(side.cells.panel[rows]).to(device)]))
    return torch.cat(parts)
