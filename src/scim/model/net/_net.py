"""The encoder and the decoder, as in :cite:t:`Heimberg2025`: blocks of dropout, linear, batch normalisation, PReLU."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Generator, Tensor

    from scim.model._config import ModelConfig

Net = TypeVar("Net", bound=nn.Module)


class Dropout(nn.Module):
    """Dropout that draws from a given generator, so that no global seed is needed or moved."""

    def __init__(self, p: float, generator: Generator | None = None) -> None:
        super().__init__()
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Set a share `p` of the values to zero and scale the rest, in training only."""
        if not self.training or self.p == 0:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * kept / (1 - self.p)


class Encoder(nn.Module):
    """The net from log-normalised cells to unit rows; `generator` draws the first weights and the dropout."""

    def __init__(self, config: ModelConfig, generator: Generator | None = None) -> None:
        super().__init__()
        self.config = config
        sizes = (config.n_genes, *config.hidden)
        self.blocks = _blocks(sizes, config.input_dropout, config, generator)
        self.head = _linear(sizes[-1], config.latent_dim, generator)

    @property
    def first(self) -> nn.Linear:
        """The layer beside the input."""
        return next(module for module in self.modules() if isinstance(module, nn.Linear))

    def forward(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Embed log-normalised cells (n, n_genes) as unit rows; `observed` is (n_genes,) or (n, n_genes)."""
        h = self.blocks(self.scale(x, observed))  # (n, hidden[-1]), or the input
        return functional.normalize(self.head(h))  # (n, latent_dim)

    def scale(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Standardise each cell over its observed genes if the model does; genes not observed are 0."""
        if not self.config.standardize:
            return x
        return standardize(x, observed)


class Decoder(nn.Module):
    """The net from embeddings back to the input of the encoder; `generator` as for :class:`Encoder`."""

    def __init__(self, config: ModelConfig, generator: Generator | None = None) -> None:
        super().__init__()
        sizes = (config.latent_dim, *reversed(config.hidden))
        self.blocks = _blocks(sizes, 0.0, config, generator)
        self.head = _linear(sizes[-1], config.n_genes, generator)

    def forward(self, z: Tensor) -> Tensor:
        """Decode embeddings (n, latent_dim) to (n, n_genes)."""
        out: Tensor = self.head(self.blocks(z))
        return out


def standardize(x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Bring each row to mean 0 and standard deviation 1 over its observed genes; other genes, and flat rows, are 0."""
    mask = torch.ones_like(x) if observed is None else observed.to(x.dtype).expand_as(x)
    n = mask.sum(1, keepdim=True).clamp(min=1)
    mean = (x * mask).sum(1, keepdim=True) / n
    centred = (x - mean) * mask
    sd = (centred.square().sum(1, keepdim=True) / n).sqrt()
    return torch.where(sd > 0, centred / sd.clamp(min=1e-12), 0.0)


def _blocks(
    sizes: tuple[int, ...], first_rate: float, config: ModelConfig, generator: Generator | None
) -> nn.Sequential:
    """Return a block for each pair of consecutive sizes; `first_rate` is the dropout of the first."""
    blocks, rate = nn.Sequential(), first_rate
    for n_in, n_out in itertools.pairwise(sizes):
        prelu = nn.PReLU(n_out if config.unit_slopes else 1)
        linear = _linear(n_in, n_out, generator)
        blocks.append(nn.Sequential(Dropout(rate, generator), linear, nn.BatchNorm1d(n_out), prelu))
        rate = config.dropout
    return blocks


def _linear(n_in: int, n_out: int, generator: Generator | None) -> nn.Linear:
    # torch's own default, +-1/sqrt(n_in), but drawn from the given generator.
    linear = nn.Linear(n_in, n_out, device="meta")
    if torch.get_default_device().type == "meta":  # see `empty_net`
        return linear
    linear = linear.to_empty(device="cpu")
    bound = n_in**-0.5
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
    return linear


def empty_net(kind: Callable[[ModelConfig], Net], config: ModelConfig) -> Net:
    """Return an encoder or a decoder without weights: its tensors have shapes, and no memory."""
    with torch.device("meta"):
        return kind(config)


def set_weights(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give weights to an empty net, without a copy where the type is right; missing numbers of batches are zero."""
    given = {
        name: tensors[name].to(empty.dtype) if name in tensors else torch.zeros(empty.shape, dtype=empty.dtype)
        for name, empty in net.state_dict().items()
    }
    net.load_state_dict(given, assign=True)
