"""What is known of the cells that `CellQuery` searches: metadata, embeddings, samples."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import refuse_absent
from scim.scimilarity.classes._metadata import INDEX, Metadata
from scim.scimilarity.classes._numbering import Numbering
from scim.scimilarity.classes._samples import sample_sizes, sample_summary
from scim.scimilarity.classes._search import CellSearchKNN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_SAMPLE = ["study", "sample", "data_type"]

LEVELS = ("study", "sample", "tissue", "disease")


class CellSearch(CellSearchKNN):
    """The cells of `cellsearch`, numbered as the rows of the published metadata."""

    _always_thorough = True  # queries are few

    @cached_property
    def cell_metadata(self) -> pd.DataFrame:
        """Metadata of all cells by number, `index` first, text as categories; read when it is first asked for."""
        ids = self._numbering.ids
        numbers = self._numbering.numbers_of(ids)
        frame = self._metadata.categories(ids, list(self._metadata.columns))
        frame.insert(0, INDEX, self._metadata.index_of(ids, numbers))
        return frame.set_axis(numbers, axis=0).sort_index()

    @cached_property
    def study_sample_index(self) -> pd.Series[int]:
        """First `index` of each study, sample and data type."""
        ids = self._numbering.ids
        index = self._metadata.index_of(ids, self._numbering.numbers_of(ids))
        frame = self._metadata.categories(ids, _SAMPLE).assign(index=index)
        return frame.groupby(_SAMPLE, observed=True, dropna=False)[INDEX].min().sort_values()

    def get_precomputed_embeddings(self, idx: slice | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the embeddings of cells, float32, shape (n, dim), as the index keeps them: to some 1e-6.

        `atlas.embeddings` reads those that were published, which takes a while.

        Parameters
        ----------
        idx
            Their numbers, in any order, or a slice.

        Raises
        ------
        KeyError
            There is no cell of that number.
        """
        if isinstance(idx, slice):
            idx = np.sort(self._numbering.numbers_of(self._numbering.ids))[idx]
        return self.knn.vectors(self._numbering.ids_of(idx))

    def annotate_cell_index(self, metadata: pd.DataFrame) -> pd.DataFrame:
        """Write `cell_index`, the number of each cell within its sample, into a frame of metadata.

        Parameters
        ----------
        metadata
            With the columns `study`, `sample`, `data_type` and `index`.

        Raises
        ------
        KeyError
            One of them is not there, or a sample is not in the atlas.
        """
        refuse_absent([*_SAMPLE, INDEX], list(metadata.columns), of="metadata")
        first = self.study_sample_index.reset_index(name="first").astype(dict.fromkeys(_SAMPLE, object))
        start = metadata[_SAMPLE].astype(object).merge(first, on=_SAMPLE, how="left")["first"].to_numpy()
        if pd.isna(start).any():
            unknown = metadata.loc[pd.isna(start), _SAMPLE].iloc[0].tolist()
            msg = f"The atlas has no sample {unknown} (study, sample, data type); expected rows of cell_metadata."
            raise KeyError(msg)
        metadata["cell_index"] = metadata[INDEX].to_numpy() - start.astype(np.int64)
        return metadata

    def compile_sample_metadata(
        self, nn_idxs: Iterable[NDArray[np.int64]], levels: Sequence[str] = LEVELS
    ) -> pd.DataFrame:
        """Count the hits of each query by sample.

        Parameters
        ----------
        nn_idxs
            Numbers of the hits of each query, as the searches return them.
        levels
            Columns of the metadata by whose values hits are counted.

        Returns
        -------
        Frame with a row for each query and combination of values: the levels, `cells`, and, if `study` and `sample` are
        among them, `fraction`, the share of the cells of the sample, and `total`, their number. Missing values are a
        value of their own.

        Raises
        ------
        KeyError
            There is no such column, or no cell of that number.
        """
        ids = [self._numbering.ids_of(np.asarray(hits)[np.asarray(hits) >= 0]) for hits in nn_idxs]
        return sample_summary(self._metadata, ids, levels, self._sample_sizes)

    @cached_property
    def _sample_sizes(self) -> pd.DataFrame:
        return sample_sizes(self._metadata, self._numbering.ids)

    def _with_metadata(
        self, ids: list[NDArray[np.int64]], distances: list[NDArray[Any]]
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[Any]], pd.DataFrame]:
        """Return hits by number, their distances, and a frame of all of them."""
        numbers = [self._numbering.numbers_of(some) for some in ids]
        frame = self._metadata.of(np.concatenate(ids), np.concatenate(numbers))
        frame["embedding_idx"] = np.repeat(np.arange(len(ids)), [len(some) for some in ids])
        frame["query_nn_dist"] = np.concatenate(distances)
        return numbers, distances, frame

    def _only(self) -> dict[str, Any]:
        return {"where": keys.IN_SEARCH}

    @cached_property
    def _metadata(self) -> Metadata:
        return Metadata(self._atlas)

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering.of_cellsearch(self._atlas)
