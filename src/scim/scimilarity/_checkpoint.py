"""Tensors of a published checkpoint, read without executing anything in it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import torch

from scim._core import FormatError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_ENTRIES = 10_000
_MAX_PICKLE_BYTES = 1 << 20  # 5,000 in the published model


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Map the tensors of a checkpoint into memory, by their names.

    The file is what `torch.save({"state_dict": ...})` writes: a zip archive of stored (never deflated) entries. It is
    opened as a memory map, so that a tensor never reaches beyond its bytes, by an unpickler that builds tensors only.
    A file that is no such archive, holds anything but tensors, or claims more bytes than it has, raises FormatError.
    """
    check_exists(file)
    _check_archive(file)
    try:
        content = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a malicious file makes torch raise
        reason = str(error).strip().split("\n")[0][:200]
        msg = f"{str(file)!r} holds something else than tensors, or is damaged, and was not read ({reason})."
        raise FormatError(msg) from error
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or set(content) != {"state_dict"}:
        entries = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        msg = f"{str(file)!r} must hold one entry, 'state_dict'; found {entries}."
        raise FormatError(msg)
    n_left = file.stat().st_size
    for name, tensor in tensors.items():
        n_left -= _checked_bytes(file, name, tensor, n_left)
    return tensors


def check_exists(file: Path) -> None:
    """Refuse a file of a model that does not exist."""
    if not file.is_file():
        msg = f"{str(file.parent)!r} is not a whole SCimilarity model: it has no file {file.name!r}."
        raise FormatError(msg)


def _check_archive(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        msg = f"{str(file)!r} is truncated, or not what torch.save writes since version 1.6 ({error})."
        raise FormatError(msg) from error
    size = file.stat().st_size
    deflated = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    pickled = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if deflated or len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > size:
        msg = f"{str(file)!r} has {len(entries)} entries that claim more bytes than its {size:,}, or are compressed."
        raise FormatError(msg)
    if pickled > _MAX_PICKLE_BYTES:
        msg = f"{str(file)!r} needs {pickled:,} bytes to list its tensors; more than {_MAX_PICKLE_BYTES:,}."
        raise FormatError(msg)


def _checked_bytes(file: Path, name: object, tensor: object, n_left: int) -> int:
    """Return the number of bytes of a tensor, at most `n_left`."""
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        msg = f"{str(file)!r}: {name!r} is {type(tensor).__name__}, expected a tensor."
        raise FormatError(msg)
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    # Stride 0, or several tensors of the same bytes: small in the file, large once copied.
    n_bytes = tensor.numel() * tensor.element_size()
    if not plain or n_bytes > n_left:
        msg = f"{str(file)!r}: {name!r} ({tensor.dtype}, {tuple(tensor.shape)}) is not a plain tensor of this file."
        raise FormatError(msg)
    return n_bytes
