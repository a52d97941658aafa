"""npy files and zips of them: the header is compared with the size of the file before anything is allocated."""

from __future__ import annotations

import io
import math
import os
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np

from scim._core import FormatError, error_text
from scim.io._names import check_name
from scim.io._open import open_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

_MOST_EXPANDED = 1100
"""A byte of a deflated file is at most 1,032 bytes of its content."""


class _Header(NamedTuple):
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]
    offset: int  # of the first value


def parse_npy(content: bytes, where: str) -> NDArray[Any]:
    """Return the array in the content of an npy file, which may be read only; `where` names the file in errors.

    Raises
    ------
    FormatError
        It is no npy file of numbers, booleans or text, or has not as many bytes as its header says.
    """
    header = _read_header(io.BytesIO(content), len(content), where)
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.offset)
    return values.reshape(header.shape, order=header.order)


def read_npy(path: Path) -> NDArray[Any]:
    """Read an npy file; errors as of :func:`parse_npy` and :func:`scim.io.open_file`."""
    with open_file(path) as file:
        header = _read_header(file, os.fstat(file.fileno()).st_size, str(path))
        values = np.fromfile(file, header.dtype, math.prod(header.shape))
    if values.size != math.prod(header.shape):
        msg = f"{str(path)!r} ends early; it was truncated while it was read."
        raise FormatError(msg)
    return values.reshape(header.shape, order=header.order)


def map_npy(path: Path, mode: Literal["r", "c"] = "c") -> NDArray[Any]:
    """Map an npy file, `mode="c"` = copy on write, which numba sees as an array in memory; errors as of `read_npy`."""
    with open_file(path) as file:
        header = _read_header(file, os.fstat(file.fileno()).st_size, str(path))
        if 0 in header.shape:  # nothing can be mapped
            return np.empty(header.shape, header.dtype)
        return np.memmap(file, header.dtype, mode, header.offset, header.shape, header.order)


def parse_npz(content: bytes, where: str, names: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the arrays of a zip of npy files by name, or only those of `names`; errors as of :func:`parse_npy`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {check_name(entry.filename).removesuffix(".npy"): entry for entry in archive.infolist()}
            if sum(entry.file_size for entry in entries.values()) > _MOST_EXPANDED * len(content):
                msg = f"{where!r} claims more content than a file of {len(content)} bytes can have."
                raise FormatError(msg)
            if absent := sorted(set(names) - set(entries)):
                msg = f"{where!r} has no array {absent[0]!r}. Present: {sorted(entries)}."
                raise FormatError(msg)
            raw = {name: archive.read(entries[name]) for name in names or entries}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, FormatError):
            raise
        msg = f"{where!r} is not a readable zip of arrays ({error_text(error)})."
        raise FormatError(msg) from error
    return {name: parse_npy(value, f"{where}/{name}.npy") for name, value in raw.items()}


def _read_header(stream: BinaryIO, n_bytes: int, where: str) -> _Header:
    """Read the header of an npy file; the stream is at the first value then."""
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # the header is a Python literal, and parsing it raises errors of many kinds
        msg = f"{where!r} is not a readable npy file ({error_text(error)})."
        raise FormatError(msg) from error
    header = _Header(shape, "F" if fortran else "C", dtype, stream.tell())
    is_shape = all(type(length) is int and length >= 0 for length in shape)
    if dtype.kind not in "biufcUSMm" or not is_shape:
        msg = f"{where!r} holds {dtype} of shape {shape}, expected numbers, booleans or text."
        raise FormatError(msg)
    if math.prod(shape) * dtype.itemsize != n_bytes - header.offset:
        msg = f"{where!r} has {n_bytes - header.offset} bytes of values, expected those of {dtype} {shape}."
        raise FormatError(msg)
    return header
