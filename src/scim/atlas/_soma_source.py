"""Cells of a SOMA experiment to be appended, as those of the CELLxGENE Census."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import check_names, keys, refuse_absent
from scim.atlas._source import Source, hash_values, resume_token
from scim.index.filter import Column, Filter
from scim.io import Experiment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SOURCE_ID = "source_joinid"  # column of obs: the `soma_joinid` that a cell has in the experiment it came from

CENSUS_COLUMNS = (
    "organism", "assay", "suspension_type", "tissue", "tissue_general", "tissue_type", "disease", "donor_id", "sex",
    "development_stage", "self_reported_ethnicity", "is_primary_data",
)  # fmt: skip
"""Columns of obs in the schema of the Census that an atlas keeps where they exist."""


def read_experiment(
    experiment: Any,
    *,
    measurement: str = "RNA",
    layer: str = "raw",
    where: str | None = None,
    study: str | None = None,
    study_key: str | None = "dataset_id",
    label_key: str | None = "cell_type_ontology_term_id",
    columns: Sequence[str] | None = None,
    obsm: str | None = None,
) -> Source:
    """Read cells of a SOMA experiment: the columns needed of obs; counts and embeddings are read by rows, at their use.

    Arguments are those of :func:`scim.atlas.from_soma`; with `obsm` an embedding takes the place of counts. A cell's id
    is its `obs_id` where obs has that column, else its `soma_joinid`, which is also kept as `source_joinid`.
    """
    opened = Experiment(experiment, measurement=measurement, layer=layer if obsm is None else None, obsm=obsm)
    study_key = study_key if study is None else None
    kept = _kept_columns(columns, opened.columns)
    needed = dict.fromkeys(key for key in (study_key, label_key, *kept) if key is not None)
    refuse_absent(list(needed), opened.columns)
    if "obs_id" in opened.columns:
        needed["obs_id"] = None
    cells = opened.read(list(needed), None if where is None else _select(opened, where))
    frame, ids = cells.obs, cells.obs.index.to_numpy()
    frame[SOURCE_ID] = ids
    frame.index = pd.Index(frame.get("obs_id", frame.index)).astype(str)
    if label_key is not None:
        frame[label_key] = frame[label_key].mask(frame[label_key].isin(keys.NO_LABEL))
    source = Source.read(
        cells,
        study=study,
        study_key=study_key,
        label_key=label_key,
        obs_columns=[*kept, SOURCE_ID],
        layer="X" if obsm is None else None,
        obsm=obsm,
        token=_token(experiment, ids, (measurement, layer, where, study, study_key, label_key, kept, obsm)),
    )
    if source.counts is None:
        return source
    return dataclasses.replace(source, counts=dataclasses.replace(source.counts, source=f"X[{layer!r}]"))


def _kept_columns(columns: Sequence[str] | None, present: list[str]) -> list[str]:
    if columns is None:
        return [name for name in CENSUS_COLUMNS if name in present]
    return [name for name in check_names("columns", columns) if name not in (SOURCE_ID, "soma_joinid")]


def _select(experiment: Experiment, where: str) -> NDArray[np.int64]:
    """Return the ascending `soma_joinid` of the cells that pass a filter; obs is read by batches."""
    parsed = Filter(where)
    parsed.check_columns(experiment.columns)
    passing = [np.empty(0, np.int64)]
    seen: list[dict[str, Column]] = []
    for frame in experiment.frames([name for name in parsed.columns if name != "soma_joinid"]):
        columns = {name: Column.of(name, frame[name]) for name in parsed.columns}
        passing.append(frame["soma_joinid"].to_numpy(np.int64)[parsed.mask(columns, len(frame))])
        seen.append({name: _without_rows(column) for name, column in columns.items()})
    if seen:
        parsed.check(*seen)
    ids = np.sort(np.concatenate(passing))
    if not ids.size:
        msg = f"No cell of '{experiment.uri}/obs' passes where={where!r}; widen it."
        raise ValueError(msg)
    return ids


def _without_rows(column: Column) -> Column:
    """Return a column with its kind and its texts only."""
    values = column.values if column.kind == "text" else column.values[:1]
    return Column(column.name, column.kind, column.codes[:0], values)


def _token(experiment: Any, ids: NDArray[np.int64], arguments: tuple[Any, ...]) -> str:
    """Return the resume token: of a folder its files count, elsewhere the address and the cells."""
    folder = Path(experiment.uri.removeprefix("file://"))
    files = resume_token(folder) if folder.is_dir() else int(experiment.obs.count)
    return hash_values(experiment.uri, files, ids.size, pd.util.hash_array(ids).sum().item(), arguments)
