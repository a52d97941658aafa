"""A model's folder: genes.tsv, labels.tsv, weights.safetensors, and config.json with their checksums and its own."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file

from scim._core import FormatError, check_choice, logger
from scim.io import (
    check_array,
    local_path,
    new_folder,
    parse_object,
    read_json,
    read_text,
    sealed_with,
    unsealed_with,
    write_json,
)
from scim.io._tensors import read_tensors
from scim.model._config import Labels, ModelConfig
from scim.model.net import Decoder, Encoder, empty_net, set_weights, torch_threads

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.model._model import Model

WeightType = Literal["float32", "float16"]

SCHEMA = 1  # of the folder; `load` refuses a newer one
CONFIG, GENES, LABELS, WEIGHTS = "config.json", "genes.tsv", "labels.tsv", "weights.safetensors"
_REMEDY = "Save or copy the model again."
_MOST_TEXT = 1 << 26  # bytes of a table; that of 60,000 genes has 1.3 million
_MOST_HEADER = 1 << 20  # bytes of the names and shapes of the weights
_LARGEST = float(np.finfo(np.float32).max)
_TERM = re.compile(r"[A-Za-z]+:\w+")


def write_folder(
    path: str | os.PathLike[str], model: Model, *, overwrite: bool, dtype: WeightType | None, decoder: bool
) -> None:
    """Write the folder of a model, which appears whole or not at all; see :meth:`Model.save`."""
    nets = _nets(model.encoder, model.decoder if decoder else None)
    tensors = _tensors(nets)
    if dtype is None:
        rounded = all(torch.equal(value, _stored(value, "float16").to(value)) for value in tensors.values())
        dtype = "float16" if rounded else "float32"
    check_choice("dtype", dtype, ("float32", "float16"))
    content = {
        "format": "scim model",
        "schema": SCHEMA,
        "name": model.name,
        "config": model.config.to_dict(),
        "metadata": model.metadata,
        "n_labels": len(model.labels),
        "genes_sha256": _checksum(model.genes.tolist()),
        "decoder": "decoder" in nets,
        "dtype": dtype,
    }
    content = parse_object(json.dumps(content), f"metadata of {model.name}")  # what will be read: keys are text
    terms = ["" if term is None else term for term in model.label_ids]
    with new_folder(path, marker=CONFIG, overwrite=overwrite) as folder:
        _write_table(folder / GENES, ("gene", "symbol"), list(zip(model.genes, model.symbols, strict=True)))
        _write_table(folder / LABELS, ("label", "label_id"), list(zip(model.labels, terms, strict=True)))
        save_file({key: _stored(value, dtype) for key, value in tensors.items()}, folder / WEIGHTS)
        write_json(folder / CONFIG, sealed_with(folder, content, (GENES, LABELS, WEIGHTS)))
    logger.info("wrote model %r to %s", model.name, path)


def read_folder(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the arguments of :class:`Model` from its folder, and check that its files agree."""
    folder = local_path(path, what="a model")
    if not folder.is_dir():
        msg = f"{str(folder)!r} is not a folder; expected one that Model.save() wrote."
        raise FileNotFoundError(msg)
    content = _read_content(folder / CONFIG)
    try:
        config = ModelConfig.from_dict(content["config"])
    except ValueError as error:
        msg = f"{str(folder / CONFIG)!r}: {error}."
        raise FormatError(msg) from error
    genes, labels = _read_genes(folder / GENES, content, config), _read_labels(folder / LABELS, content)
    encoder, decoder = empty_net(Encoder, config), empty_net(Decoder, config) if content["decoder"] else None
    with torch_threads():
        _read_weights(folder / WEIGHTS, _nets(encoder, decoder))
    found = {"config": config, "genes": genes, "labels": labels, "encoder": encoder, "decoder": decoder}
    return {**found, "name": content["name"], "metadata": content["metadata"]}


def _nets(encoder: Encoder, decoder: Decoder | None) -> dict[str, torch.nn.Module]:
    return {"encoder": encoder} | ({} if decoder is None else {"decoder": decoder})


