"""What the objectives that look at labels have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim.training.losses._objective import Objective
from scim.training.losses._perturb import perturb
from scim.training.losses._relations import Relations

if TYPE_CHECKING:
    import torch


class Labelled(Objective):
    """One view of each cell, and labels, of which a share is made coarser first.

    Parameters
    ----------
    relations
        Of the labels.
    lone
        (n_labels,) labels whose pairs within a study are positives too.
    perturbation
        Share of the labels that are replaced by a parent: see :func:`perturb`.
    """

    kin: torch.Tensor
    below: torch.Tensor
    parents: torch.Tensor
    lone: torch.Tensor

    def __init__(self, relations: Relations, lone: torch.Tensor, *, perturbation: float = 0.0) -> None:
        super().__init__()
        # Buffers, because they follow the module to its device; not saved, because the labels say them.
        for name, table in (*relations._asdict().items(), ("lone", lone)):
            self.register_buffer(name, table, persistent=False)
        self.perturbation = perturbation

    def _loss(
        self, embeddings: list[torch.Tensor], labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        if self.perturbation > 0:
            relations = Relations(self.kin, self.below, self.parents)
            labels = perturb(labels, relations, self.perturbation, generator)
        return self._among(embeddings[0], labels, studies, generator)

    def _among(
        self, embedding: torch.Tensor, labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        raise NotImplementedError
