"""A published SCimilarity model as a model of scim: the same weights under other names."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from scim import ontology
from scim._core import FormatError, logger, warn
from scim.io import local_path
from scim.model import Decoder, Encoder, Labels, Model, ModelConfig
from scim.model.net import empty_net, set_weights
from scim.pp import canonical_genes, gene_symbols
from scim.scimilarity._checkpoint import check_exists, read_tensors

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

_MAX_TEXT_BYTES = 64 << 20  # the genes of the published model take 0.2 MB
_LINEAR = ("weight", "bias")
_NORMALISATION = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def import_model(folder: str | os.PathLike[str]) -> Model:
    """Read a published SCimilarity model, as `model_v1.1`.

    Its embeddings are those of the package of that name, within 1e-5. Nothing in the folder is executed, and no file
    of it is kept open.

    Parameters
    ----------
    folder
        Folder with `encoder.ckpt`, `layer_sizes.json`, `gene_order.tsv` and `label_ints.csv`; `decoder.ckpt`,
        `hyperparameters.json` and `metadata.json` are read if they exist.

    Returns
    -------
    The model. Its genes have canonical ids, in the published order, and its labels the names of the current Cell
    Ontology; `metadata["gene_order"]` and `metadata["labels"]` are those of the folder, `metadata["labels_unmapped"]`
    the labels that are not in the ontology.

    Raises
    ------
    FileNotFoundError, FormatError
        The folder does not exist; or a file is missing, damaged, malicious, or does not agree with the others.

    Examples
    --------
    >>> import scim
    >>> model = scim.scimilarity.import_model("model_v1.1")  # doctest: +SKIP
    """
    folder = local_path(folder, what="a published folder")
    if not folder.is_dir():
        msg = f"{str(folder)!r} is not a folder; expected a SCimilarity model, as it is published."
        raise FileNotFoundError(msg)
    tensors = read_tensors(folder / "encoder.ckpt")
    sizes, (gene_order, genes) = _read_layer_sizes(folder), _read_gene_order(folder)
    config = _config(folder, tensors, sizes, len(genes))
    encoder = empty_net(Encoder, config)
    _fill(folder / "encoder.ckpt", encoder, tensors, _published_names(len(config.hidden), first_linear=1))
    labels = _read_labels(folder)
    terms = [ontology.term_id(label) for label in labels]
    names = [x if term is None else ontology.term_name(term) for x, term in zip(labels, terms, strict=True)]
    unmapped = [label for label, term in zip(labels, terms, strict=True) if term is None]
    if unmapped:
        logger.info("%d of %d labels are not in the Cell Ontology: %s", len(unmapped), len(labels), unmapped)
    metadata: dict[str, Any] = {"source": "scimilarity", "gene_order": gene_order, "labels": labels}
    metadata["labels_unmapped"] = unmapped
    optional = [folder / f"{name}.json" for name in ("hyperparameters", "metadata")]
    metadata |= {file.stem: _read_json(file) for file in optional if file.exists()}
    known, decoder = Labels(tuple(names), tuple(terms)), _read_decoder(folder, config)
    return Model(config, genes, known, encoder, decoder, name="SCimilarity", metadata=metadata)


def _config(
    folder: Path, tensors: Mapping[str, torch.Tensor], sizes: Mapping[str, tuple[int, ...]], n_genes: int
) -> ModelConfig:
    """Return the shape of the encoder, on which layer_sizes.json, encoder.ckpt and gene_order.tsv must agree."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    both = (*shapes.items(), *sizes.items())
    compared = {name for name, shape in both if name.endswith("weight") and len(shape) > 1}
    compared |= shapes.keys() & sizes.keys()
    wrong = sorted(name for name in compared if shapes.get(name) != sizes.get(name))
    if wrong:
        examples = ", ".join(f"{name}: {sizes.get(name)} and {shapes.get(name)}" for name in wrong[:3])
        msg = f"layer_sizes.json and encoder.ckpt of {str(folder)!r} do not agree ({examples})."
        raise FormatError(msg)
    n_hidden = next(i for i in itertools.count() if f"network.{i}.1.weight" not in shapes)
    layers = [shapes.get(f"network.{i}{'.1' if i < n_hidden else ''}.weight", ()) for i in range(n_hidden + 1)]
    fits = all(len(layer) == 2 for layer in layers) and all(a[0] == b[1] for a, b in itertools.pairwise(layers))
    if n_hidden == 0 or not fits:
        msg = f"{str(folder / 'encoder.ckpt')!r} has layers {layers} and tensors {sorted(shapes)[:4]}, not those of a "
        msg += "SCimilarity encoder: linear layers 'network.0.1.weight', ... that follow each other."
        raise FormatError(msg)
    if layers[0][1] != n_genes:
        msg = f"gene_order.tsv of {str(folder)!r} has {n_genes} genes, but encoder.ckpt reads {layers[0][1]}."
        raise FormatError(msg)
    return ModelConfig.paper(n_genes=n_genes, hidden=tuple(layer[0] for layer in layers[:-1]), latent_dim=layers[-1][0])


