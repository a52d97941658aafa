"""Adding cells: everything is written beyond the committed end, and counts from the moment `atlas.json` says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tiledbsoma
import tiledbsoma.io

from scim._core import keys
from scim._core.log import logger
from scim.atlas._columns import TEXT, arrow_type, as_type, missing
from scim.atlas._counts import write_counts
from scim.atlas._read import NULLABLE, obs_columns
from scim.atlas._soma import FOLDER, MEASUREMENT, grow_array, grow_frame, now, open_soma
from scim.pp import match_genes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.atlas._manifest import Manifest
    from scim.atlas._source import Source
    from scim.model import Model


def append(
    path: Path, manifest: Manifest, model: Model, source: Source, *, gene_key: str | None, counts: bool
) -> Manifest:
    """Write the cells of `source` into the atlas at `path`; return the state that is to be committed."""
    if counts and source.counts.kind != "counts":
        msg = f"counts=True stores counts, but {source.counts.source} holds {source.counts.kind} values; leave it out."
        raise ValueError(msg)
    if now() <= manifest.timestamp:
        msg = "This machine's clock is behind the last change of the atlas; set it right, or wait."
        raise ValueError(msg)
    genes = match_genes(source.counts.var, model.genes, gene_key=gene_key)
    _discard_uncommitted(path, manifest)
    _refuse_known_cells(path, manifest, source.obs)
    types = _column_types(path, source.obs)
    rows = pa.table({name: as_type(source.obs[name], kind) for name, kind in types.items() if name in source.obs})
    embeddings = model.embed(source.counts, genes)

    first, last = manifest.n_obs, manifest.n_obs + len(source.obs)
    _grow(path, manifest.n_obs, last, types)
    with open_soma(path, "w") as experiment:
        _write_obs(experiment, rows, first)
        _write_embeddings(experiment, embeddings, first)
    if counts:
        write_counts(path, source.counts, genes, first)
    logger.info("appended %d cells; the atlas has %d", len(source.obs), last)
    return replace(manifest, n_obs=last, timestamp=now())


def _discard_uncommitted(path: Path, manifest: Manifest) -> None:
    """Remove the rows and columns that an append which did not finish left behind."""
    with open_soma(path, timestamp=manifest.timestamp) as experiment:
        columns = obs_columns(experiment)
    with open_soma(path) as experiment:
        more_rows = experiment.obs.count > manifest.n_obs
        more_columns = obs_columns(experiment) != columns
        counts = list(experiment.ms[MEASUREMENT].X.keys())
    if more_rows:
        _discard_rows(path, manifest, counts)
    if more_columns:
        _set_columns(path, columns, [])


def _discard_rows(path: Path, manifest: Manifest, counts: list[str]) -> None:
    logger.warning("an earlier append did not finish; its rows are discarded")
    beyond = (slice(manifest.n_obs, None),)
    # Embeddings beyond the end stay: a dense array has no holes, and the next append writes over them.
    with tiledbsoma.DataFrame.open(f"{path}/{FOLDER}/obs", "d") as obs:
        obs.delete_cells(beyond)
    for name in counts:
        with tiledbsoma.SparseNDArray.open(f"{path}/{FOLDER}/ms/{MEASUREMENT}/X/{name}", "d") as X:
            X.delete_cells(beyond)
    now()


def _refuse_known_cells(path: Path, manifest: Manifest, obs: pd.DataFrame) -> None:
    key = [keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
    with open_soma(path, timestamp=manifest.timestamp) as experiment:
        known = experiment.obs.read(column_names=key).concat().to_pandas()
    both = pd.merge(obs[key], known, on=key)
    if len(both):
        examples = both[keys.ATLAS_CELL_ID].head(3).tolist()
        studies = both[keys.ATLAS_STUDY].unique()[:3].tolist()
        msg = f"{len(both)} cells of study {studies} are in the atlas already, as {examples}; append each cell once."
        raise ValueError(msg)


def _column_types(path: Path, obs: pd.DataFrame) -> dict[str, pa.DataType]:
    """Return the types of all columns: those of the atlas first, then new ones."""
    with open_soma(path) as experiment:
        types = {name: experiment.obs.schema.field(name).type for name in obs_columns(experiment)}
    for name in map(str, obs):
        types.setdefault(name, TEXT if name in keys.ATLAS_COLUMNS else arrow_type(obs[name]))
    return types


def _grow(path: Path, n_obs: int, n_new: int, types: dict[str, pa.DataType]) -> None:
    """Add new columns, and room for new rows; each is an operation of its own to TileDB."""
    with open_soma(path) as experiment:
        present = obs_columns(experiment)
    new = [missing(name, n_obs, kind) for name, kind in types.items() if name not in present]
    if new:
        _set_columns(path, present, new)
    with open_soma(path, "w") as experiment:
        grow_frame(experiment.obs, n_new)
        grow_array(experiment.ms[MEASUREMENT].obsm[keys.EMBEDDING], n_new)
    now()


def _set_columns(path: Path, kept: list[str], new: list[pd.Series]) -> None:
    with open_soma(path) as experiment:
        rows = experiment.obs.read(column_names=["soma_joinid", *kept]).concat()
    frame = pd.concat([rows.to_pandas(types_mapper=NULLABLE.get), *new], axis=1)
    frame["soma_joinid"] = frame["soma_joinid"].astype("int64")
    with open_soma(path, "w") as experiment:
        tiledbsoma.io.update_obs(experiment, frame, default_index_name=keys.ATLAS_CELL_ID)
    now()


def _write_obs(experiment: Any, rows: pa.Table, first: int) -> None:
    schema = experiment.obs.schema
    columns = {"soma_joinid": pa.array(np.arange(first, first + len(rows)))}
    for field in schema:
        if field.name != "soma_joinid":
            absent = pa.nulls(len(rows), field.type)
            columns[field.name] = rows[field.name] if field.name in rows.column_names else absent
    experiment.obs.write(pa.table(columns, schema=schema))


def _write_embeddings(experiment: Any, embeddings: NDArray[np.float32], first: int) -> None:
    array = experiment.ms[MEASUREMENT].obsm[keys.EMBEDDING]
    where = (slice(first, first + len(embeddings) - 1), slice(0, embeddings.shape[1] - 1))
    array.write(where, pa.Tensor.from_numpy(np.ascontiguousarray(embeddings)))
