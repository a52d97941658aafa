"""Reading a model's folder, and checking that its files agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from scim._core.errors import FormatError
from scim._core.folder import read_json
from scim.model._config import ModelConfig
from scim.model._labels import Labels
from scim.model._model import Model
from scim.model._save import CONFIG, GENES, LABELS, SCHEMA, WEIGHTS, digest, state
from scim.model.net import Decoder, Encoder, bare, fill

if TYPE_CHECKING:
    import os


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from its folder.

    Parameters
    ----------
    path
        A folder that :meth:`Model.save` wrote. Weights of 32 bits are mapped, not read: replace a folder by another
        (`save(overwrite=True)` does), and do not write into the files of one that is in use.

    Raises
    ------
    FileNotFoundError
        There is no model.
    FormatError
        A file is damaged, foreign, newer than this package, or does not agree with the others.

    Examples
    --------
    >>> import scim
    >>> model = scim.model.load("my_model")  # doctest: +SKIP
    """
    folder = Path(path)
    if not folder.is_dir():
        msg = f"{str(folder)!r} is not a folder; expected one that Model.save() wrote."
        raise FileNotFoundError(msg)
    content = _read_config(folder / CONFIG)
    config = _model_config(folder / CONFIG, content)
    genes, labels = _read_genes(folder / GENES, content, config), _read_labels(folder / LABELS, content)
    encoder, decoder = bare(Encoder, config), bare(Decoder, config) if content["decoder"] else None
    weights = _read_weights(folder / WEIGHTS)
    _fill(folder / WEIGHTS, weights, {"encoder": encoder} | ({} if decoder is None else {"decoder": decoder}))
    return Model(config, genes, labels, encoder, decoder, name=content["name"], metadata=content["metadata"])


def _read_config(file: Path) -> dict[str, Any]:
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


def _model_config(file: Path, content: dict[str, Any]) -> ModelConfig:
    try:
        return ModelConfig.from_dict(content["config"])
    except ValueError as error:
        msg = f"{str(file)!r}: {error}."
        raise FormatError(msg) from error


def _read_table(file: Path, header: tuple[str, str]) -> list[tuple[str, str]]:
    if not file.exists():
        msg = f"{str(file.parent)!r} is not a whole scim model: it has no {file.name!r}."
        raise FormatError(msg)
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


def _read_genes(file: Path, content: dict[str, Any], config: ModelConfig) -> np.ndarray[Any, np.dtype[np.object_]]:
    genes = [gene for gene, _ in _read_table(file, ("gene", "symbol"))]
    if len(genes) != config.n_genes:
        msg = f"{str(file)!r} has {len(genes)} genes, config.json says {config.n_genes}."
        raise FormatError(msg)
    if digest(genes) != content["genes_sha256"]:
        msg = (
            f"{str(file)!r} does not hold the genes of this model in their order: its hash is not that in config.json."
        )
        raise FormatError(msg)
    return np.array(genes, dtype=object)


def _read_labels(file: Path, content: dict[str, Any]) -> Labels:
    rows = _read_table(file, ("label", "label_id"))
    if len(rows) != content["n_labels"]:
        msg = f"{str(file)!r} has {len(rows)} labels, config.json says {content['n_labels']}."
        raise FormatError(msg)
    return Labels(tuple(name for name, _ in rows), tuple(term or None for _, term in rows))


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    if not file.exists():
        msg = f"{str(file.parent)!r} is not a whole scim model: it has no {file.name!r}."
        raise FormatError(msg)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        msg = f"{str(file)!r} is truncated or not a safetensors file ({error})."
        raise FormatError(msg) from error


def _fill(file: Path, weights: dict[str, torch.Tensor], nets: dict[str, torch.nn.Module]) -> None:
    wanted = {f"{name}.{key}": value for name, net in nets.items() for key, value in state(net).items()}
    if wanted.keys() != weights.keys():
        missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
        msg = f"{str(file)!r} does not fit config.json: missing tensors {missing[:5]}, unknown tensors {unknown[:5]}."
        raise FormatError(msg)
    for key, target in wanted.items():
        _check_tensor(file, key, weights[key], target)
    for name, net in nets.items():
        fill(net, {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")})


def _check_tensor(file: Path, key: str, value: torch.Tensor, target: torch.Tensor) -> None:
    if value.shape != target.shape:
        msg = f"{str(file)!r}: {key} has shape {tuple(value.shape)}, config.json asks for {tuple(target.shape)}."
        raise FormatError(msg)
    if value.dtype not in (torch.float32, torch.float16):
        msg = f"{str(file)!r}: {key} is {value.dtype}, expected float32 or float16."
        raise FormatError(msg)
    if not bool(torch.isfinite(value).all()):
        msg = f"{str(file)!r}: {key} has values that are not finite."
        raise FormatError(msg)