def _tensors(nets: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Return the saved tensors of all nets; the number of batches of a normalisation does not change an embedding."""
    tensors = {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}
    return {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}


def _stored(value: torch.Tensor, dtype: WeightType) -> torch.Tensor:
    # Vectors are small, and the variances of batch normalisation can leave the range of float16.
    half = dtype == "float16" and value.ndim > 1
    return value.detach().cpu().to(torch.float16 if half else torch.float32).contiguous().clone()


def _checksum(genes: list[str]) -> str:
    return hashlib.sha256("\n".join(genes).encode()).hexdigest()


def _write_table(file: Path, header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    bad = next((value for row in rows for value in row if "\t" in value or "\n" in value or "\r" in value), None)
    if bad is not None:
        msg = f"{bad!r} has a tab or a line break and cannot be written to {file.name}."
        raise ValueError(msg)
    file.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8", newline="\n")


def _read_content(file: Path) -> dict[str, Any]:
    content = read_json(file, kind="model")
    if content.get("format") != "scim model":
        msg = f"{str(file)!r} is not the configuration of a scim model."
        raise FormatError(msg)
    if content.get("schema") != SCHEMA:
        msg = f"{str(file)!r} has schema {content.get('schema')!r}, this scim reads {SCHEMA}; update scim-atlas."
        raise FormatError(msg)
    content = unsealed_with(file, content, (GENES, LABELS, WEIGHTS), remedy=_REMEDY)
    kinds = {"name": str, "config": dict, "n_labels": int, "genes_sha256": str, "decoder": bool, "metadata": dict}
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            msg = f"{str(file)!r} has {key}={content.get(key)!r}, expected {kind.__name__}."
            raise FormatError(msg)
    return content


def _read_table(file: Path, header: tuple[str, str]) -> list[tuple[str, str]]:
    lines = read_text(file, most=_MOST_TEXT).split("\n")
    rows = [tuple(line.split("\t")) for line in lines[:-1]]
    if not rows or rows[0] != header or lines[-1] or any(len(row) != len(header) for row in rows):
        msg = f"{str(file)!r} is not a whole table of the columns {list(header)}."
        raise FormatError(msg)
    return [(row[0], row[1]) for row in rows[1:]]


def _read_genes(file: Path, content: dict[str, Any], config: ModelConfig) -> NDArray[np.object_]:
    genes = [gene for gene, _ in _read_table(file, ("gene", "symbol"))]
    if len(genes) != config.n_genes:
        msg = f"{str(file)!r} has {len(genes)} genes, config.json has {config.n_genes}."
        raise FormatError(msg)
    if _checksum(genes) != content["genes_sha256"]:
        msg = f"{str(file)!r} does not hold the genes of this model in their order: config.json has another hash."
        raise FormatError(msg)
    if len(set(genes)) < len(genes) or "" in genes:
        msg = f"{str(file)!r} has a gene twice, or one without a name. {_REMEDY}"
        raise FormatError(msg)
    return np.array(genes, dtype=object)


def _read_labels(file: Path, content: dict[str, Any]) -> Labels:
    rows = _read_table(file, ("label", "label_id"))
    if len(rows) != content["n_labels"]:
        msg = f"{str(file)!r} has {len(rows)} labels, config.json has {content['n_labels']}."
        raise FormatError(msg)
    wrong = [row for row in rows if not row[0] or (row[1] and not _TERM.fullmatch(row[1]))]
    if wrong:
        msg = f"{str(file)!r} has the label {wrong[0]}, expected a name and the id of a term or nothing. {_REMEDY}"
        raise FormatError(msg)
    return Labels(tuple(name for name, _ in rows), tuple(term or None for _, term in rows))


def _read_weights(file: Path, nets: dict[str, torch.nn.Module]) -> None:
    """Read the weights of all nets into them."""
    expected = _tensors(nets)
    n_values = sum(tensor.numel() for tensor in expected.values())
    weights = read_tensors(file, most=4 * n_values + _MOST_HEADER)
    if expected.keys() != weights.keys():
        missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
        msg = f"{str(file)!r} does not fit config.json: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    tensors = {key: checked_weights(weights.pop(key), f"{file}: {key}", tensor) for key, tensor in expected.items()}
    for name, net in nets.items():
        prefix = f"{name}."
        set_weights(net, {k.removeprefix(prefix): value for k, value in tensors.items() if k.startswith(prefix)})


def checked_weights(values: NDArray[Any], where: str, expected: torch.Tensor) -> torch.Tensor:
    """Return weights of a file as a tensor in float32; FormatError for another shape, and for what cannot be one.

    `where` has the name of the tensor at its end, and `expected` its shape.
    """
    shape, least = tuple(expected.shape), 0.0 if where.endswith("running_var") else -_LARGEST
    with np.errstate(over="ignore"):  # what is infinite then is refused
        weights = np.array(check_array(values, where, "f", shape, remedy=_REMEDY), dtype=np.float32)
    return torch.from_numpy(check_array(weights, where, "f", shape, least=least, most=_LARGEST, remedy=_REMEDY))
