"""The network's files: checkpoints, sizes, genes, labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    State = dict[str, NDArray[np.float32]]

EPSILON = 1e-5
"""What batch normalisation adds to a variance."""


def _block(state: State, key: str, at: int, n_in: int, n_out: int, rng: np.random.Generator) -> None:
    """Add a hidden block: a linear layer at `at`, then batch normalisation, then PReLU."""
    _linear(state, f"{key}.{at}", n_in, n_out, rng)
    norm = f"{key}.{at + 1}"
    state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, n_out).astype(np.float32)
    state[f"{norm}.bias"] = rng.normal(0, 0.1, n_out).astype(np.float32)
    state[f"{norm}.running_mean"] = rng.normal(0, 0.1, n_out).astype(np.float32)
    state[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, n_out).astype(np.float32)
    state[f"{norm}.num_batches_tracked"] = np.array(1000, np.int64)
    state[f"{key}.{at + 2}.weight"] = np.array([0.25], np.float32)


def _linear(state: State, key: str, n_in: int, n_out: int, rng: np.random.Generator) -> None:
    bound = np.float32(n_in**-0.5)
    state[f"{key}.weight"] = (rng.random((n_out, n_in), np.float32) * 2 - 1) * bound
    state[f"{key}.bias"] = (rng.random(n_out, np.float32) * 2 - 1) * bound


def random_encoder(
    n_genes: int,
    hidden: Sequence[int] = (1024, 1024, 1024),
    latent: int = 128,
    *,
    cells: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> State:
    """Return an encoder with random weights, by the keys of its checkpoint.

    With `cells` (n, n_genes), log-normalised, the running statistics of each batch normalisation are those of these
    cells, and the mean of the last layer is zero, so that the embeddings of real cells spread over the sphere.
    """
    rng, state = np.random.default_rng(seed), {}
    widths = [n_genes, *hidden]
    for i in range(len(hidden)):
        _block(state, f"network.{i}", 1, widths[i], widths[i + 1], rng)
        if cells is not None:
            before = _before(state, i, _through(state, i, cells))
            state[f"network.{i}.2.running_mean"] = before.mean(axis=0)
            state[f"network.{i}.2.running_var"] = before.var(axis=0) + np.float32(1e-3)
    last = f"network.{len(hidden)}"
    _linear(state, last, widths[-1], latent, rng)
    if cells is not None:
        state[f"{last}.bias"] = -(_through(state, len(hidden), cells) @ state[f"{last}.weight"].T).mean(axis=0)
    return state


def fit_last(
    state: State, cells: NDArray[np.float32], label: NDArray[np.int64], *, own: float = 0.2, seed: int = 2
) -> State:
    """Return the encoder with a last layer that maps cells of one label near each other, as training does.

    By ridge regression from the last hidden layer to a random unit vector a label, plus `own` times what the random
    layer made of the cell: cells (n, n_genes), label (n,).
    """
    depth = max(int(key.split(".")[1]) for key in state)
    hidden, last = _through(state, depth, cells), f"network.{depth}"
    codes = np.random.default_rng(seed).normal(size=(int(label.max()) + 1, len(state[f"{last}.bias"])))
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    aim = codes[label] + own * embed(state, cells)
    mean = hidden.mean(axis=0)
    centred = (hidden - mean).astype(np.float64)
    ridge = np.eye(hidden.shape[1]) * centred.var(axis=0).sum() * len(hidden) * 0.01
    weight = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (aim - aim.mean(axis=0)))
    bias = aim.mean(axis=0) - mean @ weight
    return state | {f"{last}.weight": weight.T.astype(np.float32), f"{last}.bias": bias.astype(np.float32)}


def random_decoder(n_genes: int, hidden: Sequence[int] = (1024, 1024, 1024), latent: int = 128, seed: int = 1) -> State:
    """Return a decoder with random weights; `hidden` is the encoder's, from its first layer to its last."""
    rng, state = np.random.default_rng(seed), {}
    widths = [latent, *reversed(hidden)]
    for i in range(len(hidden)):
        _block(state, f"network.{i}", min(i, 1), widths[i], widths[i + 1], rng)  # no dropout before the first layer
    _linear(state, f"network.{len(hidden)}", widths[-1], n_genes, rng)
    return state


def _before(state: State, i: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the input of layer i's batch normalisation."""
    return x @ state[f"network.{i}.1.weight"].T + state[f"network.{i}.1.bias"]


def _hidden(state: State, i: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    key, x = f"network.{i}", _before(state, i, x)
    scale = state[f"{key}.2.weight"] / np.sqrt(state[f"{key}.2.running_var"] + np.float32(EPSILON))
    x = (x - state[f"{key}.2.running_mean"]) * scale + state[f"{key}.2.bias"]
    return np.where(x > 0, x, x * state[f"{key}.3.weight"])


def _through(state: State, n_layers: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    for i in range(n_layers):
        x = _hidden(state, i, x)
    return x


def embed(state: State, cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the embeddings of log-normalised cells, by numpy alone: (n, latent), unit rows."""
    last = max(int(key.split(".")[1]) for key in state)
    x = _through(state, last, cells) @ state[f"network.{last}.weight"].T + state[f"network.{last}.bias"]
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def write_model(
    folder: Path,
    genes: Sequence[str],
    encoder: State,
    *,
    decoder: State | None = None,
    labels: Sequence[str] = ("B cell", "T cell"),
    final_newline: bool = False,
) -> None:
    """Write the files of the network into `folder`: `encoder` and `decoder` by the keys of their checkpoints."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    for name, state in (("encoder", encoder), ("decoder", decoder)):
        if state is not None:
            tensors = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
            torch.save({"state_dict": tensors}, folder / f"{name}.ckpt")
    hidden = [len(encoder[key]) for key in sorted(encoder) if key.endswith(".1.bias")]
    latent = encoder[f"network.{len(hidden)}.bias"].size
    sizes = {key: list(value.shape) for key, value in encoder.items()}
    (folder / "layer_sizes.json").write_text(json.dumps(sizes))
    (folder / "gene_order.tsv").write_text("\n".join(genes) + "\n" * final_newline)
    lines = [f'{i},"{label}"' for i, label in enumerate(labels)]
    (folder / "label_ints.csv").write_text("\n".join(['"","0"', *lines, ""]))
    (folder / "hyperparameters.json").write_text(json.dumps(_hyperparameters(hidden, latent)))
    (folder / "metadata.json").write_text(json.dumps({"date": "2023-06-06 12:00:00", "train_path": "train"}))


def _hyperparameters(hidden: list[int], latent: int) -> dict[str, object]:
    return {
        "latent_dim": latent,
        "hidden_dim": hidden,
        "dropout": 0.5,
        "input_dropout": 0.4,
        "margin": 0.05,
        "triplet_loss_weight": 0.001,
        "negative_selection": "semihard",
        "sample_across_studies": True,
        "perturb_labels": False,
        "perturb_labels_fraction": 0.5,
        "lr": 0.005,
        "l1_lambda": 0.0001,
        "l2_lambda": 0.01,
        "batch_size": 1000,
        "max_epochs": 500,
    }
