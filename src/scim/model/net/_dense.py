"""A trained encoder on dense rows, through which gradients flow back to the genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scim.model.net._fold import fold
from scim.model.net._net import standardize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model.net._net import Encoder


class DenseEncoder:
    """What :class:`FoldedEncoder` computes, on dense rows of the observed genes alone.

    Dropout is off and batch normalisation is in the weights; genes that are not observed have no column, so that
    nothing has to be masked. Later changes of the net do not reach it.

    Parameters
    ----------
    encoder
        The net.
    observed
        (n_genes,) which genes were measured; default: all.
    """

    def __init__(self, encoder: Encoder, observed: NDArray[np.bool_] | None = None) -> None:
        every = np.ones(encoder.config.n_genes, dtype=np.bool_)
        self.observed = every if observed is None else np.asarray(observed, dtype=np.bool_)
        first, *rest = fold(encoder)
        self._standardize = bool(encoder.config.standardize)
        self._layers = [first._replace(weight=first.weight[:, torch.from_numpy(self.observed)].contiguous()), *rest]

    @property
    def widths(self) -> list[int]:
        """Number of values that each layer reads."""
        return [layer.weight.shape[1] for layer in self._layers]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Embed log-normalised rows (n, n_observed), none of them empty, as unit rows (n, latent_dim)."""
        h = standardize(x) if self._standardize else x
        for layer in self._layers:
            h = functional.linear(h, layer.weight, layer.bias)
            if layer.slope is not None:
                h = functional.prelu(h, layer.slope)
        return functional.normalize(h)
