"""The tensors of a checkpoint, of which nothing is executed and no more is read than the file holds."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import torch

from scim._core.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_ENTRIES = 10_000
_MOST_PICKLED = 1 << 20
"""Bytes of what says which tensor lies where; that of the published model has 5,000."""


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Map the tensors of a checkpoint into memory.

    The file is what `torch.save({"state_dict": ...})` writes: a zip archive of stored (never deflated) entries. It is
    opened as a memory map, so that a tensor never reaches beyond its bytes, by an unpickler that knows tensors alone.

    Parameters
    ----------
    file
        The checkpoint.

    Returns
    -------
    Tensors by their names, views of the file.

    Raises
    ------
    FormatError
        It is no such file, holds anything but tensors, or says that they are larger than it is.
    """
    _check_archive(file)
    try:
        content = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a file that was made to harm makes torch raise
        reason = str(error).strip().split("\n")[0][:200]
        msg = f"{str(file)!r} holds something else than tensors, or is damaged, and was not read ({reason})."
        raise FormatError(msg) from error
    tensors = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or set(content) != {"state_dict"}:
        found = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        msg = f"{str(file)!r} must hold one entry, 'state_dict'; found {found}."
        raise FormatError(msg)
    size = file.stat().st_size
    for name, tensor in tensors.items():
        size -= _checked_bytes(file, name, tensor, size)
    return tensors


def _check_archive(file: Path) -> None:
    if not file.is_file():
        msg = f"{str(file.parent)!r} is not a whole SCimilarity model: it has no file {file.name!r}."
        raise FormatError(msg)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        msg = f"{str(file)!r} is truncated, or not what torch.save writes since version 1.6 ({error})."
        raise FormatError(msg) from error
    size = file.stat().st_size
    deflated = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    pickled = sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))
    if deflated or len(entries) > _MOST_ENTRIES or sum(entry.file_size for entry in entries) > size:
        msg = f"{str(file)!r} has {len(entries)} entries that claim more bytes than its {size:,}, or are compressed."
        raise FormatError(msg)
    if pickled > _MOST_PICKLED:
        msg = f"{str(file)!r} needs {pickled:,} bytes to say where its tensors are; more than {_MOST_PICKLED:,}."
        raise FormatError(msg)


def _checked_bytes(file: Path, name: object, tensor: object, most: int) -> int:
    """Return how many bytes a tensor takes."""
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        msg = f"{str(file)!r}: {name!r} is {type(tensor).__name__}, expected a tensor."
        raise FormatError(msg)
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    # One of stride 0, and several of the same bytes, are small in the file and large once they are copied.
    n_bytes = tensor.numel() * tensor.element_size()
    if not plain or n_bytes > most:
        msg = f"{str(file)!r}: {name!r} ({tensor.dtype}, {tuple(tensor.shape)}) is not a plain tensor of this file."
        raise FormatError(msg)
    return n_bytes
