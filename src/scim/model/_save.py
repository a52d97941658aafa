"""Writing a model's folder: config.json, genes.tsv, labels.tsv, weights.safetensors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from safetensors.torch import save_file

from scim._core.checks import check_choice
from scim._core.folder import new_folder, write_json
from scim._core.log import logger

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

WeightType = Literal["float32", "float16"]

SCHEMA = 1
"""Version of the folder's form; `load` refuses a newer one."""

CONFIG, GENES, LABELS, WEIGHTS = "config.json", "genes.tsv", "labels.tsv", "weights.safetensors"


class Parts(NamedTuple):
    """What a model's folder holds."""

    facts: dict[str, Any]
    """For config.json: `name`, `config`, `metadata`."""

    genes: list[tuple[str, str]]
    """Canonical ids and symbols."""

    labels: list[tuple[str, str]]
    """Names and Cell Ontology ids, empty where there is none."""

    nets: dict[str, torch.nn.Module]
    """`encoder`, and `decoder` if it is kept."""


def write_folder(path: str | os.PathLike[str], parts: Parts, *, overwrite: bool, dtype: WeightType | None) -> None:
    """Write the folder of a model, which appears whole or not at all."""
    states = {f"{name}.{key}": value for name, net in parts.nets.items() for key, value in state(net).items()}
    if dtype is None:
        rounded = all(torch.equal(value, _stored(value, "float16").to(value)) for value in states.values())
        dtype = "float16" if rounded else "float32"
    check_choice("dtype", dtype, ("float32", "float16"))
    content = {
        "format": "scim model",
        "schema": SCHEMA,
        **parts.facts,
        "n_labels": len(parts.labels),
        "genes_sha256": digest([gene for gene, _ in parts.genes]),
        "decoder": "decoder" in parts.nets,
        "dtype": dtype,
    }
    with new_folder(path, marker=CONFIG, overwrite=overwrite) as folder:
        _write_table(folder / GENES, ("gene", "symbol"), parts.genes)
        _write_table(folder / LABELS, ("label", "label_id"), parts.labels)
        save_file({key: _stored(value, dtype) for key, value in states.items()}, folder / WEIGHTS)
        write_json(folder / CONFIG, content)
    logger.info("wrote model %r to %s", parts.facts["name"], path)


def state(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of a net that are saved."""
    # How many batches were seen says nothing about the embedding.
    return {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}


def _stored(value: torch.Tensor, dtype: WeightType) -> torch.Tensor:
    # Vectors weigh nothing and the variances of batch normalisation can leave the range of float16.
    half = dtype == "float16" and value.ndim > 1
    return value.detach().cpu().to(torch.float16 if half else torch.float32).contiguous().clone()


def digest(genes: list[str]) -> str:
    """Return the hash by which a folder knows its genes and their order."""
    return hashlib.sha256("\n".join(genes).encode()).hexdigest()


def _write_table(file: Path, header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    bad = next((value for row in rows for value in row if "\t" in value or "\n" in value or "\r" in value), None)
    if bad is not None:
        msg = f"{bad!r} has a tab or a line break and cannot be written to {file.name}."
        raise ValueError(msg)
    file.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8", newline="\n")
