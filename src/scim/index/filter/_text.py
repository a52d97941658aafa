"""Texts as two arrays, which npy files keep without pickle."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim._core.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ENCODING = ("utf-8", "surrogatepass")  # h5ad files may hold half characters, and text is to come back as it went


class PackedText(NamedTuple):
    """Texts one behind the other."""

    text: NDArray[np.uint8]
    """(n_bytes,) all of them in UTF-8."""

    offsets: NDArray[np.int64]
    """(n_texts + 1,) where each begins; the last is `n_bytes`."""


def pack(values: NDArray[np.object_]) -> PackedText:
    """Return texts as arrays."""
    encoded = [value.encode(*_ENCODING) for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in encoded], out=offsets[1:])
    return PackedText(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)


def unpack(packed: PackedText) -> NDArray[np.object_]:
    """Return the texts.

    Raises
    ------
    FormatError
        The offsets do not ascend from 0 to the number of bytes, or the bytes are no UTF-8.
    """
    blob, offsets = packed.text.tobytes(), packed.offsets.tolist()
    values = np.empty(len(offsets) - 1, dtype=object)
    try:
        if offsets[0] != 0 or offsets[-1] != len(blob) or (np.diff(packed.offsets) < 0).any():
            msg = f"expected offsets that ascend from 0 to {len(blob)}"
            raise ValueError(msg)  # noqa: TRY301  (both kinds of damage get the same message)
        values[:] = [blob[start:stop].decode(*_ENCODING) for start, stop in itertools.pairwise(offsets)]
    except ValueError as error:
        msg = f"A text column is damaged: {error}."
        raise FormatError(msg) from error
    return values
