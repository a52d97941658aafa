"""A network of full shape with random weights, in the package's own classes and files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import torch
from scimilarity.nn_models import Decoder, Encoder

from helpers import published

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = [1024, 1024, 1024]
LATENT = 128


def run(folder: Path, cells: Path) -> None:
    """Write the network's files for the genes of `cells`, whose X is log-normalised and `obs["label"]` its types."""
    adata = ad.read_h5ad(cells)
    names, label = np.unique(adata.obs["label"].astype(str), return_inverse=True)
    X = adata.X.toarray()
    random = published.random_encoder(adata.n_vars, HIDDEN, LATENT, cells=X)
    encoder, decoder = Encoder(adata.n_vars, LATENT, HIDDEN), Decoder(adata.n_vars, LATENT, HIDDEN[::-1])
    for network, state in (
        (encoder, published.fit_last(random, X, label)),
        (decoder, published.random_decoder(adata.n_vars, HIDDEN, LATENT)),
    ):
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    published.write_model(folder, adata.var_names.tolist(), random, labels=names.tolist())
    encoder.save_state(str(folder / "encoder.ckpt"))
    decoder.save_state(str(folder / "decoder.ckpt"))
    sizes = {key: list(value.size()) for key, value in encoder.state_dict().items()}
    (folder / "layer_sizes.json").write_text(json.dumps(sizes))
