"""A published SCimilarity model as a model of scim: the same weights under other names."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import numpy as np

from scim import ontology
from scim._core import FormatError, error_text, logger, warn
from scim.io import as_record, local_path, parse_object, read_text
from scim.model import Decoder, Encoder, Labels, Model, ModelConfig
from scim.model._files import checked_weights
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
_Length: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
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
    folder: Path, tensors: Mapping[str, NDArray[Any]], sizes: Mapping[str, tuple[int, ...]], n_genes: int
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
    hidden = tuple(layer[0] for layer in layers[:-1])
    try:
        return ModelConfig.paper(n_genes=n_genes, hidden=hidden, latent_dim=layers[-1][0])
    except (TypeError, ValueError) as error:
        msg = f"{str(folder / 'encoder.ckpt')!r} is not of a net that scim reads: {error_text(error)}."
        raise FormatError(msg) from error


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


def _fill(file: Path, net: torch.nn.Module, tensors: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> None:
    """Copy checked tensors into a network."""
    state: dict[str, Any] = net.state_dict()
    assert state.keys() == names.keys()
    missing, unknown = sorted(set(names.values()) - set(tensors)), sorted(set(tensors) - set(names.values()))
    if missing or unknown:
        msg = f"{str(file)!r} is not of this form: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    weights = {name: published for name, published in names.items() if not name.endswith("num_batches_tracked")}
    set_weights(
        net, {name: checked_weights(tensors[key], f"{file}: {key}", state[name]) for name, key in weights.items()}
    )


def _read_layer_sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the encoder's tensors, by their published names."""
    file = folder / "layer_sizes.json"
    sizes = _read_json(file)
    return as_record(sizes, dict[str, tuple[_Length, ...]], str(file))


def _read_json(file: Path) -> dict[str, Any]:
    return parse_object(_read_text(file), str(file))


def _read_gene_order(folder: Path) -> tuple[list[str], NDArray[np.object_]]:
    """Return the published symbols, and the unique names of these genes in our models, (n_genes,).

    Two published symbols may be names of one gene, as C12orf74 and PLEKHG7. The current symbol gets the canonical id;
    the other stays a symbol, which :func:`scim.pp.match_genes` finds, because the model has weights for both.
    """
    file = folder / "gene_order.tsv"
    published = [line.strip() for line in _read_text(file).split("\n")]
    while published and not published[-1]:
        published.pop()
    if not published or not all(gene and not _CONTROL.search(gene) for gene in published):
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
    twice = [gene for gene, n in Counter(symbols.tolist()).items() if n > 1]
    if twice:  # as CD3D and ENSG00000167286
        names = [gene for gene, name in zip(published, genes, strict=True) if name == twice[0]]
        msg = f"{str(file)!r} has the same gene more than once, as {names[:3]}."
        raise FormatError(msg)
    return published, symbols


def _read_labels(folder: Path) -> list[str]:
    """Return the names of the labels in the order of their integers."""
    file = folder / "label_ints.csv"
    try:
        rows = list(csv.reader(io.StringIO(_read_text(file), newline=""), strict=True))
    except csv.Error as error:
        msg = f"{str(file)!r} is no table of labels ({error_text(error)})."
        raise FormatError(msg) from error
    if not rows or rows[0] != ["", "0"] or any(len(row) != 2 for row in rows):
        msg = f'{str(file)!r} must have the header "","0" and two values a line: a number and a label.'
        raise FormatError(msg)
    if [row[0] for row in rows[1:]] != [str(i) for i in range(len(rows) - 1)]:
        msg = f"{str(file)!r} must number its labels from 0 without a gap."
        raise FormatError(msg)
    labels = [row[1] for row in rows[1:]]
    if len(set(labels)) < len(labels) or not all(label and not _CONTROL.search(label) for label in labels):
        msg = f"{str(file)!r} must have different labels, without line breaks and other control characters."
        raise FormatError(msg)
    return labels


def _read_text(file: Path) -> str:
    check_exists(file)
    return read_text(file, most=_MAX_TEXT_BYTES, links=True).removeprefix("\ufeff")
