"""Labels of the cells of an atlas: their codes, their label transfer, and their radius."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import FormatError, keys
from scim._core.booleans import read_booleans
from scim._core.no_label import clean_text, is_no_label, read_labels
from scim.io import release_pages
from scim.label_transfer import LabelReference, LabelTransfer, LabelTree
from scim.label_transfer._calibration import calibrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas._index import Cells
    from scim.index import Index
    from scim.label_transfer import Calibration, CountSample, ExpressionReference

_MAX_LABELS = 5_000  # a label tree has a matrix of all pairs of them
_SAMPLE = 10_000  # cells of which the radius is measured
_QUANTILE = 0.995
_READ = 1000  # embeddings that are read at a time
_NO_RADIUS = 2.0  # the largest distance, where no two cells can be compared


class Labels(NamedTuple):
    """The labels of all cells of an atlas, as integer codes."""

    codes: NDArray[np.int32]
    """(n_rows,) position in `names` of the label of each `soma_joinid`; -1 = unlabelled, or removed."""

    names: NDArray[np.object_]
    """(n_labels,) names."""

    ids: NDArray[np.object_]
    """(n_labels,) Cell Ontology ids; empty text where a name has none."""


class LabelledCells(NamedTuple):
    """Label and study of all cells of an atlas, by `soma_joinid`."""

    labels: Labels
    studies: NDArray[np.int32]  # (n_rows,) position in `study_names`; 0 where there is no cell
    study_names: NDArray[np.object_]
    duplicates: NDArray[np.bool_] | None  # (n_rows,) which cells are marked as copies of others; `None`: no marks

    @classmethod
    def of(cls, frame: pd.DataFrame, n_rows: int, label_key: str, empty: NDArray[np.int64]) -> Self:
        """Read them from categorical columns of all cells, as :func:`labels_of`; `is_primary_data` marks copies.

        Cells without counts, those of the ids `empty`, count as unlabelled: their embedding says nothing of a label.
        """
        study, duplicates = frame[keys.ATLAS_STUDY].cat, None
        if keys.ATLAS_PRIMARY in frame:
            duplicates = _by_id(is_copy(frame).astype(np.int32), n_rows, 0) == 1
        names = np.array([str(name) for name in study.categories], dtype=object)
        labels = labels_of(frame, n_rows, label_key)
        labels.codes[empty] = -1
        return cls(labels, _by_id(study.codes, n_rows, 0).clip(0), names, duplicates)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """(n_rows,) the pair of label and study of each cell, as a number; -1 = unlabelled, a copy, or no cell."""
        codes = self.labels.codes.astype(np.int64)
        pairs = np.where(codes < 0, -1, codes * max(1, len(self.study_names)) + self.studies)
        return pairs if self.duplicates is None else np.where(self.duplicates, -1, pairs)


def is_copy(frame: pd.DataFrame) -> pd.Series:
    """Return which cells of obs are marked as copies of others: `is_primary_data` is false, not missing."""
    primary = read_booleans(frame[keys.ATLAS_PRIMARY])
    copies = np.zeros(len(frame), dtype=np.bool_) if primary is None else ~primary.to_numpy(np.bool_, na_value=True)
    return pd.Series(copies, index=frame.index)


def labels_of(frame: pd.DataFrame, n_rows: int, label_key: str) -> Labels:
    """Return the labels in a column of `frame`, which has categorical columns of all cells, by `soma_joinid`.

    The ids of `label` are in `label_id`, those of other columns, and of labels in quotes, are looked up. Words for no
    label are left out: earlier versions of scim stored them.
    """
    read = read_labels(frame[label_key])
    read.report(f"{label_key!r} of the atlas")
    label = pd.Series(read.values, index=frame.index)
    if not label.cat.categories.is_monotonic_increasing:  # the stored texts are sorted, with their blanks and quotes
        label = label.cat.reorder_categories(label.cat.categories.sort_values())
    if (n_values := len(label.cat.categories)) > _MAX_LABELS:
        msg = f"{label_key!r} has {n_values:,} values, more than {_MAX_LABELS:,}: it names cells, not types."
        raise ValueError(msg)
    names = label.cat.categories.to_numpy(dtype=object)
    if label_key == keys.ATLAS_LABEL and all(clean_text(text) == text for text in frame[label_key].cat.categories):
        first = frame.loc[~label.duplicated() & label.notna(), keys.ATLAS_LABEL_ID].astype(object)
        first.index = pd.Index(np.asarray(label[first.index], dtype=object), dtype=object)
        ids = first.reindex(names).fillna("").to_numpy(dtype=object)
    else:
        ids = np.array([ontology.term_id(name) or "" for name in names], dtype=object)
    return Labels(_by_id(label.cat.codes, n_rows, -1), names, ids)


def has_words_for_none(labels: pd.Series, expression: ExpressionReference | None) -> bool:
    """Return whether cells were taken to be of a type when the index was built, but their label is a word for none.

    Earlier versions of scim stored and used such labels, and the calibration must be measured again. The expression,
    which is measured at the same time, tells: that of a build without them has no such label.
    """
    return bool(read_labels(labels).left_out) and (expression is None or any(map(is_no_label, expression.labels)))


def fit_label_transfer(
    index: Index,
    cells: LabelledCells,
    calibration: Calibration | None = None,
    seed: int = 0,
    expression: ExpressionReference | None = None,
    samples: Sequence[CountSample] = (),
) -> LabelTransfer | None:
    """Return the label transfer of labelled cells, which use their expression too if it is given; `None` without any.

    Without a calibration it is measured on a sample of the cells, drawn with `seed`, and on their counts, `samples`.
    """
    labels = cells.labels
    if not (labels.codes >= 0).any():
        return None
    tree = LabelTree.of(labels.names.tolist(), labels.ids.tolist())
    reference = LabelReference.of(
        index, labels.codes, cells.studies, tree, cells.duplicates, study_names=cells.study_names
    )
    if calibration is None:
        calibration = calibrate(reference, index, seed, expression, samples)
    return LabelTransfer(reference, calibration, index, expression)


def _by_id(column: pd.Series, n_rows: int, missing: int) -> NDArray[np.int32]:
    codes, ids = np.full(n_rows, missing, dtype=np.int32), column.index.to_numpy()
    if len(ids) and not 0 <= ids.min() <= ids.max() < n_rows:
        msg = f"'soma/obs' has cells up to id {ids.max()}, of {n_rows} that the atlas lists: its files were replaced. "
        raise FormatError(msg + "scim.atlas.verify() names them.")
    codes[ids] = column
    return codes


def measure_label_radius(index: Index, cells: Cells, frame: pd.DataFrame, seed: int) -> float:
    """Return the cosine distance within which 99.5 % of a sample have a cell of their label in another study.

    Labels of a single study have none; without others, the nearest other cell of the study stands in. Cells without
    counts are left out.
    """
    labels: NDArray[np.int64] = read_labels(frame[keys.ATLAS_LABEL]).values.codes.astype(np.int64)
    has_counts = ~np.isin(cells.ids, index.empty_ids, assume_unique=True)
    labels[~has_counts] = -1
    studies: NDArray[np.int64] = np.asarray(frame[keys.ATLAS_STUDY].cat.codes, dtype=np.int64)
    pairs = pd.DataFrame({"label": labels, "study": studies}).query("label >= 0").drop_duplicates()
    n_studies = pairs["label"].value_counts()
    shared = n_studies.index[n_studies > 1].to_numpy()
    comparable = np.flatnonzero(np.isin(labels, shared) if shared.size else has_counts)
    if not comparable.size:
        return _NO_RADIUS
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(comparable, min(comparable.size, _SAMPLE), replace=False))
    if shared.size:
        nearest = _nearest_in_other_studies(index, cells, labels, studies, sample)
    else:
        nearest = index.query(_embeddings(cells, sample), 2).distances[:, -1]
    index.release_pages()
    found = nearest[np.isfinite(nearest)]
    return float(np.quantile(found, _QUANTILE)) if found.size else _NO_RADIUS


def _nearest_in_other_studies(
    index: Index, cells: Cells, labels: NDArray[np.int64], studies: NDArray[np.int64], sample: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the distance from each cell of a sample to the nearest of its label in another study."""
    order = np.argsort(labels, kind="stable")
    starts, stops = np.searchsorted(labels[order], [labels[sample], labels[sample] + 1])
    nearest = np.full(len(sample), np.inf, dtype=np.float32)
    groups = pd.DataFrame({"start": starts, "stop": stops, "study": studies[sample]})
    for rows in groups.groupby(["start", "study"]).indices.values():
        start, stop, study = groups.iloc[rows[0]]
        same_label = order[start:stop]
        allowed = cells.ids[same_label[studies[same_label] != study]]
        nearest[rows] = index.query(_embeddings(cells, sample[rows]), 1, allowed=allowed).distances[:, 0]
        index.release_pages()
    return nearest


def _embeddings(cells: Cells, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embeddings of rows, read by and by: each page that is read brings others into memory."""
    parts = []
    for chunk in np.array_split(rows, -(-len(rows) // _READ)):
        parts.append(np.asarray(cells.embeddings[chunk]))
        release_pages(cells.embeddings)
    return np.concatenate(parts)