def _read_decoder(folder: Path, config: ModelConfig) -> Decoder | None:
    file = folder / "decoder.ckpt"
    if not file.exists():
        warn(f"{str(folder)!r} has no decoder.ckpt: the model embeds and annotates, but Model.decode cannot be called.")
        return None
    decoder = empty_net(Decoder, config)
    _fill(file, decoder, read_tensors(file), _published_names(len(config.hidden), first_linear=0))
    return decoder


def _published_names(n_hidden: int, *, first_linear: int) -> dict[str, str]:
    """Return published names by ours; published blocks begin with dropout, as ours, but for the first of a decoder."""
    names: dict[str, str] = {}
    for i in range(n_hidden):
        linear = first_linear if i == 0 else 1
        for step, kinds in enumerate((_LINEAR, _NORMALISATION, ("weight",))):  # the last is the slope of the PReLU
            names |= {f"blocks.{i}.{1 + step}.{kind}": f"network.{i}.{linear + step}.{kind}" for kind in kinds}
    return names | {f"head.{kind}": f"network.{n_hidden}.{kind}" for kind in _LINEAR}


def _fill(file: Path, net: torch.nn.Module, tensors: Mapping[str, torch.Tensor], names: Mapping[str, str]) -> None:
    """Copy checked tensors into a network."""
    state: dict[str, Any] = net.state_dict()
    assert state.keys() == names.keys()
    missing, unknown = sorted(set(names.values()) - set(tensors)), sorted(set(tensors) - set(names.values()))
    if missing or unknown:
        msg = f"{str(file)!r} is not of this form: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    for name, published in names.items():
        value, target = tensors[published], state[name]
        if value.shape != target.shape or value.is_floating_point() != target.is_floating_point():
            msg = f"{str(file)!r}: {published} is {value.dtype} of {tuple(value.shape)}, "
            msg += f"expected {target.dtype} of {tuple(target.shape)}."
            raise FormatError(msg)
        if not bool(value.isfinite().all()):
            msg = f"{str(file)!r}: {published} has values that are not finite."
            raise FormatError(msg)
    # Clones, so that the file is not kept open.
    set_weights(net, {name: tensors[published].clone() for name, published in names.items()})


def _read_layer_sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the encoder's tensors, by their published names."""
    file = folder / "layer_sizes.json"
    sizes = _read_json(file)
    for name, shape in sizes.items():
        if not isinstance(shape, list) or not all(isinstance(n, int) and 0 < n < 1 << 31 for n in shape):
            msg = f"{str(file)!r}: {name!r} is {shape!r}, expected a list of sizes."
            raise FormatError(msg)
    return {name: tuple(shape) for name, shape in sizes.items()}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(file))
    except (ValueError, RecursionError) as error:
        msg = f"{str(file)!r} is not readable JSON ({error})."
        raise FormatError(msg) from error
    if not isinstance(content, dict):
        msg = f"{str(file)!r} holds a {type(content).__name__}, expected an object."
        raise FormatError(msg)
    return content


def _read_gene_order(folder: Path) -> tuple[list[str], NDArray[np.object_]]:
    """Return the published symbols, and the unique names of these genes in our models, (n_genes,).

    Two published symbols may be names of one gene, as C12orf74 and PLEKHG7. The current symbol gets the canonical id;
    the other stays a symbol, which :func:`scim.pp.match_genes` finds, because the model has weights for both.
    """
    file = folder / "gene_order.tsv"
    published = [line.strip() for line in _read_text(file).splitlines()]
    while published and not published[-1]:
        published.pop()
    if not published or not all(published):
        msg = f"{str(file)!r} must have a gene symbol in every line."
        raise FormatError(msg)
    repeated = [gene for gene, n in Counter(published).items() if n > 1]
    if repeated:
        msg = f"{str(file)!r} has the same gene more than once, as {repeated[:3]}."
        raise FormatError(msg)
    genes = canonical_genes(published)
    current = gene_symbols(genes)
    symbols = np.array(published, dtype=object)
    kept: dict[str, int] = {}
    for i, gene in enumerate(genes):
        if gene not in kept or current[i] == published[i]:
            kept[gene] = i
    rows = list(kept.values())
    symbols[rows] = genes[rows]
    return published, symbols


def _read_labels(folder: Path) -> list[str]:
    """Return the names of the labels in the order of their integers."""
    file = folder / "label_ints.csv"
    try:
        rows = list(csv.reader(_read_text(file).splitlines()))
    except csv.Error as error:
        msg = f"{str(file)!r} is no table of labels ({error})."
        raise FormatError(msg) from error
    if not rows or rows[0] != ["", "0"] or any(len(row) != 2 for row in rows):
        msg = f'{str(file)!r} must have the header "","0" and two values a line: a number and a label.'
        raise FormatError(msg)
    if [row[0] for row in rows[1:]] != [str(i) for i in range(len(rows) - 1)]:
        msg = f"{str(file)!r} must number its labels from 0 without a gap."
        raise FormatError(msg)
    return [row[1] for row in rows[1:]]


def _read_text(file: Path) -> str:
    check_exists(file)
    if file.stat().st_size > _MAX_TEXT_BYTES:
        msg = f"{str(file)!r} has {file.stat().st_size:,} bytes, more than {_MAX_TEXT_BYTES:,}."
        raise FormatError(msg)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"{str(file)!r} is not text ({error})."
        raise FormatError(msg) from error
