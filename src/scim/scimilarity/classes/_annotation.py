"""`CellAnnotation`: the label of most of the nearest reference cells."""

from __future__ import annotations

import difflib
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim._core.checks import check_adata, check_names
from scim._core.log import progress, warn
from scim.index import Neighbors
from scim.scimilarity.classes._by_line import ByLine
from scim.scimilarity.classes._exact import exactly
from scim.scimilarity.classes._numbering import Numbering
from scim.scimilarity.classes._search import CellSearchKNN
from scim.scimilarity.classes._statistics import vote
from scim.scimilarity.classes.utils import align_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from scim.scimilarity.classes._source import ModelPath

_CHUNK = 65_536  # queries that are searched between two steps of the progress bar


class CellAnnotation(CellSearchKNN):
    """Annotate cells by the reference cells of an imported atlas.

    Parameters
    ----------
    model_path
        The atlas, made by `scim import-scimilarity`, or its open :class:`scim.atlas.Atlas`.
    use_gpu, filenames
        Accepted and not used.

    Attributes
    ----------
    safelist, blocklist
        The labels that were given last, as a set, or `None`.

    Raises
    ------
    ValueError
        `model_path` is a published folder, which has to be imported first, or another atlas.
    """

    def __init__(
        self, model_path: ModelPath, use_gpu: bool = False, filenames: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(model_path, use_gpu=use_gpu)

    @property
    def classes(self) -> set[str]:
        """The labels on which the model was trained, as they were published."""
        return set(self.label2int)

    @cached_property
    def idx2label(self) -> Mapping[int, str]:
        """Label of each reference cell, by its number; made when it is first asked for."""
        return self._by_line(*self._labels)

    @cached_property
    def idx2study(self) -> Mapping[int, str]:
        """Study of each reference cell, by its number."""
        return self._by_line(*self._coded(keys.ATLAS_STUDY))

    def _by_line(self, codes: NDArray[np.int32], names: NDArray[np.object_]) -> ByLine:
        ids = self._numbering.ids
        return ByLine(self._numbering.numbers_of(ids), codes[ids], names)

    def reset_knn(self) -> None:
        """Let all reference cells vote again."""
        self.safelist = self.blocklist = None
        self._voters = {"where": keys.IN_ANNOTATION}

    def safelist_celltypes(self, labels: Iterable[str]) -> None:
        """Let only these labels vote, in all that follows; it takes the place of an earlier list.

        Parameters
        ----------
        labels
            As in the reference. Those that it does not have are named in a warning.

        Raises
        ------
        ValueError
            The reference has none of them.
        """
        wanted = self._known("safelist_celltypes", labels)
        voters = self._of_labels(wanted)
        self.reset_knn()
        self.safelist, self._voters = wanted, voters

    def blocklist_celltypes(self, labels: Iterable[str]) -> None:
        """Let these labels not vote, in all that follows; it takes the place of an earlier list.

        Parameters
        ----------
        labels
            As in the reference. Those that it does not have are named in a warning.

        Raises
        ------
        ValueError
            No label of the reference is left, or it has none of them.
        """
        wanted = self._known("blocklist_celltypes", labels)
        present = set(self._labels[1].tolist())
        if present <= wanted:
            msg = (
                f"blocklist_celltypes leaves none of the {len(present)} labels of the reference; expected some to vote."
            )
            raise ValueError(msg)
        voters = self._of_labels(present - wanted)
        self.reset_knn()
        self.blocklist, self._voters = wanted, voters

    def get_predictions_knn(
        self,
        embeddings: ArrayLike,
        k: int = 50,
        ef: int = 100,
        weighting: bool = False,
        disable_progress: bool = False,
    ) -> tuple[pd.Series[str], NDArray[np.int64], NDArray[np.float32], pd.DataFrame]:
        """Let the nearest reference cells vote.

        Parameters
        ----------
        embeddings
            (n, dim).
        k
            Number of neighbours.
        ef
            As for :meth:`get_nearest_neighbors`.
        weighting
            Whether a neighbour at distance d weighs 1 / max(d, 1e-6) instead of 1. Of labels with equal votes that of
            the nearest neighbour wins.
        disable_progress
            Whether to show no bar.

        Returns
        -------
        predictions
            Series of labels; missing for an embedding of zeros.
        nn_idxs, nn_dists
            int64 and float32, shape (n, k): the neighbours, by number of the reference cell, and their distances.
            Where fewer may vote, the rest is -1 and inf.
        stats
            Frame with a row a cell: `hits` and `hits_weighted` (votes of every label as JSON), `min_dist` and
            `max_dist` (float32), and for both kinds of vote `vs2nd`, best / (best + second), and `vsAll`, best / all.
        """
        found, predictions, stats = self._predict(embeddings, k, ef, weighting, progressive=not disable_progress)
        return predictions, self._numbering.numbers_of(found.ids), found.distances, stats

    def annotate_dataset(self, data: AnnData) -> AnnData:
        """Write labels and embeddings into cells.

        Parameters
        ----------
        data
            Cells with log-normalised values in `X`, see `lognorm_counts`; genes are aligned on the way.

        Returns
        -------
        `data`, with `obsm["X_scimilarity"]`, `obs["celltype_hint"]` (missing for a cell without counts),
        `["min_dist"]`, `["celltype_hits"]`, `["celltype_hits_weighted"]`, `["celltype_hint_stat"]` (share of the label
        among the neighbours), `["celltype_hint_weighted_stat"]` (the same, neighbours weighted).
        """
        check_adata(data)
        embeddings = self.get_embeddings(align_dataset(data, self.gene_order).X)
        _, predictions, stats = self._predict(embeddings, 50, 100, weighting=False, progressive=True)
        data.obsm["X_scimilarity"] = embeddings
        data.obs["celltype_hint"] = predictions.to_numpy()
        names = {"min_dist": "min_dist", "celltype_hits": "hits", "celltype_hits_weighted": "hits_weighted"}
        names |= {"celltype_hint_stat": "vsAll", "celltype_hint_weighted_stat": "vsAll_weighted"}
        for column, statistic in names.items():
            data.obs[column] = stats[statistic].to_numpy()
        return data

    def _predict(
        self, embeddings: ArrayLike, k: int, ef: int, weighting: bool, *, progressive: bool
    ) -> tuple[Neighbors, pd.Series[str], pd.DataFrame]:
        X = np.atleast_2d(np.asarray(embeddings))
        starts = range(0, max(1, len(X)), _CHUNK)
        chunks = progress(starts, desc="annotate", unit="chunk") if progressive else starts
        parts = [self._nearest(X[start : start + _CHUNK], k, ef) for start in chunks]
        found = Neighbors(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        codes, names = self._labels
        labels = np.where(found.ids >= 0, codes[found.ids], -1).astype(np.int32)
        predictions, stats = vote(found, labels, names, weighting=weighting)
        return found, predictions, stats

    _voters: Mapping[str, Any] = {"where": keys.IN_ANNOTATION}
    """Arguments of a query by which only those that may vote are found."""

    def _only(self) -> dict[str, Any]:
        return dict(self._voters)

    def _of_labels(self, labels: Iterable[str]) -> dict[str, Any]:
        present = self._labels[1]
        words = present[np.isin(present.astype(str), list(labels))].tolist()
        return exactly(self._atlas, keys.IN_ANNOTATION, {keys.REFERENCE_LABEL: words})

    def _known(self, method: str, labels: Iterable[str]) -> set[str]:
        """Return the labels as a set, and warn of those that the reference does not have."""
        wanted, present = check_names("labels", list([labels] if isinstance(labels, str) else labels)), self._labels[1]
        absent = [label for label in wanted if label not in present]
        close = sorted({name for label in absent for name in difflib.get_close_matches(label, present.tolist(), n=1)})
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"Present: {sorted(present)[:20]}."
        if len(absent) == len(wanted):
            msg = f"{method} expected labels of the reference, got {wanted}; {hint}"
            raise ValueError(msg)
        if absent:
            warn(f"{method}: the reference has no cells labelled {absent}; {hint}")
        return set(wanted)

    @cached_property
    def _labels(self) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
        codes, names = self._coded(keys.REFERENCE_LABEL)
        inside = np.zeros(len(codes), dtype=np.bool_)
        inside[self._numbering.ids] = True
        return np.where(inside, codes, -1).astype(np.int32), names

    def _coded(self, column: str) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
        """Return a column of text as codes by id, -1 = missing, and its values."""
        ids = self._atlas.ids
        values = self.knn.obs(ids, [column])[column].astype("category")
        codes = np.full(int(ids[-1]) + 1 if len(ids) else 1, -1, dtype=np.int32)
        codes[ids] = values.cat.codes
        return codes, np.array([str(name) for name in values.cat.categories], dtype=object)

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering.of_annotation(self._atlas)
