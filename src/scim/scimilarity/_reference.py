"""Labelled cells of a published folder, and the cells of its search index that are the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from scim._core import FormatError, error_text, progress, warn
from scim._core.numba import njit
from scim.io import open_file
from scim.scimilarity._hnsw import HnswFile
from scim.scimilarity._vectors import checked_units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_KNN, _LABELS = "labelled_kNN.bin", "reference_labels.tsv"
_CHUNK = 1 << 18
# Scaling to length 1 twice in float32 moves a vector by less; chance matches of 8 and 23 million cells: below 1 %.
_TOLERANCE = 5e-7
_MAX_NAMES, _MAX_LINE = 65_536, 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_TRIES = 10_000  # as many vectors of almost the same numbers are copies of one cell


class Reference:
    """The cells of `annotation`: for each line of `reference_labels.tsv` the codes of its label and its study.

    Its vectors were taken from the search index, but their rows are not recorded: they are matched by value, by the
    products of each vector with three random ones. `n` is the number of cells, without deleted ones.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        for name in (_KNN, _LABELS):
            if not (folder / name).exists():
                msg = f"{str(folder)!r} has no file {name!r}."
                raise FormatError(msg)
        self.codes, self.names, self.study_codes, self.studies = _read_lines(folder / _LABELS)
        self._index = HnswFile(folder / _KNN, dim)
        self._positions = self._index.positions(len(self.codes))
        if self._index.n != len(self.codes):
            msg = f"{str(folder / _LABELS)!r} has {len(self.codes):,} lines for {self._index.n:,} cells: lines may be "
            msg += "missing or too many, and labels in the wrong place."
            warn(msg)
        lines = np.flatnonzero(self._positions >= 0).astype(np.int32)
        self.n = len(lines)
        products = np.empty((self.n, 3), dtype=np.float32)
        for start in progress(range(0, self.n, _CHUNK), desc="labelled cells", unit="block"):
            products[start : start + _CHUNK] = _products(self.vectors(lines[start : start + _CHUNK]))
        order = np.argsort(products[:, 0], kind="stable")
        self._lines, self._products = lines[order], products[order]
        self._next_free = np.arange(self.n + 1)

    def has(self, line: int) -> bool:
        """Return whether a line has a cell."""
        return line < len(self._positions) and self._positions[line] >= 0

    def vectors(self, lines: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the embeddings of lines, float32, shape (n, dim)."""
        return checked_units(self._index.vectors(self._positions[lines]), self._index.file)

    def match(self, vectors: NDArray[np.float32], studies: pd.Series, eligible: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the line of each eligible cell of the search index, int64, -1 = none; a line is matched once.

        The cells have `vectors`, (n, dim), and categorical `studies`.
        """
        codes = np.append(pd.Index(self.studies).get_indexer(studies.cat.categories), -1).astype(np.int32)
        groups, reference_groups = codes[studies.cat.codes.to_numpy()], self.study_codes[self._lines]
        out = np.empty(len(vectors), dtype=np.int64)
        queries = _products(vectors)
        match_once(self._products, reference_groups, self._next_free, queries, groups, eligible, _TOLERANCE, out)
        return np.where(out >= 0, self._lines[out], -1).astype(np.int64)

    def mark_matched(self, lines: NDArray[np.int64]) -> None:
        """Exclude lines from further matches."""
        position = np.full(len(self.codes), -1, dtype=np.int64)
        position[self._lines] = np.arange(self.n)
        matched = position[lines]
        if (matched < 0).any():
            msg = f"The annotation has no cells of lines {lines[matched < 0][:3].tolist()}, which the atlas has."
            raise FormatError(msg)
        self._next_free[matched] = matched + 1

    def unmatched(self) -> NDArray[np.int64]:
        """Return the lines without a match, ascending."""
        free = self._next_free[:-1] == np.arange(self.n)
        return np.sort(self._lines[free]).astype(np.int64)


@njit
def match_once(
    reference: Any, reference_groups: Any, next_free: Any, queries: Any, groups: Any, eligible: Any,
    tolerance: float, out: Any,
) -> None:  # fmt: skip
    """Match each eligible query with a reference row that is as near as `tolerance` and not matched yet.

    `reference`, (m, 3), ascends by the first column; each of the three may differ by `tolerance` from the `queries`,
    (n, 3). A row of the same group is preferred. `next_free`, (m + 1,), has the first row at or behind each that is
    known to be unmatched, and is changed. `out`, (n,) int64, becomes the matched row, -1 = none.
    """
    m = reference.shape[0]
    for i in range(queries.shape[0]):
        out[i] = -1
        if not eligible[i]:
            continue
        low, high = queries[i, 0] - tolerance, queries[i, 0] + tolerance
        best = -1
        row = _first_free(next_free, np.searchsorted(reference[:, 0], low))
        for _ in range(_MAX_TRIES):
            if row >= m or reference[row, 0] > high:
                break
            near = abs(reference[row, 1] - queries[i, 1]) <= tolerance
            if near and abs(reference[row, 2] - queries[i, 2]) <= tolerance:
                if reference_groups[row] == groups[i]:
                    best = row
                    break
                if best < 0:
                    best = row
            row = _first_free(next_free, row + 1)
        if best >= 0:
            next_free[best] = best + 1
            out[i] = best


@njit
def _first_free(next_free: Any, row: int) -> int:
    """Return the first unmatched row from `row` on, and shorten the path to it."""
    end = row
    while next_free[end] != end:
        end = next_free[end]
    while next_free[row] != end:
        following = next_free[row]
        next_free[row] = end
        row = following
    return end


def _products(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the products of vectors, scaled to length 1, with three random ones; float32, shape (n, 3)."""
    directions = np.random.default_rng(0).normal(size=(vectors.shape[1], 3))
    exact = vectors.astype(np.float64)
    products: NDArray[np.float64] = exact @ directions
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    np.divide(products, length, out=products, where=length > 0)
    return products.astype(np.float32)


def _read_lines(file: Path) -> tuple[NDArray[np.int32], list[str], NDArray[np.int32], list[str]]:
    """Return the label of each line, and its study if the lines have a second column, as codes and their names."""
    different: dict[bytes, int] = {}
    with open_file(file, links=True) as lines:
        rows = np.fromiter(_encode(lines, different, file), dtype=np.int32)
    labels: dict[str, int] = {}
    studies: dict[str, int] = {}
    codes = np.zeros((2, len(different)), dtype=np.int32)
    for line, code in different.items():
        label, study = _split(line, file)
        codes[:, code] = labels.setdefault(label, len(labels)), studies.setdefault(study, len(studies))
    return codes[0, rows], [*labels], codes[1, rows], [*studies]


def _encode(lines: BinaryIO, different: dict[bytes, int], file: Path) -> Iterator[int]:
    """Yield the code of each line; new lines are added to `different`."""
    while line := lines.readline(_MAX_LINE + 1):
        yield different.setdefault(line.rstrip(b"\r\n"), len(different))
        if len(different) > _MAX_NAMES or len(line) > _MAX_LINE:
            msg = f"{str(file)!r} has more than {_MAX_NAMES:,} labels or studies, or one of more than {_MAX_LINE:,} "
            msg += "bytes; these are no types of cells."
            raise FormatError(msg)


def _split(line: bytes, file: Path) -> tuple[str, str]:
    try:
        label, _, study = line.decode("utf-8-sig").partition("\t")
    except UnicodeDecodeError as error:
        msg = f"{str(file)!r} is not text in UTF-8 ({error_text(error)})."
        raise FormatError(msg) from error
    if _CONTROL.search(label + study):
        msg = f"{str(file)!r} must have a label and a study in each line, or a label alone, got {line[:200]!r}."
        raise FormatError(msg)
    return label, study
