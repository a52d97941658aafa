"""The folder of an index: `index.json` and one npy file an array, each with its checksum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from scim._core import FormatError, error_text
from scim.index._header import Header, file_name
from scim.index.filter import Column, LazyColumns
from scim.io import (
    MOST_JSON,
    as_record,
    check_content,
    check_size,
    describe_file,
    digest,
    inside,
    local_path,
    parse_object,
    read_bytes,
    read_npy,
    sealed,
    unsealed,
    write_json,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.index._header import ColumnFacts, FileEntry
    from scim.index._segments import Segment
    from scim.io import MappedFiles

FORMAT = "scim-index"
VERSION = 2
HEADER = "index.json"
T = TypeVar("T")
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
    write_json(folder / HEADER, sealed({"format": FORMAT, "version": VERSION, "segments": entries, "files": files}))


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
    return {"shape": list(array.shape), "dtype": array.dtype.str, **describe_file(file)}


class Arrays:
    """The arrays of a saved segment by name, each opened when it is first read; those not `in_memory` are mapped.

    Arrays that are read by `[]` are compared with their checksum first; :meth:`unchecked` is for those too large to be
    read through. `names` gives the file of each array, `entries` the entry of each file in the header, `types` the
    types that arrays must have.
    """

    def __init__(
        self,
        folder: Path,
        names: Mapping[str, str],
        entries: Mapping[str, FileEntry],
        types: Mapping[str, str],
        in_memory: Collection[str],
        mapped: MappedFiles,
    ) -> None:
        self.folder, self.names, self._entries, self._types = folder, names, entries, types
        self._in_memory, self._mapped, self.nbytes_in_memory = in_memory, mapped, 0
        for file in names.values():
            check_size(folder, file, entries[file], remedy=REMEDY)

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = self.unchecked(name)
        check_content(self.folder, self.names[name], self._entries[self.names[name]], remedy=REMEDY)
        is_right = array.dtype != np.bool_ or array.view(np.uint8).max(initial=0) <= 1
        self.check(name, "values that are neither true nor false", unless=is_right)
        return array

    def unchecked(self, name: str) -> NDArray[Any]:
        """Return an array without reading it; its shape, type and order must be those that were saved."""
        # Kernels see copy-on-write maps as arrays in memory, and are compiled once; nothing is ever written.
        path, entry = inside(self.folder, self.names[name]), self._entries[self.names[name]]
        array = read_npy(path) if name in self._in_memory else self._mapped.map(path)
        if name in self._in_memory:
            self.nbytes_in_memory += array.nbytes
        dtype = self._types.get(name, entry["dtype"])
        if list(array.shape) != entry["shape"] or array.dtype.str != dtype or not array.flags.carray:
            expected = f"{dtype} {tuple(entry['shape'])}"
            msg = f"{str(path)!r} holds {array.dtype.str} {array.shape}, expected {expected}. {REMEDY}"
            raise FormatError(msg)
        return array

    def check(self, name: str, problem: str, *, unless: bool | np.bool_) -> None:
        """Raise FormatError for an array that holds what is a problem, `unless` it holds something else."""
        if not unless:
            self.refuse(f"{str(self.folder / self.names[name])!r} holds {problem}")

    def check_shape(self, name: str, array: NDArray[Any], *shape: int) -> None:
        """Raise FormatError for an array of another shape than others need."""
        self.check(name, f"an array of shape {array.shape}, expected {shape}", unless=array.shape == shape)

    def refuse(self, problem: str) -> NoReturn:
        """Raise FormatError."""
        msg = f"{problem}. {REMEDY}"
        raise FormatError(msg)


def read_columns(arrays: Arrays, facts: Sequence[ColumnFacts], n_rows: int) -> LazyColumns:
    """Return the columns of `obs` of a saved segment, each compared with its checksum when it is first used."""
    entries = {entry["name"]: (f"column{number}_", entry) for number, entry in enumerate(facts)}

    def read(name: str) -> Column:
        prefix, entry = entries[name]
        parts = {key.removeprefix(prefix): arrays[key] for key in arrays.names if key.startswith(prefix)}
        try:
            column = Column.restore(entry, parts)
            column.values  # noqa: B018  (their order is checked)
        except FormatError as error:
            arrays.refuse(f"{str(arrays.folder)!r}: {error_text(error)}")
        if column.n_rows != n_rows:
            arrays.refuse(f"{str(arrays.folder)!r}: column {name!r} has {column.n_rows} rows, expected {n_rows}")
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
    for name, entry in read_header(folder).files.items():
        check_content(folder, name, entry, remedy=REMEDY)


def header_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of the header of a saved index, which identifies the folder in a manifest.

    The header, which alone is read, has the checksums of all files: undamaged folders of one digest hold the same.
    """
    return _read(local_path(path, what="an index"))[1]


def read_header(folder: Path) -> Header:
    """Return the header of a saved index; errors as of :func:`parse_header`."""
    return _read(folder)[0]


def _read(folder: Path) -> tuple[Header, str]:
    file = folder / HEADER
    try:
        content = read_bytes(file, most=MOST_JSON)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{str(folder)!r} is not a scim index: it has no {HEADER!r}; pass a folder that `Index.save` wrote."
        raise (FormatError if folder.is_dir() else FileNotFoundError)(msg) from error
    return parse_header(content, str(file))


def parse_header(content: bytes, where: str) -> tuple[Header, str]:
    """Return the header of a saved index and its sha256; `where` names the file in errors.

    Raises
    ------
    FormatError
        It is none, of another version, or has changed since it was written.
    """
    header = parse_object(content, where)
    if header.get("format") != FORMAT:
        msg = f"{where!r} is not of a scim index: format {header.get('format')!r}, expected {FORMAT!r}. {REMEDY}"
        raise FormatError(msg)
    if header.get("version") != VERSION:
        version = header.get("version")
        msg = f"{where!r} has version {version!r}, this scim reads {VERSION}. Update scim, or: {REMEDY}"
        raise FormatError(msg)
    header = unsealed(header, where, remedy=REMEDY)
    return as_entry(header, Header, where), digest(header)


def as_entry(content: Any, kind: type[T], where: str) -> T:
    """Return a part of a header as a record; FormatError, with the remedy, for another one."""
    try:
        return as_record(content, kind, where)
    except FormatError as error:
        msg = f"{error_text(error)}. {REMEDY}"
        raise FormatError(msg) from error
