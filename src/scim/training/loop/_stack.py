"""Several encoders as one: their hidden layers side by side, and a head that keeps what they agree on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scim.model.net import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scim.training.losses import View


@torch.no_grad()
def stack(encoders: Sequence[Encoder], view: View, weights: torch.Tensor) -> Encoder:
    r"""Return one encoder in place of several of the same sizes.

    The outputs of the members, each divided by its mean length, are joined and projected onto the `latent_dim`
    directions in which they are largest (singular vectors, not centred, because cosines are what counts). The heads
    and the projection are one linear map, so the result is an ordinary encoder with wider hidden layers.

    Parameters
    ----------
    encoders
        Of hidden layers h and latent_dim d each; without hidden layers they read the same input.
    view
        Cells by which lengths and directions are measured.
    weights
        (n,) how much each of them counts.

    Returns
    -------
    An encoder with hidden layers m h, of latent_dim d.
    """
    first = encoders[0]
    hidden = tuple(len(encoders) * width for width in first.config.hidden)
    config = dataclasses.replace(first.config, hidden=hidden, unit_slopes=True)
    wide = Encoder(config, torch.Generator())
    for number, block in enumerate(wide.blocks):
        _join(block, [encoder.blocks[number] for encoder in encoders], beside=number > 0)
    joined = torch.cat([_outputs(encoder, view) for encoder in encoders], dim=1)  # (n, m d)
    d = first.config.latent_dim
    length = torch.stack([part.norm(dim=1).mean() for part in joined.chunk(len(encoders), dim=1)]).repeat_interleave(d)
    joined = joined / length * weights.sqrt()[:, None]
    joined = functional.pad(joined, (0, 0, 0, max(0, d - len(joined))))  # fewer cells than d have no d directions
    directions = torch.linalg.svd(joined.double(), full_matrices=False).Vh[:d].float()  # (d, m d)
    heads = (_diagonal if hidden else torch.cat)([encoder.head.weight for encoder in encoders])  # (m d, m h)
    project = directions / length
    wide.head.weight.copy_(project @ heads)
    wide.head.bias.copy_(project @ torch.cat([encoder.head.bias for encoder in encoders]))
    return wide.eval()


def _outputs(encoder: Encoder, view: View) -> torch.Tensor:
    """Return what the head gives, before it is brought to length 1."""
    out: torch.Tensor = encoder.head(encoder.blocks(encoder.scale(view.x, view.seen)))
    return out


def _join(wide: nn.Module, parts: Sequence[nn.Module], *, beside: bool) -> None:
    """Fill a block of dropout, linear, normalisation and PReLU; `beside`: each reads a part of the input of its own."""
    for target, *own in zip(wide.children(), *(part.children() for part in parts), strict=True):
        for (name, tensor), *others in zip(target.state_dict().items(), *(_tensors(one) for one in own), strict=True):
            if tensor.ndim == 0:  # how many batches were seen
                tensor.copy_(others[0])
            elif name == "weight" and tensor.ndim == 2 and beside:
                tensor.copy_(_diagonal(others))
            else:  # a slope may be that of all units
                width = tensor.shape[0] // len(others)
                tensor.copy_(torch.cat([one.expand(width, *one.shape[1:]) for one in others]))


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return list(module.state_dict().values())


def _diagonal(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    joined: torch.Tensor = torch.block_diag(*parts)  # type: ignore[no-untyped-call]
    return joined
