"""npy files and zips of them: the header is compared with the size of the file before anything is allocated."""

from __future__ import annotations

import io
import math
import os
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np

from scim._core import FormatError, error_text
from scim.io._names import check_name
from scim.io._open import open_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

_MOST_EXPANDED, _FREE = 50, 1 << 26
"""Bytes of content for a byte of a zip, beside these 64 MB: what is stored has 3 to 10, a forged zip up to 1,032."""
_MOST_AXES, _MOST_ADDRESSED = 32, 1 << 62


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
    return _checked(values, where).reshape(header.shape, order=header.order)


def read_npy(path: Path) -> NDArray[Any]:
    """Read an npy file; errors as of :func:`parse_npy` and :func:`scim.io.open_file`."""
    with open_file(path) as file:
        header = _read_header(file, os.fstat(file.fileno()).st_size, str(path))
        values = np.fromfile(file, header.dtype, math.prod(header.shape))
    if values.size != math.prod(header.shape):
        msg = f"{str(path)!r} ends early; it was truncated while it was read."
        raise FormatError(msg)
    return _checked(values, str(path)).reshape(header.shape, order=header.order)


def map_npy(path: Path, mode: Literal["r", "c"] = "c") -> NDArray[Any]:
    """Map an npy file, `mode="c"` = copy on write, which numba sees as an array in memory; errors as of `read_npy`."""
    with open_file(path) as file:
        return map_opened(file, str(path), mode)


def map_opened(file: BinaryIO, where: str, mode: Literal["r", "c"]) -> NDArray[Any]:
    """Map an open npy file; errors as of :func:`map_npy`."""
    header = _read_header(file, os.fstat(file.fileno()).st_size, where)
    if 0 in header.shape:  # nothing can be mapped
        return np.empty(header.shape, header.dtype)
    return np.memmap(file, header.dtype, mode, header.offset, header.shape, header.order)


def map_records(path: Path, dtype: np.dtype[Any], n: int, offset: int = 0) -> NDArray[Any]:
    """Map `n` values of a file without a header, or a link to one; FormatError if it has fewer bytes."""
    with open_file(path, links=True) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if not 0 <= offset <= offset + n * dtype.itemsize <= n_bytes:
            msg = f"{str(path)!r} has {n_bytes} bytes, expected {n} values of {dtype.itemsize} after {offset}."
            raise FormatError(msg)
        return np.memmap(file, dtype, "r", offset, (n,)) if n else np.empty(0, dtype)


def parse_npz(content: bytes, where: str, names: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """Return the arrays of a zip of npy files by name, or only those of `names`; errors as of :func:`parse_npy`."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            raw = _unzip(archive, len(content), where, names)
    except FormatError:
        raise
    except Exception as error:  # of zipfile, zlib and what else decompresses
        msg = f"{where!r} is not a readable zip of arrays ({error_text(error)})."
        raise FormatError(msg) from error
    return {name: parse_npy(value, f"{where}/{name}.npy") for name, value in raw.items()}


def _unzip(archive: zipfile.ZipFile, n_bytes: int, where: str, names: Collection[str]) -> dict[str, bytes]:
    entries = {check_name(entry.filename).removesuffix(".npy"): entry for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        msg = f"{where!r} has two arrays of one name, among {sorted(entries)}."
        raise FormatError(msg)
    if sum(entry.file_size for entry in entries.values()) > _MOST_EXPANDED * n_bytes + _FREE:
        msg = f"{where!r} claims more content than a file of {n_bytes} bytes may have."
        raise FormatError(msg)
    if absent := sorted(set(names) - set(entries)):
        msg = f"{where!r} has no array {absent[0]!r}. Present: {sorted(entries)}."
        raise FormatError(msg)
    for name in names or entries:  # before anything is expanded: a byte can be a thousand
        with archive.open(entries[name]) as stream:
            _read_header(cast("BinaryIO", stream), entries[name].file_size, f"{where}/{name}.npy")
    return {name: archive.read(entries[name]) for name in names or entries}


def check_array(
    array: NDArray[Any],
    where: str,
    kinds: str,
    shape: tuple[int | None, ...],
    *,
    least: float | None = None,
    most: float | None = None,
    remedy: str,
) -> NDArray[Any]:
    """Return an array of a file as it is, whose type, shape and values are what they should be.

    Parameters
    ----------
    array
        The array.
    where
        Its file, for errors.
    kinds
        Letters of the `dtype.kind` that it may have, as `"iu"`.
    shape
        Its lengths; `None` = any.
    least, most
        Of its values, in which NaN is neither; `None` = any.
    remedy
        A sentence at the end of errors.

    Raises
    ------
    FormatError
        It has another type or shape, or a value out of range.
    """
    fits = len(shape) == array.ndim and all(n in (None, length) for n, length in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in kinds or not array.dtype.isnative or not fits:
        lengths = ", ".join("any" if n is None else str(n) for n in shape)
        msg = f"{where!r} holds {array.dtype} of shape {array.shape}, expected kind {kinds!r} and shape ({lengths}). "
        raise FormatError(msg + remedy)
    if array.size and not ((least is None or array.min() >= least) and (most is None or array.max() <= most)):
        msg = f"{where!r} has values from {array.min()} to {array.max()}, expected {least} to {most}. {remedy}"
        raise FormatError(msg)
    return array


def _checked(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return values; FormatError for a boolean that is neither true nor false, and for text that is no Unicode."""
    codes = values.view(np.uint8) if values.dtype.kind == "b" else values
    if values.dtype.kind == "U" and values.size:
        codes = values.view(values.dtype.byteorder.replace("|", "=") + "u4")
        codes = np.where((codes >= 0xD800) & (codes < 0xE000), np.uint32(0x110000), codes)  # half a character
    if codes is not values and codes.max(initial=0) > (1 if values.dtype.kind == "b" else 0x10FFFF):
        msg = f"{where!r} holds values that {values.dtype} does not have; it is damaged."
        raise FormatError(msg)
    return values


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
    is_shape = len(shape) <= _MOST_AXES and all(type(length) is int and length >= 0 for length in shape)
    n_addressed = math.prod(filter(None, shape)) * dtype.itemsize if is_shape else 0  # numpy's strides, of any array
    if dtype.kind not in "biufcUSMm" or not 0 < n_addressed < _MOST_ADDRESSED:
        msg = f"{where!r} holds {dtype} of shape {shape}, expected numbers, booleans or text."
        raise FormatError(msg)
    if math.prod(shape) * dtype.itemsize != n_bytes - header.offset:
        msg = f"{where!r} has {n_bytes - header.offset} bytes of values, expected those of {dtype} {shape}."
        raise FormatError(msg)
    return header
