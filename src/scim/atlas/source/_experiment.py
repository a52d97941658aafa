"""Cells of an existing SOMA experiment, as those of the CELLxGENE Census."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import tiledbsoma

from scim._core import keys
from scim._core.checks import check_names, refuse_absent
from scim.atlas.source._experiment_obs import read_columns, select_cells
from scim.atlas.source._experiment_rows import DenseRows, EmbeddingRows, ExperimentMatrix, soma_named
from scim.atlas.source._source import Source
from scim.atlas.source._token import digest, token_of
from scim.io import Cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

SOURCE_ID = "source_joinid"
"""Column of obs: the `soma_joinid` that a cell has in the experiment it came from."""

CENSUS_COLUMNS = (
    "organism", "assay", "suspension_type", "tissue", "tissue_general", "tissue_type", "disease", "donor_id", "sex",
    "development_stage", "self_reported_ethnicity", "is_primary_data",
)  # fmt: skip
"""Columns of obs in the schema of the Census that an atlas keeps where they exist."""

_VAR_NAMES = ("feature_id", "var_id", "gene_id")


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
    """Read cells from a SOMA experiment; of obs the columns needed, of counts and embeddings nothing until asked.

    The defaults are those of the CELLxGENE Census. A cell's id is its `obs_id` where obs has that column, else its
    `soma_joinid`, which is also kept as `source_joinid`.

    Parameters
    ----------
    experiment
        A :class:`tiledbsoma.Experiment`, open for reading.
    measurement
        Name of the measurement, and
    layer
        of the matrix in its `X` that holds counts.
    where
        A filter of obs, as `"tissue_general == 'lung' and is_primary_data"`; see :meth:`scim.atlas.Atlas.select`.
        Default: all cells.
    study
        Name of the study all cells come from, in place of
    study_key
        the column of obs that holds it.
    label_key
        Column of obs with cell types; `unknown` and `na` mean unlabelled.
    columns
        Further columns of obs to keep. Default: those of the Census that exist.
    obsm
        Name of an embedding to take in place of counts.

    Raises
    ------
    TypeError
        It is no experiment.
    KeyError
        A measurement, layer, embedding or column does not exist.
    FilterError
        `where` cannot be read, or names an unknown column or value.
    ValueError
        No cell passes, or the experiment is not open for reading.
    FormatError
        The experiment is damaged.
    """
    _check_experiment(experiment)
    with soma_named(experiment.uri):
        measured = _measurement(experiment, measurement)
        array = _member(measured, "X", layer, measurement) if obsm is None else None
        embedding = None if obsm is None else _member(measured, "obsm", obsm, measurement)
        obs, present = experiment.obs, list(experiment.obs.keys())
    study_key = study_key if study is None else None
    kept = _columns(columns, present)
    refuse_absent([key for key in (study_key, label_key, *kept) if key is not None], present)
    ids = None if where is None else select_cells(obs, where)
    cell_id = [name for name in ("obs_id",) if name in present]
    needed = dict.fromkeys(key for key in (study_key, label_key, *kept, *cell_id) if key is not None)
    frame = _named(read_columns(obs, ids, list(needed)), label_key)
    ids = frame[SOURCE_ID].to_numpy()
    cells = _cells(measured, frame, ids, array, {} if embedding is None else {str(obsm): _embedding(embedding, ids)})
    arguments = (measurement, layer, where, study, study_key, label_key, kept, obsm)
    source = Source.read(
        cells,
        study=study,
        study_key=study_key,
        label_key=label_key,
        obs_columns=[*kept, SOURCE_ID],
        layer=None if array is None else "X",
        obsm=obsm,
        token=_token(experiment, ids, arguments),
    )
    if source.counts is None:
        return source
    return dataclasses.replace(source, counts=dataclasses.replace(source.counts, source=f"X[{layer!r}]"))


def cells_of(experiment: Any, columns: Sequence[str]) -> list[Cells]:
    """Return the cells of an experiment for :func:`scim.model.train`: measurement RNA, counts in X of the name raw.

    Parameters
    ----------
    experiment
        A :class:`tiledbsoma.Experiment`, open for reading.
    columns
        Columns of obs that are wanted; `unknown` and `na` mean that a value is missing.

    Returns
    -------
    One part; counts are read by rows, when they are asked for.

    Raises
    ------
    TypeError, KeyError, ValueError, FormatError
        As :func:`read_experiment`.
    """
    _check_experiment(experiment)
    with soma_named(experiment.uri):
        measured = _measurement(experiment, "RNA")
        array = _member(measured, "X", "raw", "RNA")
    refuse_absent(columns, list(experiment.obs.keys()))
    frame = read_columns(experiment.obs, None, list(columns))
    ids = frame.index.to_numpy()
    frame = frame.mask(frame.isin(keys.NO_LABEL)).set_axis(ids.astype(str))
    return [_cells(measured, frame, ids, array, {})]


def _check_experiment(experiment: Any) -> None:
    if not isinstance(experiment, tiledbsoma.Experiment):
        inside = ""
        if isinstance(experiment, tiledbsoma.Collection) and not experiment.closed:
            inside = f", which has {sorted(experiment)}: pass the experiment in it"
        msg = f"Expected a tiledbsoma.Experiment, got {type(experiment).__name__}{inside}; "
        msg += "open one with tiledbsoma.Experiment.open(uri)."
        raise TypeError(msg)
    if experiment.closed or experiment.mode != "r":
        state = "closed" if experiment.closed else f"open with mode {experiment.mode!r}"
        msg = f"The experiment at {experiment.uri!r} is {state}; open it for reading: tiledbsoma.Experiment.open(uri)."
        raise ValueError(msg)


def _measurement(experiment: Any, name: str) -> Any:
    present = sorted(experiment.ms) if "ms" in experiment else []
    if name not in present:
        msg = f"measurement={name!r} is not in the experiment. Present: {present}."
        raise KeyError(msg)
    return experiment.ms[name]


def _member(measured: Any, part: str, name: str, measurement: str) -> Any:
    present = sorted(measured[part]) if part in measured else []
    if name not in present:
        argument = "layer" if part == "X" else part
        msg = f"{argument}={name!r} is not in {part} of measurement {measurement!r}. Present: {present}."
        raise KeyError(msg)
    return measured[part][name]


def _columns(columns: Sequence[str] | None, present: list[str]) -> list[str]:
    if columns is None:
        return [name for name in CENSUS_COLUMNS if name in present]
    return [name for name in check_names("columns", columns) if name not in (SOURCE_ID, "soma_joinid")]


def _named(frame: pd.DataFrame, label_key: str | None) -> pd.DataFrame:
    """Return obs with names of cells in the index, the ids as a column, and no label where the type is unknown."""
    frame[SOURCE_ID] = frame.index.to_numpy()
    frame.index = pd.Index(frame.get("obs_id", frame.index)).astype(str)
    if label_key is not None:
        frame[label_key] = frame[label_key].mask(frame[label_key].isin(keys.NO_LABEL))
    return frame


def _cells(measured: Any, frame: pd.DataFrame, ids: NDArray[np.int64], array: Any, obsm: dict[str, Any]) -> Cells:
    with soma_named(measured.uri):
        var = measured.var.read().concat().to_pandas().sort_values("soma_joinid")
    columns = var.pop("soma_joinid").to_numpy()
    name = next((name for name in _VAR_NAMES if name in var), None)
    var.index = pd.Index(columns if name is None else var.pop(name)).astype(str)
    matrix = None
    if array is not None:
        sparse = isinstance(array, tiledbsoma.SparseNDArray)
        matrix = ExperimentMatrix(array, ids, columns) if sparse else DenseRows(array, ids)
    return Cells(frame, var, lambda: matrix, obsm=obsm)


def _embedding(array: Any, ids: NDArray[np.int64]) -> EmbeddingRows | DenseRows:
    return EmbeddingRows(array, ids) if isinstance(array, tiledbsoma.SparseNDArray) else DenseRows(array, ids)


def _token(experiment: Any, ids: NDArray[np.int64], arguments: tuple[Any, ...]) -> str:
    """Of a folder its files count; elsewhere the address, which for a Census names the version, and the cells."""
    folder = Path(experiment.uri.removeprefix("file://"))
    files = token_of(folder) if folder.is_dir() else int(experiment.obs.count)
    return digest(experiment.uri, files, ids.size, pd.util.hash_array(ids).sum().item(), arguments)
