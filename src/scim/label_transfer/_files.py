"""The folder of a saved label transfer: JSON and npy files with checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from scim._core import FormatError, error_text
from scim.io import (
    Record,
    as_record,
    check_array,
    checksum,
    inside,
    local_path,
    new_folder,
    read_json,
    read_npy,
    sealed,
    unsealed,
    write_json,
)
from scim.label_transfer._calibration import Calibration  # noqa: TC001  (msgspec reads annotations)
from scim.label_transfer._expression import ExpressionReference
from scim.label_transfer._reference import LabelReference, NeighbourIndex, RowIndex
from scim.label_transfer._tree import LabelTree

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.label_transfer._transfer import LabelTransfer

_FILE, _FORMAT, _VERSION = "label_transfer.json", "scim-label-transfer", 1
_ARRAYS = ("codes", "studies", "label_weights", "centroids", "centroid_labels", "centroid_studies")
_EXPRESSION = "expression_"  # before the names of the arrays of the expression reference
_REMEDY = "Save the label transfer again."
_TOLERANCE = 1e-3  # of the squared length of a unit row
_LONGEST = 1 + _TOLERANCE
_MOST_LABELS = 20_000  # their tree has a matrix of all pairs


class _Header(Record, frozen=True):
    """The content of `label_transfer.json`, without format, version and checksum."""

    labels: tuple[str, ...]
    label_ids: tuple[str, ...]
    n_rows: Annotated[int, msgspec.Meta(ge=0)]
    calibration: Calibration
    arrays: dict[str, str]  # SHA-256 of each
    study_names: tuple[str, ...] | None = None


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
    names = reference.study_names
    with new_folder(path, marker=_FILE, overwrite=overwrite) as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        header = _Header(
            labels=tuple(transfer.labels.tolist()),
            label_ids=tuple(reference.tree.label_ids.tolist()),
            n_rows=transfer.index.n_rows,
            calibration=transfer.calibration,
            arrays={name: checksum(folder / f"{name}.npy") for name in arrays},
            study_names=None if names is None else tuple(names.tolist()),
        )
        content = {"format": _FORMAT, "version": _VERSION, **msgspec.to_builtins(header)}
        write_json(folder / _FILE, sealed(content))


def read_folder(
    path: str | os.PathLike[str], index: NeighbourIndex | None
) -> tuple[LabelReference, Calibration, NeighbourIndex, ExpressionReference | None]:
    """Return what :func:`write_folder` wrote; raise the errors of :meth:`LabelTransfer.load`."""
    folder = local_path(path, what="a label transfer")
    header = _read_header(folder / _FILE)
    arrays = {name: _read_array(folder, f"{name}.npy", digest) for name, digest in header.arrays.items()}
    if index is None and "X" not in arrays:
        msg = f"{str(folder)!r} was saved without embeddings; pass index=, as to fit()."
        raise ValueError(msg)
    found = {name.removeprefix(_EXPRESSION): arrays.pop(name) for name in [*arrays] if name.startswith(_EXPRESSION)}
    expression = ExpressionReference.from_arrays(found, str(folder), remedy=_REMEDY) if found else None
    _check_arrays(arrays, header, str(folder))
    rows = arrays.pop("X", None)
    index = RowIndex(rows) if index is None and rows is not None else index
    dim = arrays["centroids"].shape[1]
    assert index is not None
    if (index.n_rows, index.dim) != (header.n_rows, dim):
        msg = f"index has {index.n_rows} cells of {index.dim} numbers, the label transfer {header.n_rows} of {dim}."
        raise ValueError(msg)
    try:
        tree = LabelTree.of(header.labels, header.label_ids)
    except FormatError as error:
        msg = f"{str(folder)!r}: {error_text(error)}. {_REMEDY}"
        raise FormatError(msg) from error
    names = None if header.study_names is None else np.array(header.study_names, dtype=object)
    return LabelReference(tree=tree, study_names=names, **arrays), header.calibration, index, expression


def _read_header(file: Path) -> _Header:
    content = read_json(file, kind="label transfer")
    if content.get("format") != _FORMAT or content.get("version") != _VERSION:
        msg = f"{str(file)!r} is no label transfer of version {_VERSION}; a newer scim may read it."
        raise FormatError(msg)
    content = unsealed(content, str(file), remedy=_REMEDY)
    del content["format"], content["version"]
    header = as_record(content, _Header, str(file))
    labels, known = header.labels, {*_ARRAYS, "duplicates", "X"}
    foreign = [name for name in header.arrays if name not in known and not name.startswith(_EXPRESSION)]
    if foreign or not {*_ARRAYS} <= {*header.arrays}:
        msg = f"{str(file)!r} lists the arrays {sorted(header.arrays)}, expected {sorted(known)}. {_REMEDY}"
        raise FormatError(msg)
    if not 0 < len({*labels}) == len(labels) == len(header.label_ids) <= _MOST_LABELS:
        msg = (
            f"{str(file)!r} has {len(labels):,} labels and {len(header.label_ids):,} ids, expected as many, each once, "
        )
        raise FormatError(msg + f"and at most {_MOST_LABELS:,}. {_REMEDY}")
    if header.study_names is not None and len({*header.study_names}) < len(header.study_names):
        msg = f"{str(file)!r} names a study twice. {_REMEDY}"
        raise FormatError(msg)
    return header


def _read_array(folder: Path, name: str, digest: str) -> NDArray[Any]:
    file = inside(folder, name)
    if not file.exists() or checksum(file) != digest:
        msg = f"{str(file)!r} is damaged or missing. {_REMEDY}"
        raise FormatError(msg)
    return read_npy(file)


def _check_arrays(arrays: Mapping[str, NDArray[Any]], header: _Header, where: str) -> None:
    """Refuse what kernels would read or write out of bounds with, and numbers that are none."""
    n_ids = header.n_rows if "X" in arrays else arrays["codes"].size  # an index may have fewer cells than ids
    n_labels, n_centroids = len(header.labels), arrays["centroid_labels"].size
    n_studies = n_ids if header.study_names is None else len(header.study_names)
    expected: dict[str, tuple[str, tuple[int | None, ...], float, float]] = {
        "codes": ("i", (n_ids,), -1, n_labels - 1),
        "studies": ("i", (n_ids,), 0, n_studies - 1),
        "label_weights": ("f", (n_labels,), 0, 1),
        "centroids": ("f", (n_centroids, None), -_LONGEST, _LONGEST),
        "centroid_labels": ("i", (n_centroids,), 0, n_labels - 1),
        "centroid_studies": ("i", (n_centroids,), 0, n_studies - 1),
        "duplicates": ("b", (n_ids,), 0, 1),
        "X": ("f", (n_ids, None), -_LONGEST, _LONGEST),
    }
    for name, array in arrays.items():
        kinds, shape, least, most = expected[name]
        check_array(array, f"{where}/{name}.npy", kinds, shape, least=least, most=most, remedy=_REMEDY)
    rows = arrays.get("X", np.ones((1, 1)))
    if not (np.abs(np.einsum("ij,ij->i", rows, rows) - 1) < _TOLERANCE).all():
        msg = f"{where + '/X.npy'!r} has rows that are not of unit length. {_REMEDY}"
        raise FormatError(msg)
