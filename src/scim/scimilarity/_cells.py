"""All cells of a published folder as rows of an atlas: those of its search index, then the other labelled cells."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import FormatError, keys, logger
from scim._core.no_label import read_names
from scim.atlas._source import Source
from scim.scimilarity._metadata import STUDY, PublishedMetadata
from scim.scimilarity._reference import Reference
from scim.scimilarity._tiledb import TileArray, open_reader
from scim.scimilarity._vectors import open_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.scimilarity._vectors import Vectors

STEP = 1 << 17  # positions that are read together: 64 MB of embeddings at 128 dimensions
_ANNOTATION, _SEARCH, _METADATA = "annotation", "cellsearch", "cell_metadata"
_UNKNOWN_STUDY = "unknown"


class PublishedCells:
    """The cells of a folder, at positions 0 ... `n - 1`.

    Row i of the metadata has position i; from the next multiple of `STEP` on follow the lines of the labelled cells, of
    which those without a row become cells.
    """

    def __init__(
        self, folder: Path, metadata: PublishedMetadata | None, vectors: Vectors | None, reference: Reference | None
    ) -> None:
        self.folder, self._metadata, self._vectors, self._reference = folder, metadata, vectors, reference
        n_rows, n_lines = 0 if metadata is None else metadata.n, 0 if reference is None else len(reference.codes)
        self._first_line = -(-n_rows // STEP) * STEP
        self.n = self._first_line + n_lines if n_lines else n_rows
        self._mtimes = [file.stat().st_mtime_ns for file in sorted(folder.rglob("*.bin")) if file.is_file()]
        self._published = [] if reference is None else [name or None for name in reference.names]
        self._names: list[str | None] = ontology.standardize(pd.Series(self._published, dtype=object)).tolist()
        labels = [None if name is None else x for x, name in zip(self._published, self._names, strict=True)]
        self._terms = [None if name is None else ontology.term_id(name) for name in self._names]
        unmapped = [x for x, term in zip(labels, self._terms, strict=True) if x is not None and term is None]
        if unmapped:
            logger.info("%d labels are not in the Cell Ontology and stay as they are: %s", len(unmapped), unmapped)

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, dim: int, *, columns: Sequence[str] | None, scratch: Path) -> Iterator[Self]:
        """Open the files of a folder and check that they agree; `scratch` has room for a copy of the embeddings."""
        reference = Reference(folder / _ANNOTATION, dim) if (folder / _ANNOTATION).is_dir() else None
        with contextlib.ExitStack() as stack:
            metadata = vectors = None
            if (folder / _SEARCH).is_dir():
                reader = stack.enter_context(open_reader())
                array = TileArray(reader, folder / _SEARCH / _METADATA)
                # Vectors first: a data frame that claims more rows than they have is not scanned.
                opening = open_vectors(reader, folder / _SEARCH, array.n_rows, dim, scratch)
                vectors = stack.enter_context(opening)
                metadata = PublishedMetadata(array, columns)
            elif reference is None:
                msg = f"{str(folder)!r} has a model but no cells: neither {_ANNOTATION!r} nor {_SEARCH!r} is a folder."
                raise FormatError(msg)
            yield cls(folder, metadata, vectors, reference)

    @property
    def columns(self) -> set[str]:
        """Names of all columns of the atlas."""
        return {*keys.ATLAS_COLUMNS, *keys.REFERENCE_COLUMNS, *(self._metadata.columns if self._metadata else ())}

    @property
    def labels(self) -> set[str]:
        """Published labels of the labelled cells; words for no label are none."""
        return {x for x, name in zip(self._published, self._names, strict=True) if x is not None and name is not None}

    def source(self, start: int) -> Source | None:
        """Return the cells of the `STEP` positions from `start` on, or `None`; to be called once a step, in order."""
        source = self._rows(start) if start < self._first_line else self._lines(start - self._first_line)
        return source if source.n_obs else None

    def find(self, n: int, line: int | None, embedding: NDArray[np.float32]) -> int | None:
        """Return the position of the `n`-th cell, which has a line or none; `None` if its embedding is another."""
        rows = np.empty(0, dtype=np.int64) if self._vectors is None else np.flatnonzero(self._vectors.present)
        if self._vectors is not None and n < len(rows):
            position, vector = int(rows[n]), self._vectors.read(rows[n : n + 1])[0]
        elif line is not None and self._reference is not None and self._reference.has(line):
            position, vector = self._first_line + line, self._reference.vectors(np.array([line]))[0]
        else:
            return None
        unit = vector / (np.linalg.norm(vector) or 1)
        return position if bool(np.abs(embedding - unit).max() < 1e-6) else None

    def mark_imported(self, lines: NDArray[np.int64]) -> None:
        """Exclude lines of labelled cells that are in the atlas already."""
        if self._reference is not None:
            self._reference.mark_matched(lines)

    def _rows(self, start: int) -> Source:
        assert self._metadata is not None
        assert self._vectors is not None
        stop = min(start + STEP, self._metadata.n)
        present = self._vectors.present[start:stop]
        frame, rows = self._metadata.read(start, stop)[present], start + np.flatnonzero(present)
        vectors = self._vectors.read(rows)
        lines = np.full(len(rows), -1, dtype=np.int64)
        if self._reference is not None:
            eligible = np.ones(len(rows), dtype=np.bool_)
            if self._metadata.n_train == self._reference.n:  # then copies of the cells that were trained on are not
                eligible = self._metadata.is_train(start, stop)[present]
            lines = self._reference.match(vectors, frame[STUDY], eligible)
        obs = self._obs([str(row) for row in rows], frame[STUDY], lines, in_search=True)
        for name in self._metadata.columns:
            obs[name] = frame[name].array
        return Source(obs, None, vectors, self._token(start))

    def _lines(self, start: int) -> Source:
        assert self._reference is not None
        left = self._reference.unmatched()
        lines = left[(left >= start) & (left < start + STEP)]
        if start == 0 and len(left):
            logger.info("%d of %d labelled cells are not in %s and follow", len(left), self._reference.n, _SEARCH)
        study_names = [name or None for name in self._reference.studies]
        studies = pd.Series(_categorical(self._reference.study_codes[lines], study_names))
        obs = self._obs([f"{_ANNOTATION}-{line}" for line in lines], studies, lines, in_search=False)
        return Source(obs, None, self._reference.vectors(lines), self._token(self._first_line + start))

    def _obs(self, names: list[str], studies: pd.Series, lines: NDArray[np.int64], *, in_search: bool) -> pd.DataFrame:
        """Return the columns that do not come from the metadata."""
        labelled = lines >= 0
        studies = pd.Series(read_names(studies).values)
        if _UNKNOWN_STUDY not in studies.cat.categories:
            studies = studies.cat.add_categories([_UNKNOWN_STUDY])
        codes = np.full(len(lines), -1, dtype=np.int32)
        if self._reference is not None:
            codes[labelled] = self._reference.codes[lines[labelled]]
        columns = {
            keys.ATLAS_CELL_ID: np.array(names, dtype=object),
            keys.ATLAS_STUDY: studies.fillna(_UNKNOWN_STUDY).array,
            keys.ATLAS_LABEL: _categorical(codes, self._names),
            keys.ATLAS_LABEL_ID: _categorical(codes, self._terms),
            keys.REFERENCE_LABEL: _categorical(codes, self._published),
            keys.IN_ANNOTATION: labelled,
            keys.IN_SEARCH: in_search,
            keys.ANNOTATION_INDEX: pd.arrays.IntegerArray(np.where(labelled, lines, 0), ~labelled),
        }
        return pd.DataFrame(columns)

    def _token(self, start: int) -> str:
        """Return the resume token of a step."""
        columns = [] if self._metadata is None else list(self._metadata.columns)
        return f"scimilarity {self.folder.resolve()} {self._mtimes} {columns} {start}"


def _categorical(codes: NDArray[np.int32], values: Sequence[str | None]) -> pd.Categorical:
    """Return the value of each code, -1 = missing; several codes may have the same value."""
    categories = pd.Index([value for value in dict.fromkeys(values) if value is not None], dtype=object)
    # The last entry is that of code -1.
    new_codes = np.append(categories.get_indexer(pd.Index([*values], dtype=object)), -1)
    return pd.Categorical.from_codes(new_codes[codes], categories=categories)
