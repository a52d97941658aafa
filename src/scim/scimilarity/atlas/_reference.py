"""The labelled cells of a published folder, and which cells of its search index they are."""

from __future__ import annotations

import csv
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core.errors import FormatError
from scim._core.log import progress
from scim.scimilarity.atlas._hnsw import HnswFile
from scim.scimilarity.atlas._kernels import claim

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_KNN, _LABELS = "labelled_kNN.bin", "reference_labels.tsv"
_ROWS = 1 << 18
_TOLERANCE = 5e-7
"""The same vector, scaled to length 1 once or twice in float32, moves by less. Numbers that spread over 0.3 are as near
by chance in one of 3e5 pairs, all three in one of 3e16: of 8 million cells and 23 million, less than one in a hundred
times."""

_MOST_NAMES = 65_536


class Reference:
    """The cells of `annotation`.

    Its vectors were taken from the search index, but nothing says from which rows: they are found again by their
    values, each by its product with three random vectors.

    Parameters
    ----------
    folder
        `annotation`.
    dim
        Length of an embedding.

    Attributes
    ----------
    names
        Published names of the labels.
    codes
        (n_lines,) int32: which of them each line of `reference_labels.tsv` has.
    studies
        Names of the studies, if the lines have them.
    n
        Number of cells, deleted ones left out.

    Raises
    ------
    FormatError
        A file is missing, damaged, or they do not agree.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        file = folder / _KNN
        if not file.is_file():
            msg = f"{str(folder)!r} has no file {_KNN!r}."
            raise FormatError(msg)
        self.codes, self.names, self.study_codes, self.studies = _read_lines(folder / _LABELS)
        self._index = HnswFile(file, dim)
        self._places = self._index.places(len(self.codes))
        lines = np.flatnonzero(self._places >= 0).astype(np.int32)
        self.n = len(lines)
        numbers = np.empty((self.n, 3), dtype=np.float32)
        for start in progress(range(0, self.n, _ROWS), desc="labelled cells", unit="block"):
            numbers[start : start + _ROWS] = _products(self.vectors(lines[start : start + _ROWS]))
        order = np.argsort(numbers[:, 0], kind="stable")
        self._lines, self._numbers = lines[order], numbers[order]
        self._next_free = np.arange(self.n + 1)
        self._study_of_line = self.study_codes[self._lines]

    def has(self, line: int) -> bool:
        """Say whether there is a cell of a line."""
        return line < len(self._places) and self._places[line] >= 0

    def vectors(self, lines: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the embeddings of lines, float32, shape (n, dim)."""
        return self._index.vectors(self._places[lines])

    def claim(self, vectors: NDArray[np.float32], studies: pd.Series, may: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Find the lines of cells of the search index; each line is given once.

        Parameters
        ----------
        vectors
            (n, dim) their embeddings.
        studies
            (n,) the names of their studies, categorical.
        may
            (n,) which cells may have a line.

        Returns
        -------
        int64, shape (n,): the line, -1 = none.
        """
        known = {name: code for code, name in enumerate(self.studies)}
        theirs = np.array([known.get(name, -1) for name in studies.cat.categories] + [-1], dtype=np.int32)
        out = np.empty(len(vectors), dtype=np.int64)
        groups, asked = theirs[studies.cat.codes.to_numpy()], _products(vectors)
        claim(self._numbers, self._study_of_line, self._next_free, asked, groups, may, _TOLERANCE, out)
        lines: NDArray[np.int64] = np.where(out >= 0, self._lines[out], -1)
        return lines

    def take(self, lines: NDArray[np.int64]) -> None:
        """Mark lines as given.

        Raises
        ------
        FormatError
            There is no cell of one of them.
        """
        place = np.full(len(self.codes), -1, dtype=np.int64)
        place[self._lines] = np.arange(self.n)
        taken = place[lines]
        if (taken < 0).any():
            msg = f"The annotation has no cells of lines {lines[taken < 0][:3].tolist()}, which the atlas says it has."
            raise FormatError(msg)
        self._next_free[taken] = taken + 1

    def left(self) -> NDArray[np.int64]:
        """Return the lines that were not given, ascending."""
        free = self._next_free[:-1] == np.arange(self.n)
        return np.sort(self._lines[free]).astype(np.int64)


def _products(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the product of each vector, scaled to length 1, with three random ones; float32, shape (n, 3)."""
    directions = np.random.default_rng(0).normal(size=(vectors.shape[1], 3))
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    products: NDArray[np.float64] = exact @ directions
    np.divide(products, length, out=products, where=length > 0)
    return products.astype(np.float32)


def _read_lines(file: Path) -> tuple[NDArray[np.int32], list[str], NDArray[np.int32], list[str]]:
    """Return the label of each line, and its study if the lines have a second column, as codes and their names."""
    if not file.is_file():
        msg = f"{str(file.parent)!r} has no file {file.name!r}."
        raise FormatError(msg)
    how: dict[str, Any] = {"sep": "\t", "header": None, "names": ["label", "study"], "dtype": str}
    how |= {"quoting": csv.QUOTE_NONE, "keep_default_na": False, "skip_blank_lines": False}
    labels, studies = _Codes(file), _Codes(file)
    try:
        with warnings.catch_warnings(), pd.read_csv(file, chunksize=_ROWS, index_col=False, **how) as chunks:
            warnings.simplefilter("error", pd.errors.ParserWarning)  # columns beyond the second
            for chunk in chunks:
                labels.add(chunk["label"])
                studies.add(chunk["study"].fillna(""))
    except pd.errors.EmptyDataError:
        pass
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        msg = f"{str(file)!r} must have a label and a study in each line, or a label alone ({error})."
        raise FormatError(msg) from error
    return labels.codes(), labels.names, studies.codes(), studies.names


class _Codes:
    """Values of a long column, as codes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: dict[str, int] = {}
        self._parts: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)]

    @property
    def names(self) -> list[str]:
        return list(self._known)

    def add(self, values: pd.Series) -> None:
        codes, names = pd.factorize(values)
        of = np.array([self._known.setdefault(str(name), len(self._known)) for name in names], dtype=np.int32)
        if len(self._known) > _MOST_NAMES:
            msg = f"{str(self.file)!r} has more than {_MOST_NAMES:,} labels or studies; these are no types of cells."
            raise FormatError(msg)
        self._parts.append(of[codes])

    def codes(self) -> NDArray[np.int32]:
        return np.concatenate(self._parts)
