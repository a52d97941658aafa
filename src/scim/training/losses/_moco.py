"""Two views of each cell, against a queue of earlier cells that a slowly following encoder has embedded; no labels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from scim.model.net._net import Dropout
from scim.training.losses._objective import Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim.model.net._net import Encoder
    from scim.training.losses._objective import View

_GROUPS, _LEAST = 4, 8
"""Parts of a batch in which the keys are made, and cells of the smallest: of fewer, no variance is worth the name."""


class MomentumQueue(Objective):
    r"""The loss of :cite:t:`He2020`.

    With the key :math:`k` of a cell's query :math:`q`, and a queue :math:`Q` of earlier keys, the mean of

    .. math:: -\log \frac{\exp(q \cdot k / \tau)}{\exp(q \cdot k / \tau) + \sum_{j \in Q} \exp(q \cdot j / \tau)}.

    Keys come from a copy of the encoder, in training mode, whose weights follow after each step:
    :math:`\theta_k \leftarrow \mu \theta_k + (1 - \mu) \theta_q`. The paper shuffles cells among machines, so that a
    query and its key are not normalised by the same statistics, which would give away which belong together; here the
    keys are made in parts of the batch. The memory of pytorch-metric-learning (`CrossBatchMemory`) needs labels, and
    its place in the queue would not be in a checkpoint.

    Parameters
    ----------
    encoder
        The one that is trained.
    latent_dim
        Length of an embedding.
    temperature
        :math:`\tau`.
    queue_size
        :math:`|Q|`.
    momentum
        :math:`\mu`.
    generator
        Draws the random directions that the queue starts with.
    """

    n_views = 2
    needs_labels = False
    queue: torch.Tensor
    place: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        latent_dim: int,
        *,
        temperature: float,
        queue_size: int,
        momentum: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.follower = _copied(encoder)
        drawn = torch.randn(queue_size, latent_dim, generator=generator, device=generator.device)
        self.register_buffer("queue", functional.normalize(drawn))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))  # of the oldest key
        self.temperature, self.momentum = temperature, momentum

    def embed(self, encoder: Encoder, views: Sequence[View]) -> list[torch.Tensor]:
        """Return the queries, by the encoder, and the keys, by its follower and without gradient."""
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
        """Move the follower towards the encoder."""
        with torch.no_grad():
            for own, other in zip(self.follower.parameters(), encoder.parameters(), strict=True):
                own.lerp_(other, 1 - self.momentum)

    def _loss(
        self, embeddings: list[torch.Tensor], labels: torch.Tensor, studies: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        del labels, studies, generator
        query, key = embeddings
        own = (query * key).sum(1, keepdim=True)
        logits = torch.cat([own, query @ self.queue.T], dim=1) / self.temperature  # (n, 1 + queue_size)
        loss = functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))
        self._remember(key)
        return loss

    def _remember(self, keys: torch.Tensor) -> None:
        """Put keys into the places of the oldest ones."""
        size = len(self.queue)
        keys = keys[-size:]
        places = (self.place + torch.arange(len(keys), device=keys.device)) % size
        self.queue = self.queue.index_copy(0, places, keys)  # a new tensor: the loss still needs the old one
        self.place = (self.place + len(keys)) % size


def _copied(encoder: Encoder) -> Encoder:
    # A checkpoint has the state of the one generator, so the dropout of the copy must draw from the same.
    generators = [module.generator for module in encoder.modules() if isinstance(module, Dropout)]
    follower = copy.deepcopy(encoder, {id(generator): generator for generator in generators})
    return follower.requires_grad_(requires_grad=False)
