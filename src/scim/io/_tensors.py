"""Tensors of safetensors files, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load

from scim._core import FormatError, error_text
from scim.io._open import MOST_BYTES, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_tensors(path: Path, *, most: int = 8 * MOST_BYTES) -> dict[str, NDArray[Any]]:
    """Read a safetensors file, whose header gives no more than the file has; FormatError if it is none.

    FormatError too if it has more than `most` bytes. The arrays may be read only.
    """
    try:
        return load(read_bytes(path, most=most))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:  # KeyError: a type that numpy has not
        if isinstance(error, FormatError):
            raise
        msg = f"{str(path)!r} is truncated or not a safetensors file ({error_text(error)})."
        raise FormatError(msg) from error
