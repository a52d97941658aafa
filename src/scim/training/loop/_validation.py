"""The score of held-out studies during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scim.training.evaluation import label_scores
from scim.training.loop._batches import unaugmented
from scim.training.loop._sampling import balanced_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from scim.model.net import Encoder
    from scim.training.data import TrainingCells

NEIGHBORS = 15
MOST_CELLS = 4000  # so many fix the macro-F1 to a hundredth in about a second
_BATCH = 512


class Validation:
    """The score of held-out studies by their nearest training cells, which early stopping compares.

    At most `MOST_CELLS` of each are drawn, rare labels first. A label has to be in both, or a descendant of one.
    """

    def __init__(self, training: TrainingCells, held_out: TrainingCells, random: np.random.Generator) -> None:
        self._training, self._training_rows = training, _sample(training, random)
        self._held_out, self._held_out_rows = held_out, _sample(held_out, random)
        self._truth = np.array(held_out.labels.names, dtype=object)[held_out.label[self._held_out_rows]]
        best = label_scores(self._truth, self._truth, seen=training.labels.names)
        if np.isnan(best.summary["macro_f1_ontology"]):
            found, expected = sorted(held_out.labels.names)[:5], sorted(training.labels.names)[:5]
            msg = f"The studies of validation have no label that training has: {found}, in training {expected}."
            raise ValueError(msg)

    def score(self, encoder: Encoder) -> float:
        """Return the ontology-aware macro-F1 of an encoder, 0 to 1, over the labels that training has."""
        mode = encoder.training
        encoder.eval()
        with torch.inference_mode():
            reference = _embed(encoder, self._training, self._training_rows)
            query = _embed(encoder, self._held_out, self._held_out_rows)
            labels = torch.from_numpy(self._training.label[self._training_rows]).to(reference.device)
            nearest = (query @ reference.T).topk(min(NEIGHBORS, len(labels)), dim=1).indices
            predicted = functional.one_hot(labels[nearest]).sum(1).argmax(1).cpu().numpy()
        encoder.train(mode)
        names = np.array(self._training.labels.names, dtype=object)
        return label_scores(self._truth, names[predicted], seen=names).summary["macro_f1_ontology"]


def _sample(cells: TrainingCells, random: np.random.Generator) -> NDArray[np.int64]:
    n = len(cells.label)
    if n <= MOST_CELLS:
        return np.arange(n)
    weights = balanced_weights(cells.label, cells.study, 0.5, 0.5)
    return np.sort(random.choice(n, MOST_CELLS, replace=False, p=weights))


def _embed(encoder: Encoder, cells: TrainingCells, rows: NDArray[np.int64]) -> Tensor:
    device, target_sum = encoder.head.weight.device, encoder.config.target_sum
    views = (unaugmented(cells, rows[i : i + _BATCH], target_sum) for i in range(0, rows.size, _BATCH))
    return torch.cat([encoder(view.x.to(device), view.seen.to(device)) for view in views])
