"""The folder of an index: `index.json` and one npy file an array."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.errors import FormatError
from scim._core.folder import new_folder, read_json, write_json

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

FORMAT = "scim-index"
VERSION = 1
HEADER = "index.json"
REMEDY = "Build it again with `scim.index.build` and save it with overwrite=True."


def verify(path: str | os.PathLike[str]) -> None:
    """Read every file of a saved index and compare it with its checksum.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or a file differs from what was saved.
    """
    folder = Path(path)
    for name, entry in read_header(folder)["files"].items():
        file = folder / f"{name}.npy"
        _check_size(file, entry)
        if _checksum(file) != entry["sha256"]:
            msg = f"{str(file)!r} has changed since it was saved: its checksum differs. {REMEDY}"
            raise FormatError(msg)


def write_index(
    path: str | os.PathLike[str], facts: dict[str, Any], arrays: dict[str, NDArray[Any]], *, overwrite: bool
) -> None:
    """Write arrays, and facts as JSON, into a new folder that appears when it is complete."""
    with new_folder(path, marker=HEADER, overwrite=overwrite) as folder:
        files = {name: _write(folder / f"{name}.npy", array) for name, array in arrays.items()}
        header = {"format": FORMAT, "version": VERSION, **facts, "dtype": "float32", "files": files}
        write_json(folder / HEADER, {**header, "sha256": _digest(header)})


def _write(file: Path, array: NDArray[Any]) -> dict[str, Any]:
    np.save(file, array, allow_pickle=False)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "bytes": file.stat().st_size,
        "sha256": _checksum(file),
    }


def read_header(folder: Path) -> dict[str, Any]:
    """Return the facts of a saved index, checked to be what was saved."""
    file = folder / HEADER
    if folder.is_dir() and not file.exists():
        msg = f"{str(folder)!r} is not a scim index: it has no {HEADER!r}; pass a folder that `Index.save` wrote."
        raise FormatError(msg)
    header = read_json(file, kind="index")
    if header.get("format") != FORMAT:
        msg = f"{str(file)!r} is not of a scim index: format {header.get('format')!r}, expected {FORMAT!r}."
        raise FormatError(msg)
    if header.get("version") != VERSION:
        came = f"has version {header.get('version')!r}, this scim reads {VERSION}"
        msg = f"{str(file)!r} {came}. Update scim, or: {REMEDY}"
        raise FormatError(msg)
    if header.pop("sha256", None) != _digest(header):
        msg = f"{str(file)!r} has changed since it was saved. {REMEDY}"
        raise FormatError(msg)
    return header


def map_array(file: Path, entry: dict[str, Any]) -> NDArray[Any]:
    """Open an array by memory map; its size, shape and type must be those that were saved."""
    _check_size(file, entry)
    # Copy-on-write maps count as writable, so kernels see the same type as for arrays in memory and are compiled
    # once; nothing is ever written. An empty array cannot be mapped.
    try:
        array: NDArray[Any] = np.asarray(np.load(file, mmap_mode="c" if 0 not in entry["shape"] else None))
    except ValueError as error:
        msg = f"{str(file)!r} is not a readable npy file ({error}). {REMEDY}"
        raise FormatError(msg) from error
    if list(array.shape) != entry["shape"] or array.dtype.str != entry["dtype"]:
        expected = f"{entry['dtype']} {tuple(entry['shape'])}"
        msg = f"{str(file)!r} holds {array.dtype.str} {array.shape}, expected {expected}. {REMEDY}"
        raise FormatError(msg)
    return array


def _check_size(file: Path, entry: dict[str, Any]) -> None:
    if not file.exists():
        msg = f"{str(file)!r} is missing. {REMEDY}"
        raise FormatError(msg)
    if file.stat().st_size != entry["bytes"]:
        came = f"has {file.stat().st_size} bytes, expected {entry['bytes']}"
        msg = f"{str(file)!r} {came}: it is truncated or replaced. {REMEDY}"
        raise FormatError(msg)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(header: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
