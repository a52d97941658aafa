"""Metadata, embeddings and samples of the cells that `CellQuery` searches."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import check_names, keys, refuse_absent
from scim.scimilarity._metadata import INDEX, AtlasMetadata
from scim.scimilarity._search import CellSearchKNN, Numbering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_SAMPLE = ["study", "sample"]
_SAMPLE_AND_TYPE = [*_SAMPLE, "data_type"]


class CellSearch(CellSearchKNN):
    """The cells of `cellsearch`, numbered as the rows of the published metadata."""

    _where = keys.IN_SEARCH
    _always_thorough = True  # queries are few

    @cached_property
    def cell_metadata(self) -> pd.DataFrame:
        """Metadata of all cells by number, `index` first, text as categories; read at first use."""
        ids = self._numbering.ids
        numbers = self._numbering.numbers_of(ids)
        frame = self._metadata.categories(ids, list(self._metadata.columns))
        frame.insert(0, INDEX, self._metadata.index(ids, numbers))
        return frame.set_axis(numbers, axis=0).sort_index()

    @cached_property
    def study_sample_index(self) -> pd.Series[int]:
        """First `index` of each study, sample and data type."""
        ids = self._numbering.ids
        index = self._metadata.index(ids, self._numbering.numbers_of(ids))
        frame = self._metadata.categories(ids, _SAMPLE_AND_TYPE).assign(index=index)
        return frame.groupby(_SAMPLE_AND_TYPE, observed=True, dropna=False)[INDEX].min().sort_values()

    def get_precomputed_embeddings(self, idx: slice | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the embeddings of cells, float32, shape (n, dim), as the index keeps them: to some 1e-6.

        `atlas.embeddings` reads the published ones, which takes longer.

        Parameters
        ----------
        idx
            Numbers of cells, in any order, or a slice. A number without a cell raises KeyError.
        """
        if isinstance(idx, slice):
            idx = np.sort(self._numbering.numbers_of(self._numbering.ids))[idx]
        return self.knn.vectors(self._numbering.ids_of(idx))

    def annotate_cell_index(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Write `cell_index`, the number of each cell within its sample, into a frame of metadata, and return it.

        Parameters
        ----------
        metadata
            Frame with the columns `study`, `sample`, `data_type` and `index`. A missing column, or a sample that is not
            in the atlas, raises KeyError.
        """
        refuse_absent([*_SAMPLE_AND_TYPE, INDEX], list(metadata.columns), of="metadata")
        first = self.study_sample_index.reset_index(name="first").astype(dict.fromkeys(_SAMPLE_AND_TYPE, object))
        samples = metadata[_SAMPLE_AND_TYPE].astype(object)
        start = samples.merge(first, on=_SAMPLE_AND_TYPE, how="left")["first"].to_numpy()
        if pd.isna(start).any():
            unknown = metadata.loc[pd.isna(start), _SAMPLE_AND_TYPE].iloc[0].tolist()
            msg = f"The atlas has no sample {unknown} (study, sample, data type); expected rows of cell_metadata."
            raise KeyError(msg)
        metadata["cell_index"] = metadata[INDEX].to_numpy() - start.astype(np.int64)
        return metadata

    def compile_sample_metadata(
        self, nn_idxs: Iterable[NDArray[np.int64]], levels: Sequence[str] = ("study", "sample", "tissue", "disease")
    ) -> pd.DataFrame:
        """Count the hits of each query by sample.

        Parameters
        ----------
        nn_idxs
            Numbers of the hits of at least one query, as the searches return them.
        levels
            Columns of the metadata; hits are counted by their values. One that does not exist raises KeyError.

        Returns
        -------
        Frame with a row for each query and combination of values, also of missing ones: the levels, `cells`, and, if
        `study` and `sample` are among them, `total`, the number of cells of the sample, and `fraction` = cells / total.
        """
        names = check_names("levels", levels)
        parts = []
        for hits in nn_idxs:
            ids = self._numbering.ids_of(np.asarray(hits)[np.asarray(hits) >= 0])
            values = self._metadata.categories(ids, names).astype(object)
            parts.append(values.groupby(names, observed=True, dropna=False).size().reset_index(name="cells"))
        if not parts:
            msg = "Expected the hits of at least one query, got none."
            raise ValueError(msg)
        counted = pd.concat(parts, ignore_index=True)
        if not set(_SAMPLE) <= set(names):
            return counted
        total = counted[_SAMPLE].astype(object).merge(self._sample_sizes, on=_SAMPLE, how="left")["total"].to_numpy()
        return counted.assign(fraction=counted["cells"] / total, total=total)

    @cached_property
    def _sample_sizes(self) -> pd.DataFrame:
        """The number of cells of each sample: `study`, `sample`, `total`."""
        frame = self._metadata.categories(self._numbering.ids, _SAMPLE)
        sizes = frame.groupby(_SAMPLE, observed=True, dropna=False, sort=False).size().reset_index(name="total")
        return sizes.astype(dict.fromkeys(_SAMPLE, object))

    @cached_property
    def _metadata(self) -> AtlasMetadata:
        return AtlasMetadata(self._atlas)

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering.of_cellsearch(self._atlas)
