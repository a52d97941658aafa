"""Losses of two views of each cell, without labels: SimCLR and MoCo."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from pytorch_metric_learning import losses as pml
from torch.nn import functional

from scim.model.net import Dropout
from scim.training.losses._loss import Loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from scim.model.net import Encoder
    from scim.training.losses._loss import View

_GROUPS, _LEAST = 4, 8  # parts of a batch in which keys are made; fewest cells of a part, for the sake of its variance


class SimCLRLoss(Loss):
    r"""NT-Xent, the loss of :cite:t:`Chen2020`.

    With the other view :math:`a'` of a cell's view :math:`a`, the mean over all :math:`2 n` views of

    .. math:: -\log \frac{\exp(a \cdot a' / \tau)}{\sum_{b \ne a} \exp(a \cdot b / \tau)}.

    It is computed as the supervised contrastive loss with a label for each cell: `NTXentLoss` of
    pytorch-metric-learning makes a matrix of positive pairs by negative pairs, 32 GB for 1,000 cells.
    """

    n_views = 2

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.contrast = pml.SelfSupervisedLoss(pml.SupConLoss(temperature=temperature))

    def _loss(self, embeddings: list[Tensor], labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del labels, studies, generator
        loss: Tensor = self.contrast(*embeddings)
        return loss


class MoCoLoss(Loss):
    r"""Momentum contrast, :cite:t:`He2020`.

    With the key :math:`k` of a cell's query :math:`q`, and a queue :math:`Q` of earlier keys, the mean of

    .. math:: -\log \frac{\exp(q \cdot k / \tau)}{\exp(q \cdot k / \tau) + \sum_{j \in Q} \exp(q \cdot j / \tau)}.

    Keys come from a copy of the encoder, in training mode, that follows it after each step:
    :math:`\theta_k \leftarrow \mu \theta_k + (1 - \mu) \theta_q`. The paper shuffles cells among machines, so that a
    query and its key are not normalised by the same statistics, which would reveal the pairs; here the keys are made
    in parts of the batch. The queue starts with random directions. `CrossBatchMemory` of pytorch-metric-learning needs
    labels, and does not save its position.
    """

    n_views = 2
    queue: Tensor
    oldest: Tensor

    def __init__(
        self, encoder: Encoder, *, temperature: float, queue_size: int, momentum: float, generator: Generator
    ) -> None:
        super().__init__()
        # A checkpoint has the state of one generator, so the dropout of the copy draws from the same.
        generators = [module.generator for module in encoder.modules() if isinstance(module, Dropout)]
        follower = copy.deepcopy(encoder, {id(shared): shared for shared in generators})
        self.follower = follower.requires_grad_(requires_grad=False)
        drawn = torch.randn(queue_size, encoder.config.latent_dim, generator=generator, device=generator.device)
        self.register_buffer("queue", functional.normalize(drawn))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))  # row of the queue
        self.temperature, self.momentum = temperature, momentum

    def embed(self, encoder: Encoder, views: Sequence[View]) -> list[Tensor]:
        """Return the queries, by the encoder, and the keys, by its copy and without gradient."""
        query, key = views
        n = len(key.x)
        n_groups = max(1, min(_GROUPS, n // _LEAST))
        keys = torch.empty(0)
        with torch.no_grad():
            for group in range(n_groups):  # every n_groups-th cell, because a batch may be in some order
                part = self.follower(key.x[group::n_groups], key.seen[group::n_groups])
                keys = part.new_empty(n, part.shape[1]) if group == 0 else keys
                keys[group::n_groups] = part
        return [encoder(query.x, query.seen), keys]

    def after_step(self, encoder: Encoder) -> None:
        """Move the copy towards the encoder."""
        with torch.no_grad():
            for followed, weight in zip(self.follower.parameters(), encoder.parameters(), strict=True):
                followed.lerp_(weight, 1 - self.momentum)

    def _loss(self, embeddings: list[Tensor], labels: Tensor, studies: Tensor, generator: Generator) -> Tensor:
        del labels, studies, generator
        query, key = embeddings
        positive = (query * key).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ self.queue.T], dim=1) / self.temperature  # (n, 1 + queue_size)
        loss = functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))
        self._enqueue(key)
        return loss

    def _enqueue(self, keys: Tensor) -> None:
        """Overwrite the oldest keys."""
        size = len(self.queue)
        keys = keys[-size:]
        rows = (self.oldest + torch.arange(len(keys), device=keys.device)) % size
        self.queue = self.queue.index_copy(0, rows, keys)  # a new tensor: the loss still needs the old one
        self.oldest = (self.oldest + len(keys)) % size
