"""A published folder to a model of ours: the same weights under our names."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scim import ontology
from scim._core.errors import FormatError
from scim._core.log import logger, warn
from scim.model._config import ModelConfig
from scim.model._labels import Labels
from scim.model._model import Model
from scim.model.net import Decoder, Encoder, bare, fill
from scim.scimilarity.model._checkpoint import read_tensors
from scim.scimilarity.model._folder import read_facts, read_gene_order, read_labels, read_layer_sizes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_NORMALISATION = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def import_model(folder: str | os.PathLike[str]) -> Model:
    """Read a published SCimilarity model, as `model_v1.1`.

    It gives the embeddings that it gives in the package of that name, within 1e-5. Nothing in the folder is executed,
    and none of it is kept open.

    Parameters
    ----------
    folder
        With `encoder.ckpt`, `layer_sizes.json`, `gene_order.tsv` and `label_ints.csv`; `decoder.ckpt`,
        `hyperparameters.json` and `metadata.json` are read if they are there.

    Returns
    -------
    The model. Its genes have canonical ids, in the published order, and its labels their names in today's Cell
    Ontology; `metadata["gene_order"]` and `metadata["labels"]` are what the folder has, `metadata["labels_unmapped"]`
    the labels that the ontology does not know.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        A file is missing, damaged, holds more than it should, or does not agree with the others.

    Examples
    --------
    >>> import scim
    >>> model = scim.scimilarity.import_model("model_v1.1")  # doctest: +SKIP
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{str(folder)!r} is not a folder; expected a SCimilarity model, as it is published."
        raise FileNotFoundError(msg)
    tensors, sizes, order = read_tensors(folder / "encoder.ckpt"), read_layer_sizes(folder), read_gene_order(folder)
    config = _config(folder, tensors, sizes, len(order.genes))
    encoder = bare(Encoder, config)
    _fill(folder / "encoder.ckpt", encoder, tensors, _encoder_names(len(config.hidden)))
    labels = read_labels(folder)
    names = ontology.standardize(labels)
    terms = [ontology.term_id(label) for label in labels]
    unmapped = [label for label, term in zip(labels, terms, strict=True) if term is None]
    if unmapped:
        logger.info("%d of %d labels are not in the Cell Ontology: %s", len(unmapped), len(labels), unmapped)
    metadata: dict[str, Any] = {
        "source": "scimilarity",
        "gene_order": order.published,
        "labels": labels,
        "labels_unmapped": unmapped,
    }
    for name in ("hyperparameters", "metadata"):
        if (folder / f"{name}.json").exists():
            metadata[name] = read_facts(folder / f"{name}.json")
    nets = encoder, _decoder(folder, config)
    return Model(
        config, order.genes, Labels(tuple(names.tolist()), tuple(terms)), *nets, name="SCimilarity", metadata=metadata
    )


def _config(
    folder: Path, tensors: Mapping[str, torch.Tensor], sizes: Mapping[str, tuple[int, ...]], n_genes: int
) -> ModelConfig:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    told = {name for name, shape in (*shapes.items(), *sizes.items()) if name.endswith("weight") and len(shape) > 1}
    wrong = sorted(name for name in told | (shapes.keys() & sizes.keys()) if shapes.get(name) != sizes.get(name))
    if wrong:
        examples = ", ".join(f"{name}: {sizes.get(name)} and {shapes.get(name)}" for name in wrong[:3])
        msg = f"layer_sizes.json and encoder.ckpt of {str(folder)!r} do not agree ({examples})."
        raise FormatError(msg)
    n_hidden = next(i for i in itertools.count() if f"network.{i}.1.weight" not in shapes)
    layers = [shapes.get(f"network.{i}{'.1' if i < n_hidden else ''}.weight", ()) for i in range(n_hidden + 1)]
    fits = all(len(layer) == 2 for layer in layers) and all(a[0] == b[1] for a, b in itertools.pairwise(layers))
    if n_hidden == 0 or not fits:
        msg = (
            f"{str(folder / 'encoder.ckpt')!r} has layers {layers} and tensors {sorted(shapes)[:4]}, not those of a "
            "SCimilarity encoder: linear layers 'network.0.1.weight', ... that follow each other."
        )
        raise FormatError(msg)
    if layers[0][1] != n_genes:
        msg = (
            f"gene_order.tsv of {str(folder)!r} has {n_genes} genes, but the first layer of encoder.ckpt reads "
            f"{layers[0][1]}."
        )
        raise FormatError(msg)
    return ModelConfig(n_genes, tuple(layer[0] for layer in layers[:-1]), layers[-1][0], standardize=False)


def _decoder(folder: Path, config: ModelConfig) -> Decoder | None:
    if not (folder / "decoder.ckpt").exists():
        warn(f"{str(folder)!r} has no decoder.ckpt: the model embeds and annotates, but Model.decode cannot be called.")
        return None
    decoder = bare(Decoder, config)
    _fill(folder / "decoder.ckpt", decoder, read_tensors(folder / "decoder.ckpt"), _decoder_names(len(config.hidden)))
    return decoder


def _encoder_names(n_hidden: int) -> dict[str, str]:
    """Return the published name of each tensor of ours."""
    names: dict[str, str] = {}
    for i in range(n_hidden):
        names |= _block(f"blocks.{i}", 1, f"network.{i}", 1)
    return names | {f"head.{kind}": f"network.{n_hidden}.{kind}" for kind in ("weight", "bias")}


def _decoder_names(n_hidden: int) -> dict[str, str]:
    names: dict[str, str] = {}
    for i in range(n_hidden):
        names |= _block(f"blocks.{i}", 1, f"network.{i}", 0 if i == 0 else 1)  # its first block has no dropout
    return names | {f"head.{kind}": f"network.{n_hidden}.{kind}" for kind in ("weight", "bias")}


def _block(ours: str, linear: int, theirs: str, their_linear: int) -> dict[str, str]:
    """Name the tensors of a linear layer, its batch normalisation and its slope, which follow each other."""
    names = {f"{ours}.{linear}.{kind}": f"{theirs}.{their_linear}.{kind}" for kind in ("weight", "bias")}
    names |= {f"{ours}.{linear + 1}.{kind}": f"{theirs}.{their_linear + 1}.{kind}" for kind in _NORMALISATION}
    return names | {f"{ours}.{linear + 2}.weight": f"{theirs}.{their_linear + 2}.weight"}


def _fill(file: Path, net: torch.nn.Module, tensors: Mapping[str, torch.Tensor], names: Mapping[str, str]) -> None:
    state: dict[str, Any] = net.state_dict()
    assert state.keys() == names.keys()
    missing, unknown = sorted(set(names.values()) - set(tensors)), sorted(set(tensors) - set(names.values()))
    if missing or unknown:
        msg = f"{str(file)!r} is not of this form: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    for ours, theirs in names.items():
        value, target = tensors[theirs], state[ours]
        if value.shape != target.shape or value.is_floating_point() != target.is_floating_point():
            msg = (
                f"{str(file)!r}: {theirs} is {value.dtype} of {tuple(value.shape)}, "
                f"expected {target.dtype} of {tuple(target.shape)}."
            )
            raise FormatError(msg)
        if not bool(torch.isfinite(value).all()):
            msg = f"{str(file)!r}: {theirs} has values that are not finite."
            raise FormatError(msg)
    # Copies: the file is not kept open.
    fill(net, {ours: tensors[theirs].clone() for ours, theirs in names.items()})
