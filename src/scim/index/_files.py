"""The folder of an index: `index.json` and one npy file an array, each with its checksum."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim.index.filter import Column, LazyColumns
from scim.io import local_path, read_json, write_json

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.index._segments import Segment

FORMAT = "scim-index"
VERSION = 2
HEADER = "index.json"
REMEDY = "Build it again with `scim.index.build` and save it with overwrite=True."

# Keys in the file of parameters that have another name in memory.
KEYS = {"probe_factor": "reach", "rerank_factor": "depth", "filter_decay": "shrink", "ef_search": "effort"}


def write_segments(folder: Path, segments: Sequence[Segment]) -> None:
    """Write the files of an index, the header last; arrays that are mapped from this folder are written already."""
    files: dict[str, Any] = {}
    entries = []
    for number, segment in enumerate(segments):
        engine, columns = segment.engine, list(segment.columns.values())
        arrays = dict(engine.arrays())
        if segment.stored_ids is not None:
            arrays["ids"] = segment.stored_ids
        if segment.deleted is not None:
            arrays["gone"] = segment.deleted
        for position, column in enumerate(columns):
            arrays |= {f"column{position}_{name}": array for name, array in column.arrays().items()}
        for name, array in arrays.items():
            file = file_name(name, number)
            files[file] = _write(folder / file, array)
        entry: dict[str, Any] = {"kind": engine.kind, "n_rows": engine.n_rows, "dim": engine.dim}
        entry |= {"params": renamed(engine.params, KEYS), "columns": [column.facts() for column in columns]}
        entries.append({**entry, "arrays": list(arrays)})
    header = {"format": FORMAT, "version": VERSION, "segments": entries, "files": files}
    write_json(folder / HEADER, {**header, "sha256": digest_of(header)})


def file_name(name: str, number: int) -> str:
    """Return the name of the file of an array of the segment with this number."""
    return f"{name}.{number}.npy" if number else f"{name}.npy"


def renamed(content: Any, names: Mapping[str, str]) -> Any:
    """Return JSON content with keys renamed, in their order, at every level."""
    if isinstance(content, dict):
        return {names.get(key, key): renamed(value, names) for key, value in content.items()}
    return [renamed(value, names) for value in content] if isinstance(content, list) else content


def _write(file: Path, array: NDArray[Any]) -> dict[str, Any]:
    if file.exists():
        array.flush()  # type: ignore[attr-defined]  # a memory map that was filled while the index was built
    else:
        np.save(file, array, allow_pickle=False)
    size, checksum = file.stat().st_size, _checksum(file)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "bytes": size, "sha256": checksum}


class Arrays:
    """The arrays of a saved segment by name, each opened when it is first read; those not `in_memory` are mapped.

    Arrays that are read by `[]` are compared with their checksum first; :meth:`unchecked` is for those too large to be
    read through. `names` gives the file of each array, `entries` the entry of each file in the header.
    """

    def __init__(
        self, folder: Path, names: Mapping[str, str], entries: Mapping[str, Any], in_memory: Collection[str]
    ) -> None:
        self.folder, self.names, self._entries, self._in_memory = folder, names, entries, in_memory
        self.nbytes_in_memory = 0
        for file in names.values():
            _check_size(folder / file, entries[file])

    def __getitem__(self, name: str) -> NDArray[Any]:
        _check_content(self.folder / self.names[name], self._entries[self.names[name]])
        return self.unchecked(name)

    def unchecked(self, name: str) -> NDArray[Any]:
        """Return an array without reading it."""
        array = map_array(self.folder / self.names[name], self._entries[self.names[name]])
        if name not in self._in_memory:
            return array
        self.nbytes_in_memory += array.nbytes
        return np.array(array)


def read_columns(arrays: Arrays, facts: Sequence[Mapping[str, Any]], n_rows: int) -> LazyColumns:
    """Return the columns of `obs` of a saved segment, each compared with its checksum when it is first used."""
    entries = {str(entry["name"]): (f"column{number}_", entry) for number, entry in enumerate(facts)}

    def read(name: str) -> Column:
        prefix, entry = entries[name]
        parts = {key.removeprefix(prefix): arrays[key] for key in arrays.names if key.startswith(prefix)}
        column = Column.restore(entry, parts)
        if column.n_rows != n_rows:
            msg = f"Column {name!r} has {column.n_rows} rows, expected {n_rows}. {REMEDY}"
            raise FormatError(msg)
        return column

    return LazyColumns(entries, read)


def verify(path: str | os.PathLike[str]) -> None:
    """Read every file of a saved index and compare it with its checksum.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or a file differs from what was saved.
    """
    folder = local_path(path, what="an index")
    for name, entry in read_header(folder)["files"].items():
        _check_size(folder / name, entry)
        _check_content(folder / name, entry)


def header_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of the header of a saved index, which identifies the folder in a manifest.

    The header, which alone is read, has the checksums of all files: undamaged folders of one digest hold the same.
    """
    return digest_of(read_header(local_path(path, what="an index")))


def read_header(folder: Path) -> dict[str, Any]:
    """Return the header of a saved index, compared with its checksum."""
    file = folder / HEADER
    if folder.is_dir() and not file.exists():
        msg = f"{str(folder)!r} is not a scim index: it has no {HEADER!r}; pass a folder that `Index.save` wrote."
        raise FormatError(msg)
    header = read_json(file, kind="index")
    if header.get("format") != FORMAT:
        msg = f"{str(file)!r} is not of a scim index: format {header.get('format')!r}, expected {FORMAT!r}."
        raise FormatError(msg)
    if header.get("version") != VERSION:
        version = header.get("version")
        msg = f"{str(file)!r} has version {version!r}, this scim reads {VERSION}. Update scim, or: {REMEDY}"
        raise FormatError(msg)
    if header.pop("sha256", None) != digest_of(header):
        msg = f"{str(file)!r} has changed since it was saved. {REMEDY}"
        raise FormatError(msg)
    return header


def map_array(file: Path, entry: dict[str, Any]) -> NDArray[Any]:
    """Open an array by memory map; its size, shape and type must be those that were saved."""
    _check_size(file, entry)
    # Kernels see copy-on-write maps as arrays in memory, and are compiled once; nothing is ever written.
    try:  # an empty array cannot be mapped
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
        n_bytes = f"{file.stat().st_size} bytes, expected {entry['bytes']}"
        msg = f"{str(file)!r} has {n_bytes}: it is truncated or replaced. {REMEDY}"
        raise FormatError(msg)


def _check_content(file: Path, entry: dict[str, Any]) -> None:
    if _checksum(file) != entry["sha256"]:
        msg = f"{str(file)!r} has changed since it was saved: its checksum differs. {REMEDY}"
        raise FormatError(msg)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(header: dict[str, Any]) -> str:
    """Return the checksum of a header."""
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
