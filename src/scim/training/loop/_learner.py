"""The modules that learn: nets and loss together, the average of their weights, and the merge of an ensemble."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scim.model.net import Decoder, Dropout, Encoder
from scim.training.losses import make_loss, relations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from scim.model import Labels
    from scim.model._config import ModelConfig
    from scim.training.loop._batches import Batch
    from scim.training.loop._config import TrainConfig
    from scim.training.losses import View


class Learner(nn.Module):
    """Encoder, decoder and loss; the generator draws the first weights, dropout, and what the loss draws."""

    def __init__(
        self,
        net: ModelConfig,
        config: TrainConfig,
        labels: Labels,
        within_study: NDArray[np.bool_],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config, self.generator = config, generator
        tables = relations([name if term is None else term for name, term in zip(*labels, strict=True)])
        self.encoder = Encoder(net, generator)
        self.decoder = Decoder(net, generator) if config.reconstruction_weight > 0 else None
        self.loss = make_loss(config, tables, torch.from_numpy(within_study), self.encoder, generator)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, and its terms before they are weighted."""
        config = self.config
        embeddings = self.loss.embed(self.encoder, batch.views)
        objective: Tensor = self.loss(embeddings, batch.labels, batch.studies, self.generator)
        terms: dict[str, Tensor] = {config.objective: objective}
        total = config.objective_weight * objective
        if self.decoder is not None:
            target = self.encoder.scale(batch.target, batch.observed)
            terms["reconstruction"] = reconstruction_loss(self.decoder(embeddings[0]), target, batch.observed)
            total = total + config.reconstruction_weight * terms["reconstruction"]
        if config.l1 > 0:
            total = total + config.l1 * self.encoder.first.weight.abs().sum()
        return total, terms

    @property
    def nets(self) -> nn.ModuleDict:
        """Encoder and decoder: what becomes the model."""
        return nn.ModuleDict({"encoder": self.encoder} | ({"decoder": self.decoder} if self.decoder else {}))

    def draw_dropout_from(self, generator: torch.Generator) -> None:
        """Set the generator of all dropout, on the device of the nets."""
        for module in self.modules():
            if isinstance(module, Dropout):
                module.generator = generator


def reconstruction_loss(decoded: Tensor, target: Tensor, observed: Tensor) -> Tensor:
    """Return the mean squared error over the genes that were observed; `observed` is (n, n_genes), 0 or 1."""
    error = (decoded - target).square() * observed
    return error.sum() / observed.sum().clamp(min=1)


class WeightAverage:
    r"""Exponential moving average of the weights, and of the statistics of batch normalisation.

    After step :math:`t` it is :math:`d \, \bar w + (1 - d) w` with :math:`d = \min(decay, (t + 1) / (t + 10))`, so that
    the first steps are soon forgotten. `tensors` has the averages by name, as in the module's state.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Include the weights after a step, counted from 0."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)

    @contextlib.contextmanager
    def put_into(self, module: nn.Module) -> Iterator[None]:
        """Replace the weights of a module by their average within the block."""
        current = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(current)


@torch.no_grad()
def merge_encoders(encoders: Sequence[Encoder], view: View, weights: Tensor) -> Encoder:
    r"""Merge the ensemble into one network: hidden layers side by side, and one head.

    The outputs of the members, each divided by its mean length, are joined and projected onto the `latent_dim`
    directions in which they are largest (singular vectors, not centred, because embeddings are compared by cosine).
    The heads and the projection are one linear map, so the result is an ordinary encoder with wider hidden layers: of
    m encoders with hidden layers h, m h. Lengths and directions are those of the cells of `view` with `weights` (n,).
    """
    first = encoders[0]
    hidden = tuple(len(encoders) * width for width in first.config.hidden)
    merged = Encoder(dataclasses.replace(first.config, hidden=hidden, unit_slopes=True), torch.Generator())
    for number, block in enumerate(merged.blocks):
        _merge_blocks(block, [encoder.blocks[number] for encoder in encoders], diagonal=number > 0)
    outputs = [encoder.head(encoder.blocks(encoder.scale(view.x, view.seen))) for encoder in encoders]  # each (n, d)
    d = first.config.latent_dim
    length = torch.stack([output.norm(dim=1).mean() for output in outputs]).repeat_interleave(d)
    joined = torch.cat(outputs, dim=1) / length * weights.sqrt()[:, None]  # (n, m d)
    joined = functional.pad(joined, (0, 0, 0, max(0, d - len(joined))))  # fewer cells than d have no d directions
    directions = torch.linalg.svd(joined.double(), full_matrices=False).Vh[:d].float()  # (d, m d)
    heads = (_block_diagonal if hidden else torch.cat)([encoder.head.weight for encoder in encoders])  # (m d, m h)
    project = directions / length
    merged.head.weight.copy_(project @ heads)
    merged.head.bias.copy_(project @ torch.cat([encoder.head.bias for encoder in encoders]))
    return merged.eval()


def _merge_blocks(merged: nn.Module, blocks: Sequence[nn.Module], *, diagonal: bool) -> None:
    """Fill a block of dropout, linear, normalisation and PReLU; `diagonal`: each member reads its part of the input."""
    for target, *layers in zip(merged.children(), *(block.children() for block in blocks), strict=True):
        states = [layer.state_dict() for layer in layers]
        for name, tensor in target.state_dict().items():
            parts = [state[name] for state in states]
            if tensor.ndim == 0:  # the number of batches
                tensor.copy_(parts[0])
            elif name == "weight" and tensor.ndim == 2 and diagonal:
                tensor.copy_(_block_diagonal(parts))
            else:  # a member may have one slope for all units
                width = tensor.shape[0] // len(parts)
                tensor.copy_(torch.cat([part.expand(width, *part.shape[1:]) for part in parts]))


def _block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    joined: Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return joined
