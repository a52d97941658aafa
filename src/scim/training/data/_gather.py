"""From the user's inputs to the data sets that train: read, filtered, with labels that studies share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim import ontology
from scim.training.data._filters import CellFilters, keep_good
from scim.training.data._inputs import opened_inputs
from scim.training.data._labels import coarsen, moved
from scim.training.data._read import DataSet, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scim.training.data._inputs import Inputs


class Gathered(NamedTuple):
    """Data sets, and what the filters did."""

    sets: list[DataSet]
    report: dict[str, Any]
    """Cells that each rule left out, by data set; labels that were coarsened or left out. JSON can hold it."""


@contextlib.contextmanager
def gathered(
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None,
    layer: str | None = None,
    gene_key: str | None = None,
    filters: CellFilters | None = None,
) -> Iterator[Gathered]:
    """Yield the labelled cells of all inputs that pass the filters; files are closed at the end.

    Raises
    ------
    TypeError, KeyError, ValueError, FileNotFoundError, FormatError, CountsError
        What is wrong with which input.
    """
    filters = CellFilters() if filters is None else filters
    columns = [key for key in (label_key, study_key, *filters.columns) if key is not None]
    with opened_inputs(data, list(dict.fromkeys(columns))) as cells:
        sets, report = [], {}
        for name, adata in cells.items():
            found = read(name, adata, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key)
            good, dropped = keep_good(found, adata, filters)
            report[name] = {"n_labelled": found.n_cells, **dropped}
            sets.append(good)
        sets, moves = _share_labels([one for one in sets if one.n_cells], filters.min_studies)
        if not sets:
            msg = f"No cell passes the filters: {report}; labels that became others, or none: {moves}."
            raise ValueError(msg)
        yield Gathered(sets, {"data_sets": report, "labels": moves})


def check_shared(sets: Sequence[DataSet], label_key: str, study_key: str | None) -> None:
    """Refuse data from which no metric across studies can be learned.

    Raises
    ------
    ValueError
        There is one label, or one study, or no label of two studies.
    """
    pairs = pd.concat(
        [pd.DataFrame({"label": one.labels, "study": one.studies}).drop_duplicates() for one in sets]
    ).drop_duplicates()
    if pairs["label"].nunique() < 2:
        found = f"only the label {pairs['label'].iloc[0]!r}" if len(pairs) else "no cell left"
        msg = f"obs[{label_key!r}] has {found}; a metric is learned from two or more."
        raise ValueError(msg)
    if pairs["study"].nunique() < 2:
        remedy = (
            "pass several AnnData, or name the column of obs that tells studies (or donors) apart with study_key="
            if study_key is None
            else f"name with study_key= a column that tells more studies (or donors) apart than obs[{study_key!r}] does"
        )
        msg = f"Only the study {pairs['study'].iloc[0]!r} is left to train on, expected two or more; {remedy}."
        raise ValueError(msg)
    labels = sorted(pairs["label"].unique())
    kin = pd.DataFrame(ontology.related(labels), index=labels, columns=labels)
    sides = [set(group) for _, group in pairs.groupby("study")["label"]]
    if not any(kin.loc[sorted(a), sorted(b)].to_numpy().any() for i, a in enumerate(sides) for b in sides[:i]):
        msg = (
            f"No label of obs[{label_key!r}] occurs in two studies, so that nothing says which cells are alike. "
            f"Found: {[sorted(side)[:4] for side in sides]}. Bring the labels to common words or Cell Ontology ids."
        )
        raise ValueError(msg)


def split_studies(sets: Sequence[DataSet], studies: Sequence[str]) -> tuple[list[DataSet], list[DataSet]]:
    """Split data sets into those of other studies and those of the named ones.

    Raises
    ------
    ValueError
        A study does not exist, or none would be left.
    """
    studies = [studies] if isinstance(studies, str) else [str(study) for study in studies]
    if not studies:
        return list(sets), []
    known = sorted({study for data in sets for study in data.studies.tolist()})
    absent = sorted(set(studies) - set(known))
    if absent or set(studies) == set(known):
        what = f"there is no study {absent}" if absent else "no study is left to train on"
        msg = f"validation={studies}: {what}. Present: {known}."
        raise ValueError(msg)
    masks = [np.isin(data.studies.astype(str), studies) for data in sets]
    others = [data.only(~mask) for data, mask in zip(sets, masks, strict=True) if not mask.all()]
    return others, [data.only(mask) for data, mask in zip(sets, masks, strict=True) if mask.any()]


def _share_labels(sets: list[DataSet], min_studies: int) -> tuple[list[DataSet], dict[str, str | None]]:
    if min_studies < 2 or not sets:
        return sets, {}
    words = np.concatenate([data.labels for data in sets])
    moves = coarsen(words, np.concatenate([data.studies for data in sets]), min_studies)
    changed = []
    for data in sets:
        labels = np.array(moved(data.labels, moves), dtype=object)
        kept = DataSet(data.name, data.counts, data.genes, data.rows, labels, data.studies, data.gene_key)
        changed.append(kept.only(np.array([label is not None for label in labels], dtype=np.bool_)))
    return [data for data in changed if data.n_cells], moves
