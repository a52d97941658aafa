"""A model's folder: config.json, genes.tsv, labels.tsv, weights.safetensors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scim._core import FormatError, check_choice, logger
from scim.io import local_path, new_folder, read_json, write_json
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
    terms = ["" if term is None else term for term in model.label_ids]
    with new_folder(path, marker=CONFIG, overwrite=overwrite) as folder:
        _write_table(folder / GENES, ("gene", "symbol"), list(zip(model.genes, model.symbols, strict=True)))
        _write_table(folder / LABELS, ("label", "label_id"), list(zip(model.labels, terms, strict=True)))
        save_file({key: _stored(value, dtype) for key, value in tensors.items()}, folder / WEIGHTS)
        write_json(folder / CONFIG, content)
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
    kinds = {"name": str, "config": dict, "n_labels": int, "genes_sha256": str, "decoder": bool, "metadata": dict}
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            msg = f"{str(file)!r} has {key}={content.get(key)!r}, expected {kind.__name__}."
            raise FormatError(msg)
    return content


def _check_exists(file: Path) -> None:
    if not file.exists():
        msg = f"{str(file.parent)!r} is not a whole scim model: it has no {file.name!r}."
        raise FormatError(msg)


def _read_table(file: Path, header: tuple[str, str]) -> list[tuple[str, str]]:
    _check_exists(file)
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        msg = f"{str(file)!r} is not text ({error})."
        raise FormatError(msg) from error
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
    return np.array(genes, dtype=object)


def _read_labels(file: Path, content: dict[str, Any]) -> Labels:
    rows = _read_table(file, ("label", "label_id"))
    if len(rows) != content["n_labels"]:
        msg = f"{str(file)!r} has {len(rows)} labels, config.json has {content['n_labels']}."
        raise FormatError(msg)
    return Labels(tuple(name for name, _ in rows), tuple(term or None for _, term in rows))


def _read_weights(file: Path, nets: dict[str, torch.nn.Module]) -> None:
    """Read the weights of all nets into them."""
    _check_exists(file)
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        msg = f"{str(file)!r} is truncated or not a safetensors file ({error})."
        raise FormatError(msg) from error
    expected = _tensors(nets)
    if expected.keys() != weights.keys():
        missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
        msg = f"{str(file)!r} does not fit config.json: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    for key, tensor in expected.items():
        _check_tensor(file, key, weights[key], tensor.shape)
    for name, net in nets.items():
        prefix = f"{name}."
        set_weights(net, {k.removeprefix(prefix): value for k, value in weights.items() if k.startswith(prefix)})


def _check_tensor(file: Path, key: str, value: torch.Tensor, shape: torch.Size) -> None:
    if value.shape != shape:
        msg = f"{str(file)!r}: {key} has shape {tuple(value.shape)}, config.json gives {tuple(shape)}."
        raise FormatError(msg)
    if value.dtype not in (torch.float32, torch.float16):
        msg = f"{str(file)!r}: {key} is {value.dtype}, expected float32 or float16."
        raise FormatError(msg)
    if not bool(torch.isfinite(value).all()):
        msg = f"{str(file)!r}: {key} has values that are not finite."
        raise FormatError(msg)
