"""Cells to be appended, of an AnnData, a file or a SOMA experiment, checked before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import check_adata, check_names, keys, refuse_absent
from scim._core.adata import embedding_record
from scim._core.no_label import clean_text, is_missing, read_labels, read_names
from scim.atlas._columns import arrow_type, with_booleans
from scim.index.filter import Column, Filter
from scim.io import files_below, real_path
from scim.io.cells import Cells, Experiment, dense
from scim.pp import Counts, find_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.types import Transform

SOURCE_ID = "source_joinid"  # column of obs: the `soma_joinid` that a cell has in the experiment it came from

CENSUS_COLUMNS = (
    "organism", "assay", "suspension_type", "tissue", "tissue_general", "tissue_type", "disease", "donor_id", "sex",
    "development_stage", "self_reported_ethnicity", "is_primary_data",
)  # fmt: skip
"""Columns of obs in the schema of the Census that an atlas keeps where they exist."""

_RESERVED = {*keys.ATLAS_COLUMNS, "obs_id", "index"}  # the last two are reserved by tiledbsoma


@dataclass(frozen=True)
class Source:
    """Cells to be appended to an atlas."""

    obs: pd.DataFrame  # the standard columns and those named; study, label and label id are categoricals
    counts: Counts | None
    embedding: Any | None = None  # in place of counts: (n_obs, dim), rows readable by slice, in memory or on disk
    token: str | None = None  # resume token; `None` for input in memory
    made_by: str | None = None  # `uid` of the model that made the embedding, if uns has a record of it

    @property
    def n_obs(self) -> int:
        return len(self.obs)

    @classmethod
    def read(
        cls,
        adata: AnnData | Cells,
        *,
        study: str | None,
        study_key: str | None,
        label_key: str | None,
        obs_columns: Sequence[str],
        layer: str | None,
        transform: Transform | None = None,
        obsm: str | None = None,
        token: str | None = None,
    ) -> Source:
        """Check an AnnData, in memory or backed, or cells from a file; arguments as for :meth:`Atlas.append`."""
        if not isinstance(adata, Cells):
            check_adata(adata)
        obs_columns = check_names("obs_columns", obs_columns)
        refuse_absent([key for key in (study_key, label_key, *obs_columns) if key is not None], list(adata.obs.columns))
        if reserved := [name for name in obs_columns if name in _RESERVED or name.startswith("soma_")]:
            msg = f"obs_columns {reserved} are names that the atlas uses itself ({sorted(_RESERVED)}); rename them."
            raise ValueError(msg)
        frame = pd.DataFrame({keys.ATLAS_CELL_ID: adata.obs_names.astype(str)})
        frame[keys.ATLAS_STUDY] = _studies(adata.obs, study, study_key)
        frame[keys.ATLAS_LABEL], frame[keys.ATLAS_LABEL_ID] = _labels(adata.obs, label_key)
        for name in obs_columns:
            column = adata.obs[name] if name != keys.ATLAS_PRIMARY else with_booleans(adata.obs[name])
            arrow_type(column)
            frame[name] = column.array
        _refuse_duplicates(frame)
        if obsm is None:
            return cls(frame, find_counts(adata, layer, transform), None, token)
        if layer is not None:
            msg = f"Expected layer= (counts) or obsm= (an embedding), got both: {layer!r} and {obsm!r}."
            raise ValueError(msg)
        return cls(frame, None, _embedding(adata, obsm), token, embedding_record(adata, obsm).get("model"))


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
    return replace(source, counts=replace(source.counts, source=f"X[{layer!r}]"))


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


def _studies(obs: pd.DataFrame, study: str | None, study_key: str | None) -> pd.Categorical:
    if (study is None) == (study_key is None):
        got = "neither" if study is None else "both"
        msg = f"Expected study= (one name) or study_key= (a column of obs), got {got}."
        raise ValueError(msg)
    if study_key is None:
        name = clean_text(study) if isinstance(study, str) else ""
        if is_missing(name):
            msg = f"study must be a name, got {study!r}."
            raise ValueError(msg)
        return _categorical([name], np.zeros(len(obs), dtype=np.int8))
    read = read_names(obs[study_key])
    if read.n_missing:
        msg = f"obs[{study_key!r}] has {read.n_missing} missing values ({read.describe('study')}); "
        msg += "every cell needs a study. Fill them, or leave these cells out."
        raise ValueError(msg)
    return read.values


def _labels(obs: pd.DataFrame, label_key: str | None) -> tuple[pd.Categorical, pd.Categorical]:
    if label_key is None:
        missing = np.full(len(obs), -1, dtype=np.int8)
        return _categorical([], missing), _categorical([], missing)
    read = read_labels(obs[label_key])
    read.report(f"obs[{label_key!r}]")
    labels, codes = read.values.categories, read.values.codes
    terms = [ontology.term_id(label) for label in labels]
    names = [ontology.term_name(term) if term else label for label, term in zip(labels, terms, strict=True)]
    return _categorical(names, codes), _categorical(terms, codes)


def _categorical(values: Sequence[str | None], codes: NDArray[Any]) -> pd.Categorical:
    """Return for each cell the value at its code; several codes may have the same value."""
    categories = pd.Index([value for value in dict.fromkeys(values) if value is not None], dtype=object)
    new = np.append(categories.get_indexer(pd.Index(values, dtype=object)), -1)  # position -1 is the last
    return pd.Categorical.from_codes(new[codes], categories=categories)


def _refuse_duplicates(frame: pd.DataFrame) -> None:
    if not frame[keys.ATLAS_CELL_ID].duplicated().any():  # the faster check first
        return
    duplicated = frame.duplicated([keys.ATLAS_STUDY, keys.ATLAS_CELL_ID])
    if duplicated.any():
        examples = frame.loc[duplicated, keys.ATLAS_CELL_ID].head(3).tolist()
        msg = (
            f"{duplicated.sum()} cell names occur twice in a study, as {examples}; call adata.obs_names_make_unique()."
        )
        raise ValueError(msg)


def _embedding(adata: AnnData | Cells, obsm: str) -> Any:
    if obsm not in adata.obsm:
        msg = f"obsm[{obsm!r}] not found. Present: {sorted(adata.obsm)}."
        raise KeyError(msg)
    values = adata.obsm[obsm]
    if isinstance(values, pd.DataFrame) or hasattr(values, "toarray"):
        values = dense(values, f"obsm[{obsm!r}]")
    shape, dtype = tuple(getattr(values, "shape", ())), getattr(values, "dtype", type(values).__name__)
    if len(shape) != 2 or getattr(dtype, "kind", "") not in "fiu" or 0 in shape or shape[0] != adata.n_obs:
        msg = f"obsm[{obsm!r}] must be a table of numbers, {adata.n_obs} cells x dimensions, got {dtype} of {shape}."
        raise ValueError(msg)
    return values


def resume_token(data: Any, **arguments: object) -> str | None:
    """Return the same text for the same files with the same arguments; `None` for data in memory.

    Names, sizes and modification times of the files count, contents are not read.
    """
    if not isinstance(data, str | os.PathLike):
        return None
    path = real_path(data)
    files = sorted(_files(path)) if path.is_dir() else [("", *_size_and_time(path.stat()))]
    return hash_values(str(path), files, arguments)


def hash_values(*values: object) -> str:
    """Return the SHA-256 of values that JSON can write."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for entry in files_below(folder):
        yield (Path(entry.path).relative_to(folder).as_posix(), *_size_and_time(entry.stat(follow_symlinks=False)))


def _size_and_time(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns
