"""Vectors and labels of hnswlib index files, read as bytes.

The layout is that of hnswlib 0.8 (`saveIndex`), little endian: 96 bytes of header, then for each element the number of
its links, its flags, its links, its vector and its label, then the upper levels of the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim._core.numba import njit
from scim.io import check_regular, map_records, release_pages

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HEADER = np.dtype(
    [
        ("offset_level0", "<u8"), ("max_elements", "<u8"), ("count", "<u8"), ("record_bytes", "<u8"),
        ("label_offset", "<u8"), ("vector_offset", "<u8"), ("max_level", "<i4"), ("entry", "<u4"), ("max_links", "<u8"),
        ("max_links0", "<u8"), ("m", "<u8"), ("mult", "<f8"), ("ef_construction", "<u8"),
    ]
)  # fmt: skip
_DELETED = 1  # bit of an element's flags
_LABEL_CHUNK, _VECTOR_CHUNK = 1 << 18, 1 << 13
_MAX_ELEMENTS = 1 << 31
_MAX_RECORD_BYTES = 1 << 24  # 1,164 in the published index


class HnswFile:
    """The elements of an index file by position; any other file, or another `dim`, raises FormatError."""

    def __init__(self, file: Path, dim: int) -> None:
        self.file, self.dim = file, dim
        header = _read_header(file, dim)
        self.n = int(header["count"])
        record = np.dtype(
            {
                "names": ["flags", "vector", "label"],
                "formats": ["u1", ("<f4", (dim,)), "<u8"],
                "offsets": [2, int(header["vector_offset"]), int(header["label_offset"])],
                "itemsize": int(header["record_bytes"]),
            }
        )
        self._records: NDArray[np.void] = map_records(file, record, self.n, _HEADER.itemsize)
        self._check_end(int(header["max_links"]))

    def _check_end(self, max_links: int) -> None:
        """Raise FormatError unless the upper links, of which each element has a number and then so many, end the file.

        Another number of elements, or of bytes of an element, would not lead to the end.
        """
        start = _HEADER.itemsize + self.n * self._records.itemsize
        n_words, rest = divmod(check_regular(self.file, links=True) - start, 4)
        words = map_records(self.file, np.dtype("<u4"), n_words, start)
        n_read = count_words(words, self.n, 4 * (max_links + 1))
        release_pages(words)
        if rest or n_read != n_words:
            msg = f"{str(self.file)!r} is damaged: the links of its {self.n:,} elements do not end where the file does."
            raise FormatError(msg)

    def positions(self, n_labels: int) -> NDArray[np.int32]:
        """Return the position of the element of each label 0 ... `n_labels - 1`, int32; -1 = none, or deleted."""
        out = np.full(n_labels, -1, dtype=np.int32)
        seen = np.zeros(n_labels, dtype=np.bool_)
        for start in range(0, self.n, _LABEL_CHUNK):
            records = self._records[start : start + _LABEL_CHUNK]
            labels, deleted = records["label"].copy(), (records["flags"] & _DELETED) != 0
            release_pages(self._records)
            if labels.max() >= n_labels:
                msg = f"{str(self.file)!r} has an element {labels.max()}, but there are {n_labels:,} cells."
                raise FormatError(msg)
            if seen[labels].any() or len(np.unique(labels)) < len(labels):
                msg = f"{str(self.file)!r} has two elements of one cell; it is damaged."
                raise FormatError(msg)
            seen[labels] = True
            out[labels[~deleted]] = np.arange(start, start + len(labels), dtype=np.int32)[~deleted]
        return out

    def vectors(self, positions: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the vectors at positions, float32, shape (n_positions, dim)."""
        out = np.empty((len(positions), self.dim), dtype=np.float32)
        order = np.argsort(positions, kind="stable")
        for start in range(0, len(order), _VECTOR_CHUNK):  # pages read ahead count as memory until released
            chunk = order[start : start + _VECTOR_CHUNK]
            out[chunk] = self._records["vector"][positions[chunk]]
            release_pages(self._records)
        return out


def _read_header(file: Path, dim: int) -> np.void:
    size = check_regular(file, links=True)
    if size < _HEADER.itemsize:
        msg = f"{str(file)!r} has {size} bytes, fewer than the header of an hnswlib index; it is truncated."
        raise FormatError(msg)
    header: np.void = map_records(file, _HEADER, 1)[0]
    links, vector, label = (int(header[name]) for name in ("max_links0", "vector_offset", "label_offset"))
    count, record = int(header["count"]), int(header["record_bytes"])
    contiguous = vector == 4 + 4 * links and record == label + 8 and label >= vector
    too_many = count > min(int(header["max_elements"]), _MAX_ELEMENTS)
    if header["offset_level0"] != 0 or not contiguous or record > _MAX_RECORD_BYTES or too_many:
        msg = f"{str(file)!r} is not an index of hnswlib, or is damaged: its header is {header}."
        raise FormatError(msg)
    if label - vector != 4 * dim:
        msg = f"{str(file)!r} has vectors of {(label - vector) / 4:g} dimensions; expected the {dim} of the model."
        raise FormatError(msg)
    needed = _HEADER.itemsize + count * (record + 4)  # an element has at least the length of its upper links
    if size < needed:
        msg = f"{str(file)!r} is truncated: {count:,} elements need {needed:,} bytes, it has {size:,}."
        raise FormatError(msg)
    return header


@njit
def count_words(words: Any, n: int, level_bytes: int) -> int:
    """Return how many words the links of `n` elements take; -1 if a length is no multiple of that of one level."""
    at = 0
    for _ in range(n):
        if at >= words.shape[0] or words[at] % level_bytes:
            return -1
        at += 1 + words[at] // 4
    return at
