"""All cells of a published folder as rows of an atlas: those of its search index, then labelled ones beside them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import keys
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.atlas.source import Source
from scim.scimilarity.atlas._metadata import STUDY, Metadata
from scim.scimilarity.atlas._reference import Reference
from scim.scimilarity.atlas._tiledb import n_rows, opened_array
from scim.scimilarity.atlas._vectors import open_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.scimilarity.atlas._vectors import Vectors

STEP = 1 << 17
"""Rows that are read together: 64 MB of embeddings at 128 dimensions."""

_ANNOTATION, _SEARCH, _METADATA = "annotation", "cellsearch", "cell_metadata"
_BESIDE = "annotation-"
"""Begins the names of cells that the search index does not have."""

_NO_STUDY = "unknown"
_NO_LABEL = (*keys.NO_LABEL, "")


class Published:
    """The cells of a folder; see :meth:`open`.

    They have places: a row of the metadata is its own place, and from the next multiple of `STEP` on follow the lines
    of the labelled cells, of which those count that are no row.

    Attributes
    ----------
    n
        Number of places.
    """

    def __init__(
        self, folder: Path, metadata: Metadata | None, vectors: Vectors | None, reference: Reference | None
    ) -> None:
        self.folder, self._metadata, self._vectors, self._reference = folder, metadata, vectors, reference
        n_rows, n_lines = 0 if metadata is None else metadata.n, 0 if reference is None else len(reference.codes)
        self._first_line = -(-n_rows // STEP) * STEP
        self.n = self._first_line + n_lines if n_lines else n_rows
        self._written = [file.stat().st_mtime_ns for file in sorted(folder.rglob("*.bin")) if file.is_file()]
        labels = [] if reference is None else reference.names
        known = [None if label.lower() in _NO_LABEL else label for label in labels]
        self._names: list[str | None] = ontology.standardize(pd.Series(known, dtype=object)).tolist()
        self._terms = [None if label is None else ontology.term_id(label) for label in known]
        unmapped = [label for label, term in zip(known, self._terms, strict=True) if label is not None and term is None]
        if unmapped:
            logger.info("%d labels are not in the Cell Ontology and stay as they are: %s", len(unmapped), unmapped)

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, dim: int, *, columns: Sequence[str] | None, beside: Path) -> Iterator[Self]:
        """Open the files of a folder and check that they agree.

        Parameters
        ----------
        folder
            The published folder.
        dim
            Length of an embedding.
        columns
            Which columns of the metadata to keep; default: all.
        beside
            Where there is room for a copy of the embeddings, if one is needed.

        Raises
        ------
        FormatError
            A file is missing or damaged, or does not agree with the others.
        """
        reference = Reference(folder / _ANNOTATION, dim) if (folder / _ANNOTATION).is_dir() else None
        with contextlib.ExitStack() as stack:
            metadata = vectors = None
            if (folder / _SEARCH).is_dir():
                path = folder / _SEARCH / _METADATA
                array = stack.enter_context(opened_array(path))
                # Vectors first: a frame that claims more rows than they have is not looked through.
                vectors = stack.enter_context(open_vectors(folder / _SEARCH, n_rows(array, path), dim, beside))
                metadata = Metadata.of(path, array, columns)
            elif reference is None:
                msg = f"{str(folder)!r} has a model but no cells: neither {_ANNOTATION!r} nor {_SEARCH!r} is a folder."
                raise FormatError(msg)
            yield cls(folder, metadata, vectors, reference)

    @property
    def columns(self) -> set[str]:
        """Names of all columns that the atlas will have."""
        return {*keys.ATLAS_COLUMNS, *keys.REFERENCE_COLUMNS, *(self._metadata.columns if self._metadata else ())}

    def source(self, start: int) -> Source | None:
        """Return the cells of the `STEP` places from `start` on; `None` if there are none.

        It gives lines to rows, each once: call it once for every step, in order.
        """
        source = self._of_rows(start) if start < self._first_line else self._of_lines(start - self._first_line)
        return source if source.n_obs else None

    def place_of(self, n: int, line: int | None) -> int | None:
        """Return the place of the `n`-th cell, from 0 on, whose line is given; `None` if there is no such cell."""
        rows = np.empty(0, dtype=np.int64) if self._vectors is None else np.flatnonzero(self._vectors.present)
        if n < len(rows):
            return int(rows[n])
        known = line is not None and self._reference is not None and self._reference.has(line)
        return self._first_line + line if line is not None and known else None

    def vector(self, place: int) -> NDArray[np.float32]:
        """Return the embedding at a place, scaled to length 1, shape (dim,)."""
        if place < self._first_line:
            assert self._vectors is not None
            vector = self._vectors.read(np.array([place]))[0]
        else:
            assert self._reference is not None
            vector = self._reference.vectors(np.array([place - self._first_line]))[0]
        length = np.linalg.norm(vector)
        unit: NDArray[np.float32] = vector / (length or 1)
        return unit

    def give(self, lines: NDArray[np.int64]) -> None:
        """Say that cells with these lines are in the atlas already."""
        if self._reference is not None:
            self._reference.take(lines)

    def _of_rows(self, start: int) -> Source:
        assert self._metadata is not None
        assert self._vectors is not None
        stop = min(start + STEP, self._metadata.n)
        frame = self._metadata.read(start, stop)
        present = self._vectors.present[start:stop]
        frame, vectors = frame[present], self._vectors.read(start + np.flatnonzero(present))
        lines = np.full(len(frame), -1, dtype=np.int64)
        if self._reference is not None:
            may = np.ones(len(frame), dtype=np.bool_)
            if self._metadata.n_train == self._reference.n:  # then these are the labelled cells, and copies of them not
                may = self._metadata.train(start, stop)[present]
            lines = self._reference.claim(vectors, frame[STUDY], may)
        names = np.array([str(row) for row in start + np.flatnonzero(present)], dtype=object)
        obs = self._obs(names, frame[STUDY], lines, in_search=True)
        for name in self._metadata.columns:
            obs[name] = frame[name].array
        return Source(obs, None, vectors, self._token(start))

    def _of_lines(self, start: int) -> Source:
        assert self._reference is not None
        left = self._reference.left()
        lines = left[(left >= start) & (left < start + STEP)]
        if start == 0 and len(left):
            logger.info("%d of %d labelled cells are not in %s and follow", len(left), self._reference.n, _SEARCH)
        names = np.array([f"{_BESIDE}{line}" for line in lines], dtype=object)
        studies = pd.Series(
            _coded(self._reference.study_codes[lines], [name or None for name in self._reference.studies])
        )
        obs = self._obs(names, studies, lines, in_search=False)
        return Source(obs, None, self._reference.vectors(lines), self._token(self._first_line + start))

    def _obs(
        self, names: NDArray[np.object_], studies: pd.Series, lines: NDArray[np.int64], *, in_search: bool
    ) -> pd.DataFrame:
        """Return the columns that do not come from the metadata."""
        labelled = lines >= 0
        frame = pd.DataFrame({keys.ATLAS_CELL_ID: names})
        frame[keys.ATLAS_STUDY] = (
            studies.cat.add_categories([] if _NO_STUDY in studies.cat.categories else [_NO_STUDY])
            .fillna(_NO_STUDY)
            .array
        )
        codes = np.full(len(lines), -1, dtype=np.int32)
        if self._reference is not None:
            codes[labelled] = self._reference.codes[lines[labelled]]
        frame[keys.ATLAS_LABEL] = _coded(codes, self._names)
        frame[keys.ATLAS_LABEL_ID] = _coded(codes, self._terms)
        given = [] if self._reference is None else [name or None for name in self._reference.names]
        frame[keys.REFERENCE_LABEL] = _coded(codes, given)
        frame[keys.IN_ANNOTATION] = labelled
        frame[keys.IN_SEARCH] = in_search
        frame[keys.ANNOTATION_INDEX] = pd.array(np.where(labelled, lines, 0), dtype="Int64")
        frame.loc[~labelled, keys.ANNOTATION_INDEX] = pd.NA
        return frame

    def _token(self, start: int) -> str:
        """Say that the same step came again."""
        columns = [] if self._metadata is None else list(self._metadata.columns)
        return f"scimilarity {self.folder.resolve()} {self._written} {columns} {start}"


def _coded(codes: NDArray[np.int32], values: Sequence[str | None]) -> pd.Categorical:
    """Return the value at each code, -1 = missing; several codes may have the same value."""
    categories = pd.Index([value for value in dict.fromkeys(values) if value is not None], dtype=object)
    new = np.append(categories.get_indexer(pd.Index([*values], dtype=object)), -1)  # -1 is the place behind the last
    return pd.Categorical.from_codes(new[codes], categories=categories)
