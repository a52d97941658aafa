"""Everything that learns, as one module: the nets, the objective, and the loss that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from scim.model.net import Decoder, Encoder
from scim.model.net._net import Dropout
from scim.training.losses import l1_loss, make_objective, reconstruction_loss, relations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scim.model._config import ModelConfig
    from scim.model._labels import Labels
    from scim.training.loop._batches import Batch
    from scim.training.loop._config import TrainConfig


class Losses(NamedTuple):
    """The loss of a batch, and its parts before they are weighed."""

    total: torch.Tensor
    parts: dict[str, torch.Tensor]


class Learner(nn.Module):
    """Encoder, decoder and objective.

    Parameters
    ----------
    net
        Sizes of the nets.
    config
        Which terms the loss has.
    labels
        Of the model.
    lone
        (n_labels,) labels whose pairs within a study are positives too.
    generator
        Draws the first weights, and dropout and triplets on the way.
    """

    def __init__(
        self,
        net: ModelConfig,
        config: TrainConfig,
        labels: Labels,
        lone: NDArray[np.bool_],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.generator = config, generator
        found = relations([name if term is None else term for name, term in zip(*labels, strict=True)])
        self.encoder = Encoder(net, generator)
        self.decoder = Decoder(net, generator) if config.reconstruction_weight > 0 else None
        self.objective = make_objective(config, found, torch.from_numpy(lone), self.encoder, net.latent_dim, generator)

    def forward(self, batch: Batch) -> Losses:
        """Return the loss of a batch."""
        config = self.config
        parts: dict[str, torch.Tensor] = {}
        embeddings = self.objective.embed(self.encoder, batch.views)
        parts[config.objective] = self.objective(embeddings, batch.labels, batch.studies, self.generator)
        total = config.objective_weight * parts[config.objective]
        if self.decoder is not None:
            target = self.encoder.scale(batch.target, batch.observed)
            parts["reconstruction"] = reconstruction_loss(self.decoder(embeddings[0]), target, batch.observed)
            total = total + config.reconstruction_weight * parts["reconstruction"]
        if config.l1 > 0:
            total = total + config.l1 * l1_loss(self.encoder.first.weight)
        return Losses(total, parts)

    @property
    def nets(self) -> nn.ModuleDict:
        """What becomes the model."""
        nets = {"encoder": self.encoder}
        return nn.ModuleDict(nets if self.decoder is None else {**nets, "decoder": self.decoder})

    def after_step(self) -> None:
        """Let the objective follow the encoder, which has just taken a step."""
        self.objective.after_step(self.encoder)

    def draw_dropout_from(self, generator: torch.Generator) -> None:
        """Let dropout draw from a generator on the device of the nets."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator
