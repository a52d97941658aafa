"""Tensors of a published checkpoint, read without executing anything in it."""

from __future__ import annotations

import math
import pickletools
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import FormatError, error_text
from scim.io import open_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MAX_ENTRIES = 10_000
_MAX_LIST_BYTES = 1 << 18  # 5,000 in the published model
_DTYPES = {"torch HalfStorage": "<f2", "torch FloatStorage": "<f4", "torch LongStorage": "<i8"}
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"


class _Name(NamedTuple):
    """The name of a class or function, as "torch FloatStorage", which is never looked up."""

    name: str


class _Tensor(NamedTuple):
    """A tensor in the list: what it says of itself, unchecked."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def read_tensors(file: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a checkpoint, by their names.

    The file is what `torch.save({"state_dict": ...})` writes: a zip archive of stored (never deflated) entries. One is
    a list of tensors, in the instructions of pickle, of which only those that make dictionaries, tuples, text and
    numbers are followed; each other entry has the values of one tensor. A file that is no such archive, has another
    checksum, holds anything but tensors, or claims more bytes than it has, raises FormatError.
    """
    check_exists(file)
    try:
        with open_file(file, links=True) as stream, zipfile.ZipFile(stream) as archive:
            return _read_archive(file, archive, stream.seek(0, 2))
    except FormatError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        msg = f"{str(file)!r} is truncated or damaged, or not what torch.save writes since version 1.6 "
        msg += f"({error_text(error)})."
        raise FormatError(msg) from error
    except Exception as error:  # whatever a malicious list leads to
        msg = f"{str(file)!r} holds something else than tensors, or is damaged, and was not read ({error_text(error)})."
        raise FormatError(msg) from error


def check_exists(file: Path) -> None:
    """Refuse a file of a model that does not exist."""
    if not file.exists():
        msg = f"{str(file.parent)!r} is not a whole SCimilarity model: it has no file {file.name!r}."
        raise FormatError(msg)


def _read_archive(file: Path, archive: zipfile.ZipFile, n_bytes: int) -> dict[str, NDArray[Any]]:
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    deflated = [entry.filename for entry in entries.values() if entry.compress_type != zipfile.ZIP_STORED]
    claimed = sum(entry.file_size for entry in entries.values())
    if deflated or not len(archive.infolist()) == len(entries) <= _MAX_ENTRIES or claimed > n_bytes:
        msg = f"{str(file)!r} has {len(archive.infolist())} entries that claim more bytes than its {n_bytes:,}, are "
        msg += "compressed, or have the same name."
        raise FormatError(msg)
    if "data.pkl" not in entries or entries["data.pkl"].file_size > _MAX_LIST_BYTES:
        msg = f"{str(file)!r} has no list of tensors, 'data.pkl', of at most {_MAX_LIST_BYTES:,} bytes."
        raise FormatError(msg)
    if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
        msg = f"{str(file)!r} has another byte order than little endian."
        raise FormatError(msg)
    content = _follow(archive.read(entries["data.pkl"]))
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or set(content) != {"state_dict"}:
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        msg = f"{str(file)!r} must hold one entry, 'state_dict'; found {str(found)[:200]}."
        raise FormatError(msg)
    storages = {name: archive.read(entry) for name, entry in entries.items() if name.startswith("data/")}
    out = {name: _values(file, name, tensor, storages) for name, tensor in tensors.items()}
    if sum(array.nbytes for array in out.values()) > n_bytes:  # many tensors of the same bytes
        msg = f"{str(file)!r} has tensors of more bytes than its {n_bytes:,}."
        raise FormatError(msg)
    return out


def _values(file: Path, name: str, tensor: Any, storages: dict[str, bytes]) -> NDArray[Any]:
    """Return the values of a tensor, as they lie in its storage."""
    match tensor:
        case _Tensor(("storage", _Name(kind), str(key), str(), int(n)), int(offset), tuple(shape), tuple(strides)):
            dtype, content = np.dtype(_DTYPES.get(kind, "V1")), storages.get(f"data/{key}", b"")
            numbers = (offset, *shape, *strides)
            whole = all(type(number) is int and number >= 0 for number in numbers) and len(shape) == len(strides)
            if whole and kind in _DTYPES and dtype.itemsize * n == len(content) and math.prod(shape) <= n:
                last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
                if 0 in shape or last < n:
                    values, steps = np.frombuffer(content, dtype)[offset:], [step * dtype.itemsize for step in strides]
                    return np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)
    msg = f"{str(file)!r}: {name[:200]!r} is not a plain tensor of this file."
    raise FormatError(msg)


def _follow(instructions: bytes) -> Any:
    """Return what the instructions of pickle make of dictionaries, tuples, text, numbers and tensors alone."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    value: Any
    for opcode, value, _ in pickletools.genops(instructions):
        match opcode.name:
            case "PROTO":
                pass
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT" | "EMPTY_TUPLE":
                stack.append({} if opcode.name == "EMPTY_DICT" else ())
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(value)
            case "GLOBAL":
                stack.append(_Name(value))
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "TUPLE1" | "TUPLE2" | "TUPLE3" | "TUPLE":
                n = len(stack) - marks.pop() if opcode.name == "TUPLE" else int(opcode.name[-1])
                stack.append(_pop(stack, n))
            case "SETITEM" | "SETITEMS":
                items = _pop(stack, 2 if opcode.name == "SETITEM" else len(stack) - marks.pop())
                _set_items(stack[-1], items)
            case "REDUCE":
                function, arguments = _pop(stack, 2)
                stack.append(_make(function, arguments))
            case "BUILD":
                stack.pop()  # what a dictionary has besides its items
            case "BINPERSID":
                pass  # the tuple that describes a storage
            case "STOP":
                return stack.pop()
            case other:
                msg = f"the instruction {other}"
                raise ValueError(msg)
    return None


def _pop(stack: list[Any], n: int) -> tuple[Any, ...]:
    """Take the last `n` values."""
    if not 0 <= n <= len(stack):
        msg = f"{n} values of {len(stack)}"
        raise ValueError(msg)
    parts = tuple(stack[len(stack) - n :])
    del stack[len(stack) - n :]
    return parts


def _set_items(target: Any, items: tuple[Any, ...]) -> None:
    keys = items[::2]
    if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in keys):
        msg = "a dictionary without names"
        raise ValueError(msg)
    if len(set(keys)) < len(keys) or any(key in target for key in keys):
        msg = "a name twice"
        raise ValueError(msg)
    target.update(zip(keys, items[1::2], strict=True))


def _make(function: Any, arguments: Any) -> Any:
    """Return what a function of the two that are known would return."""
    if function == _Name(_DICT) and arguments == ():
        return {}
    if function == _Name(_TENSOR) and isinstance(arguments, tuple) and len(arguments) == 6:
        return _Tensor(*arguments[:4])
    name = function.name if isinstance(function, _Name) else type(function).__name__
    msg = f"a call of {name!r}"
    raise ValueError(msg)
