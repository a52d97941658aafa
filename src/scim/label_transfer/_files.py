"""The folder of a saved label transfer: JSON and npy files with checksums."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim.io import local_path, new_folder, read_json, write_json
from scim.label_transfer._calibration import Calibration
from scim.label_transfer._expression import ExpressionReference
from scim.label_transfer._reference import LabelReference, NeighbourIndex, RowIndex
from scim.label_transfer._tree import LabelTree

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.label_transfer._transfer import LabelTransfer

_FILE, _FORMAT, _VERSION = "label_transfer.json", "scim-label-transfer", 1
_ARRAYS = ("codes", "studies", "label_weights", "centroids", "centroid_labels", "centroid_studies")
_EXPRESSION = "expression_"  # before the names of the arrays of the expression reference


def write_folder(path: str | os.PathLike[str], transfer: LabelTransfer, *, overwrite: bool) -> None:
    """Write reference, calibration, expression, and the rows of a transfer that finds neighbours itself."""
    reference = transfer.reference
    arrays = {name: getattr(reference, name) for name in _ARRAYS}
    if reference.duplicates is not None:
        arrays["duplicates"] = reference.duplicates
    if isinstance(transfer.index, RowIndex):
        arrays["X"] = transfer.index.X
    if transfer.expression is not None:
        arrays |= {f"{_EXPRESSION}{name}": array for name, array in transfer.expression.to_arrays().items()}
    with new_folder(path, marker=_FILE, overwrite=overwrite) as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "labels": transfer.labels.tolist(),
            "label_ids": reference.tree.label_ids.tolist(),
            "n_rows": transfer.index.n_rows,
            "study_names": None if reference.study_names is None else reference.study_names.tolist(),
            "calibration": asdict(transfer.calibration),
            "arrays": {name: _checksum((folder / f"{name}.npy").read_bytes()) for name in arrays},
        }
        write_json(folder / _FILE, content | {"sha256": _checksum(json.dumps(content, sort_keys=True).encode())})


def read_folder(
    path: str | os.PathLike[str], index: NeighbourIndex | None
) -> tuple[LabelReference, Calibration, NeighbourIndex, ExpressionReference | None]:
    """Return what :func:`write_folder` wrote; raise the errors of :meth:`LabelTransfer.load`."""
    folder = local_path(path, what="a label transfer")
    content = read_json(folder / _FILE, kind="label transfer")
    if content.get("format") != _FORMAT or content.get("version") != _VERSION:
        msg = f"{str(folder / _FILE)!r} is no label transfer of version {_VERSION}; a newer scim may read it."
        raise FormatError(msg)
    if content.pop("sha256", None) != _checksum(json.dumps(content, sort_keys=True).encode()):
        msg = f"{str(folder / _FILE)!r} is damaged: its checksum is another."
        raise FormatError(msg)
    arrays = {name: _read_array(folder / f"{name}.npy", checksum) for name, checksum in content["arrays"].items()}
    rows = arrays.pop("X", None)
    if index is None:
        if rows is None:
            msg = f"{str(folder)!r} was saved without embeddings; pass index=, as to fit()."
            raise ValueError(msg)
        index = RowIndex(rows)
    of_expression = [name for name in arrays if name.startswith(_EXPRESSION)]
    expression = {name.removeprefix(_EXPRESSION): arrays.pop(name) for name in of_expression}
    names = content.get("study_names")
    tree = LabelTree.of(content["labels"], content["label_ids"])
    study_names = None if names is None else np.array(names, dtype=object)
    reference = LabelReference(tree=tree, study_names=study_names, **arrays)
    n_rows, dim = content["n_rows"], reference.centroids.shape[1]
    if (index.n_rows, index.dim) != (n_rows, dim):
        msg = f"index has {index.n_rows} cells of {index.dim} numbers, the label transfer {n_rows} of {dim}."
        raise ValueError(msg)
    calibration = Calibration.from_dict(content["calibration"])
    return reference, calibration, index, ExpressionReference.from_arrays(expression) if expression else None


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_array(file: Path, checksum: str) -> NDArray[Any]:
    if not file.exists() or _checksum(file.read_bytes()) != checksum:
        msg = f"{str(file)!r} is damaged or missing; save the label transfer again."
        raise FormatError(msg)
    return np.asarray(np.load(file, allow_pickle=False))
