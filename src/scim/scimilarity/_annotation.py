"""`CellAnnotation`: the label of most of the nearest reference cells."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import check_adata, check_names, keys, progress, warn
from scim.index import Neighbors
from scim.label_transfer._neighbour_statistics import count_labels, shares_of_best
from scim.scimilarity._filter import match_texts
from scim.scimilarity._genes import align_dataset
from scim.scimilarity._search import CellSearchKNN, Numbering

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from scim.scimilarity._embedding import ModelPath

_CHUNK = 65_536  # queries between two steps of the progress bar


class CellAnnotation(CellSearchKNN):
    """Annotate cells by the reference cells of an imported atlas.

    `model_path` is as for :class:`CellSearchKNN`; `use_gpu` and `filenames` are accepted and not used.

    Attributes
    ----------
    safelist, blocklist
        The labels given last, as a set, or `None`.
    """

    _where = keys.IN_ANNOTATION

    def __init__(
        self, model_path: ModelPath, use_gpu: bool = False, filenames: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(model_path, use_gpu=use_gpu)

    @property
    def classes(self) -> set[str]:
        """The published labels the model was trained on."""
        return set(self.label2int)

    @cached_property
    def idx2label(self) -> Mapping[int, str]:
        """Label of each reference cell, by its number; made at first use."""
        return self._by_number(*self._labels)

    @cached_property
    def idx2study(self) -> Mapping[int, str]:
        """Study of each reference cell, by its number."""
        return self._by_number(*self._encode(keys.ATLAS_STUDY))

    def reset_knn(self) -> None:
        """Make all reference cells eligible again."""
        self.safelist = self.blocklist = None
        self._eligible = {"where": self._where}

    def safelist_celltypes(self, labels: Iterable[str]) -> None:
        """Restrict the following predictions to these labels of the reference; an earlier list is replaced.

        A warning names labels that the reference does not have; if it has none of them, ValueError is raised.
        """
        wanted = self._check_labels("safelist_celltypes", labels)
        eligible = self._cells_labelled(wanted)
        self.reset_knn()
        self.safelist, self._eligible = wanted, eligible

    def blocklist_celltypes(self, labels: Iterable[str]) -> None:
        """Exclude these labels of the reference from the following predictions; an earlier list is replaced.

        A warning names labels that the reference does not have; if none is left, or it has none, ValueError is raised.
        """
        wanted = self._check_labels("blocklist_celltypes", labels)
        present = set(self._labels[1].tolist())
        if present <= wanted:
            msg = f"blocklist_celltypes leaves none of the {len(present)} labels of the reference; list fewer."
            raise ValueError(msg)
        eligible = self._cells_labelled(present - wanted)
        self.reset_knn()
        self.blocklist, self._eligible = wanted, eligible

    def get_predictions_knn(
        self,
        embeddings: ArrayLike,
        k: int = 50,
        ef: int = 100,
        weighting: bool = False,
        disable_progress: bool = False,
    ) -> tuple[pd.Series[str], NDArray[np.int64], NDArray[np.float32], pd.DataFrame]:
        """Predict labels by a vote of the nearest reference cells.

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
            int64 and float32, shape (n, k): numbers and distances of the neighbours; -1 and inf if fewer are eligible.
        stats
            Frame with a row a cell: `hits` and `hits_weighted` (votes of every label as JSON), `min_dist` and
            `max_dist` (float32), and for both kinds of vote `vs2nd`, best / (best + second), and `vsAll`, best / all.
        """
        X = np.atleast_2d(np.asarray(embeddings))
        starts = progress(range(0, max(1, len(X)), _CHUNK), desc="annotate", unit="chunk", disable=disable_progress)
        parts = [self._nearest(X[start : start + _CHUNK], k, ef) for start in starts]
        neighbors = Neighbors(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        codes, names = self._labels
        labels = np.where(neighbors.ids >= 0, codes[neighbors.ids], -1).astype(np.int32)
        predictions, stats = predict(neighbors, labels, names, weighting=weighting)
        return predictions, self._numbering.numbers_of(neighbors.ids), neighbors.distances, stats

    def annotate_dataset(self, data: AnnData) -> AnnData:
        """Write labels and embeddings into cells.

        Parameters
        ----------
        data
            Cells with log-normalised values in `X`, see `lognorm_counts`; genes are aligned first.

        Returns
        -------
        `data`, with `obsm["X_scimilarity"]`, `obs["celltype_hint"]` (missing for a cell without counts),
        `["min_dist"]`, `["celltype_hits"]`, `["celltype_hits_weighted"]`, `["celltype_hint_stat"]` (share of the label
        among the neighbours), `["celltype_hint_weighted_stat"]` (the same, neighbours weighted).
        """
        check_adata(data)
        embeddings = self.get_embeddings(align_dataset(data, self.gene_order).X)
        predictions, _, _, stats = self.get_predictions_knn(embeddings)
        data.obsm["X_scimilarity"] = embeddings
        data.obs["celltype_hint"] = predictions.to_numpy()
        data.obs["min_dist"] = stats["min_dist"].to_numpy()
        for suffix in ("", "_weighted"):
            data.obs[f"celltype_hits{suffix}"] = stats[f"hits{suffix}"].to_numpy()
        for suffix in ("", "_weighted"):
            data.obs[f"celltype_hint{suffix}_stat"] = stats[f"vsAll{suffix}"].to_numpy()
        return data

    def _cells_labelled(self, labels: set[str]) -> dict[str, Any]:
        """Return the arguments of a query that restrict it to reference cells with these labels."""
        names = [name for name in self._labels[1] if name in labels]
        return match_texts(self._atlas, keys.IN_ANNOTATION, {keys.REFERENCE_LABEL: names})

    def _check_labels(self, method: str, labels: Iterable[str]) -> set[str]:
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
        """Published label codes of reference cells by id, -1 = none, and the labels."""
        codes, names = self._encode(keys.REFERENCE_LABEL)
        inside = np.zeros(len(codes), dtype=np.bool_)
        inside[self._numbering.ids] = True
        return np.where(inside, codes, -1).astype(np.int32), names

    def _encode(self, column: str) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
        """Return a column of text as codes by id, -1 = missing, and its values."""
        ids = self._atlas.ids
        values = self.knn.obs(ids, [column])[column].astype("category")
        codes = np.full(int(ids[-1]) + 1 if len(ids) else 1, -1, dtype=np.int32)
        codes[ids] = values.cat.codes
        return codes, np.array([str(name) for name in values.cat.categories], dtype=object)

    def _by_number(self, codes: NDArray[np.int32], names: NDArray[np.object_]) -> Mapping[int, str]:
        ids = self._numbering.ids
        return _TextOfNumber(self._numbering.numbers_of(ids), codes[ids], names)

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering.of_annotation(self._atlas)


class _TextOfNumber(Mapping[int, str]):
    """A mapping from many numbers to few texts, in the memory of their codes; numbers of code -1 are not in it."""

    def __init__(self, numbers: NDArray[np.int64], codes: NDArray[np.int32], names: NDArray[np.object_]) -> None:
        order = np.flatnonzero(codes >= 0)
        order = order[np.argsort(numbers[order], kind="stable")]
        self._numbers, self._codes, self._names = numbers[order], codes[order], names

    def __getitem__(self, number: int) -> str:
        row = int(np.searchsorted(self._numbers, number))
        if row == len(self._numbers) or self._numbers[row] != number:
            raise KeyError(number)
        return str(self._names[self._codes[row]])

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers.tolist())

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"<{len(self):,} reference cells, {len(self._names)} values>"


def predict(
    neighbors: Neighbors, labels: NDArray[np.int32], names: NDArray[np.object_], *, weighting: bool
) -> tuple[pd.Series[str], pd.DataFrame]:
    """Return the label with most votes of each cell, and the statistics of the votes.

    `labels`, (n, k), are the codes of the neighbours' labels, -1 = no neighbour, and `names` the names of all labels.
    With `weighting` a neighbour at distance d has 1 / max(d, 1e-6) votes.
    """
    label_codes, counts, weights = count_labels(neighbors.distances, labels)
    best = (weights if weighting else counts).argmax(axis=1)
    codes = label_codes[np.arange(len(best)), best]
    predicted = np.where(codes >= 0, names[codes], None) if len(names) else np.full(len(codes), None)
    quoted = [json.dumps(str(name)) for name in names]
    distances = np.where(neighbors.ids >= 0, neighbors.distances, np.float32(np.nan))
    stats = {
        "hits": _as_json(label_codes, counts, quoted),
        "hits_weighted": _as_json(label_codes, weights, quoted),
        "min_dist": distances[:, 0],
        "max_dist": np.fmax.reduce(distances, axis=1),
    }
    for suffix, votes in (("", counts), ("_weighted", weights)):
        stats[f"vs2nd{suffix}"], stats[f"vsAll{suffix}"] = shares_of_best(votes)
    return pd.Series(predicted, dtype=object), pd.DataFrame(stats)


def _as_json(codes: NDArray[np.int32], votes: NDArray[np.float64], quoted: list[str]) -> list[str]:
    """Return `{"label": votes, ...}` for each row, labels in the order of their nearest member."""
    texts = []
    for row_codes, row_votes in zip(codes.tolist(), votes.tolist(), strict=True):
        pairs = [f"{quoted[code]}: {vote!r}" for code, vote in zip(row_codes, row_votes, strict=True) if code >= 0]
        texts.append("{" + ", ".join(pairs) + "}")
    return texts
