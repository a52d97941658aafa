"""The contents of an atlas: ids, names, embeddings and counts in the store, and the data derived from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scim._core import FormatError, keys, progress
from scim.atlas._columns import TEXT
from scim.atlas._index import open_parts
from scim.atlas._names import hash_names
from scim.atlas.commit import SOMA, load_ids, load_names, load_removed
from scim.atlas.soma import (
    COUNTS_PATH,
    MEASUREMENT,
    VAR_PATH,
    embedding_path,
    obs_columns,
    open_experiment,
    read_embeddings,
    tiledb_errors,
)
from scim.atlas.verify._problem import Part, Problem, is_damaged, run_check, try_to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scim.atlas.commit import EmbeddingVersion, Manifest
    from scim.atlas.storage import Storage
    from scim.index import Index

_ROWS, _OBS_ROWS = 65_536, 262_144
_INDEX_TOLERANCE = 1e-3
"""Largest difference between a vector of an index and the store: its 16-bit values are about 1e-5 away."""


def check_contents(storage: Storage, manifest: Manifest, problems: Sequence[Problem]) -> Iterator[Problem]:
    """Check the contents of arrays whose files have no problem, and the data derived from them.

    Without a file inventory none is read: TileDB may end the process over a damaged file.
    """
    arrays = ["obs", VAR_PATH, COUNTS_PATH, *(embedding_path(version.name) for version in manifest.embeddings)]
    whole = {array: not is_damaged(problems, f"{SOMA}/{array}") for array in arrays}
    if any(problem.part == "inventory" or _is_of_layout(problem, arrays) for problem in problems):
        return
    try:
        experiment = open_experiment(storage, at=manifest.timestamp, n_rows=manifest.n_rows)
    except tiledb_errors(FormatError, LookupError) as error:
        yield Problem.of("store", SOMA, error)
        return
    with experiment:
        rows: list[Rows] = []
        if whole["obs"]:
            of_obs = list(run_check("store", f"{SOMA}/obs", _check_obs, experiment, manifest, rows))
            whole["obs"] = not of_obs
            yield from of_obs
        ids = rows[0].ids if whole["obs"] else _committed_ids(storage, manifest)
        checks: dict[Part, Callable[..., Any]] = {"removed": _check_removed, "names": _check_names}
        for part in checks if whole["obs"] else ():
            if not any(problem.part == part for problem in problems):
                yield from run_check(part, part, checks[part], storage, manifest, rows[0])
        if whole[VAR_PATH]:
            yield from run_check("store", f"{SOMA}/{VAR_PATH}", _check_genes, storage, experiment, manifest)
        if manifest.counted and whole[COUNTS_PATH]:
            yield from run_check("store", f"{SOMA}/{COUNTS_PATH}", _check_counts, experiment, manifest, ids)
        for version in manifest.embeddings:
            path, parts = embedding_path(version.name), version.parts
            if not whole[path]:
                continue
            wrong = list(run_check("store", f"{SOMA}/{path}", _check_embedding, experiment, version, ids))
            yield from wrong
            if parts and not wrong and not any(is_damaged(problems, part.folder) for part in parts):
                check_index = partial(_check_index, columns=whole["obs"])
                yield from run_check("index", parts[0].folder, check_index, storage, experiment, manifest, version, ids)


def _is_of_layout(problem: Problem, arrays: Sequence[str]) -> bool:
    """Return whether a problem is of the files that tell which arrays the store has."""
    if problem.part in ("leftover", "earlier version") or not problem.where.startswith(f"{SOMA}/"):
        return False
    return not any(is_damaged([problem], f"{SOMA}/{array}") for array in arrays)


def _committed_ids(storage: Storage, manifest: Manifest) -> NDArray[np.int64]:
    """Return the ids of the manifest, when obs cannot be read."""
    ids = np.arange(manifest.n_rows)
    try:
        return np.delete(ids, load_removed(storage, manifest))
    except (ValueError, OSError):
        return ids


class Rows(NamedTuple):
    """The cells in obs."""

    ids: NDArray[np.int64]  # ascending
    hashes: NDArray[np.uint64]  # of study and name
    n_nameless: int


def scan_obs(experiment: Any, n_rows: int) -> Rows:
    """Read the ids and hashed names of all cells, by blocks: the names would take too much memory."""
    ids, hashes, n_nameless = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)], 0
    columns = ["soma_joinid", keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
    for start in progress(range(0, n_rows, _OBS_ROWS), desc="obs", unit="block"):
        stop = start + _OBS_ROWS - 1 if start + _OBS_ROWS < n_rows else None
        table = experiment.obs.read((slice(start, stop),), column_names=columns).concat()
        frame = table.to_pandas().sort_values("soma_joinid", kind="stable")
        n_nameless += int(frame.isna().any(axis=1).sum())
        ids.append(frame["soma_joinid"].to_numpy())
        hashes.append(hash_names(frame.fillna("")))
    return Rows(np.concatenate(ids), np.concatenate(hashes), n_nameless)


def _check_obs(experiment: Any, manifest: Manifest, read: list[Rows]) -> Iterator[Problem]:
    """Find cells that were not committed, that have no study or name, or that occur twice; put the rows into `read`."""
    rows = scan_obs(experiment, manifest.n_rows)
    read.append(rows)
    if len(rows.ids) != manifest.n_obs or (len(rows.ids) and rows.ids[-1] >= manifest.n_rows):
        last = int(rows.ids[-1]) if len(rows.ids) else None
        what = f"has {len(rows.ids)} cells up to id {last}, committed were {manifest.n_obs} below {manifest.n_rows}"
        yield Problem("store", "soma/obs", what)
    if rows.n_nameless:
        yield Problem("store", "soma/obs", f"{rows.n_nameless} cells have no study or no name")
    order = np.argsort(rows.hashes, kind="stable")
    twice = np.sort(rows.ids[order[1:]][rows.hashes[order[1:]] == rows.hashes[order[:-1]]])
    if len(twice):
        named = experiment.obs.read((twice[:3],), column_names=[keys.ATLAS_CELL_ID]).concat()[keys.ATLAS_CELL_ID]
        what = f"{len(twice)} cells occur twice, as {named.to_pylist()} with the ids {twice[:3].tolist()}"
        yield Problem("store", "soma/obs", what)


def _check_embedding(experiment: Any, version: EmbeddingVersion, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Find embeddings that are neither of unit length nor zero."""
    where = f"soma/{embedding_path(version.name)}"
    array = experiment.ms[MEASUREMENT].obsm[version.name]
    if array.shape[0] < version.n_rows or array.shape[1] != version.dim:
        yield Problem("store", where, f"has shape {tuple(array.shape)}, expected {(version.n_rows, version.dim)}")
        return
    wrong: list[int] = []
    embedded = ids[ids < version.n_rows]
    for start in progress(range(0, len(embedded), _ROWS), desc="embeddings", unit="block"):
        chunk = embedded[start : start + _ROWS]
        length = np.linalg.norm(read_embeddings(experiment, version.name, chunk), axis=1)
        # A cell without counts has a row of zeros. NaN fails both comparisons.
        wrong += chunk[~((np.abs(length - 1) <= 1e-4) | (length == 0))].tolist()
    if wrong:
        yield Problem("store", where, f"{len(wrong)} rows are not of unit length, as those of cells {wrong[:3]}")


def _check_genes(storage: Storage, experiment: Any, manifest: Manifest) -> Iterator[Problem]:
    """Find genes that occur twice or have no id, and measured genes that do not exist."""
    genes = experiment.ms[MEASUREMENT].var.read(column_names=["soma_joinid", "gene_id"]).concat().to_pandas()
    twice = genes["gene_id"].duplicated()
    if twice.any() or genes["gene_id"].isna().any():
        examples = genes.loc[twice, "gene_id"].head(3).tolist()
        yield Problem("store", f"soma/{VAR_PATH}", f"genes occur twice or have no id, as {examples}")
    if not np.array_equal(np.sort(genes["soma_joinid"]), np.arange(len(genes))):
        yield Problem("store", f"soma/{VAR_PATH}", f"some of {len(genes)} genes are missing")
    for name, entry in {counted.panel.name: counted.panel for counted in manifest.counted}.items():
        yield from try_to_read("store", name, load_ids, storage, entry, len(genes))


def _check_counts(experiment: Any, manifest: Manifest, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Find counts of cells or genes that do not exist, and values that are no counts."""
    X = experiment.ms[MEASUREMENT].X["counts"]
    n_genes = experiment.ms[MEASUREMENT].var.domain[0][1] + 1
    allowed = np.zeros(manifest.n_rows, dtype=np.bool_)
    for counted in manifest.counted:
        allowed[ids[counted.among(ids)]] = True
    n_bad = n_foreign = 0
    for table in progress(X.read().tables(), desc="counts", unit="block"):
        cells, values = table["soma_dim_0"].to_numpy(), table["soma_data"].to_numpy()
        inside = (cells >= 0) & (cells < manifest.n_rows)
        n_foreign += int((~inside).sum() + (~allowed[cells[inside]]).sum())
        n_foreign += int((table["soma_dim_1"].to_numpy() >= n_genes).sum())
        n_bad += int((~(values > 0) | ~np.isfinite(values)).sum())
    if n_foreign:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_foreign} counts are of cells or genes that there are not")
    if n_bad:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_bad} values are not above zero and finite")


def _check_removed(storage: Storage, manifest: Manifest, rows: Rows) -> Iterator[Problem]:
    """Compare the removed ids with those that obs does not have."""
    kept = load_removed(storage, manifest)
    gone = np.setdiff1d(np.arange(manifest.n_rows), rows.ids, assume_unique=True)
    if not np.array_equal(kept, gone):
        where = "atlas.json" if manifest.removed is None else manifest.removed.name
        yield Problem("removed", where, f"lists {len(kept)} cells as removed; obs does not have {len(gone)}")


def _check_names(storage: Storage, manifest: Manifest, rows: Rows) -> Iterator[Problem]:
    """Compare the hashes with the names in obs: each cell once."""
    parts = [load_names(storage, entry, manifest.n_rows) for entry in manifest.names]
    where = manifest.names[0].name if manifest.names else "names"
    hashes, ids = np.concatenate([np.empty((2, 0), dtype=np.uint64), *parts], axis=1)
    if len(np.unique(ids)) < len(ids):
        yield Problem("names", where, "has ids twice")
        return
    kept, known = np.zeros(manifest.n_rows, dtype=np.uint64), np.zeros(manifest.n_rows, dtype=np.bool_)
    kept[ids.astype(np.int64)], known[ids.astype(np.int64)] = hashes, True
    n_wrong = int((~known[rows.ids] | (kept[rows.ids] != rows.hashes)).sum())
    if n_wrong:
        yield Problem("names", where, f"{n_wrong} cells would not be recognised if they were appended again")


def _check_index(
    storage: Storage,
    experiment: Any,
    manifest: Manifest,
    version: EmbeddingVersion,
    ids: NDArray[np.int64],
    *,
    columns: bool,
) -> Iterator[Problem]:
    """Compare ids, vectors and, with `columns`, columns of obs in the index with the store."""
    assert version.index is not None
    gone = np.setdiff1d(np.arange(manifest.n_rows), ids, assume_unique=True)
    index = open_parts(storage, manifest.uid, version.index, gone if len(gone) else None)
    covered = ids[ids < version.index.n_rows]
    if not np.array_equal(index.ids, covered):
        lost, more = np.setdiff1d(covered, index.ids), np.setdiff1d(index.ids, covered)
        what = f"lacks {len(lost)} cells {lost[:3].tolist()} and has {len(more)} that do not exist {more[:3].tolist()}"
        first, parts = int([*lost, *more][0]), version.parts
        folder = next((part.folder for part in parts if part.start <= first < part.stop), parts[0].folder)
        yield Problem("index", folder, what)
        return
    yield from _report(version, "the embedding", _wrong_vectors(index, experiment, version, covered))
    stored = {name for part in version.parts for name in part.elsewhere}  # not in every part of the index
    for name in (name for name in obs_columns(experiment) if columns and name in index.columns and name not in stored):
        yield from _report(version, f"column {name!r}", _wrong_values(index, experiment, name, covered))


def _report(version: EmbeddingVersion, name: str, wrong: NDArray[np.int64]) -> Iterator[Problem]:
    """Yield a problem for each part with such cells."""
    for part in version.parts:
        cells = wrong[(wrong >= part.start) & (wrong < part.stop)]
        if len(cells):
            what = f"{name} of {len(cells)} cells differs from the store, as of cells {cells[:3].tolist()}"
            yield Problem("index", part.folder, what)


def _wrong_vectors(
    index: Index, experiment: Any, version: EmbeddingVersion, ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    wrong = [ids[:0]]
    for start in progress(range(0, len(ids), _ROWS), desc="index", unit="block"):
        chunk = ids[start : start + _ROWS]
        difference = np.abs(index.vectors(chunk) - read_embeddings(experiment, version.name, chunk)).max(axis=1)
        wrong.append(chunk[~(difference <= _INDEX_TOLERANCE)])
    return np.concatenate(wrong)


def _wrong_values(index: Index, experiment: Any, name: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cells with another value of a column."""
    wrong = [ids[:0]]
    for start in range(0, len(ids), _OBS_ROWS):
        chunk = ids[start : start + _OBS_ROWS]
        rows = (slice(int(chunk[0]), int(chunk[-1])),)
        table = experiment.obs.read(rows, column_names=["soma_joinid", name]).concat().sort_by("soma_joinid")
        if not np.array_equal(table["soma_joinid"].to_numpy(), chunk):
            return ids
        stored, indexed = table[name], index.obs(chunk, [name])[name]
        same = _same_text(stored, indexed) if stored.type == TEXT else _same_numbers(stored, indexed)
        wrong.append(chunk[~same])
    return np.concatenate(wrong)


def _same_text(stored: pa.ChunkedArray, indexed: pd.Series) -> NDArray[np.bool_]:
    """Compare text by its codes: few values are compared as text."""
    if not isinstance(indexed.dtype, pd.CategoricalDtype):  # the index has no value
        return np.asarray(pc.is_null(stored)) & indexed.isna().to_numpy()
    coded = pa.concat_arrays(stored.dictionary_encode().unify_dictionaries().chunks)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    positions = indexed.cat.categories.get_indexer(pd.Index(coded.dictionary.to_pylist(), dtype=object))
    # -2: a text that the index does not have; -1: a missing value, which has the last position.
    positions = np.append(np.where(positions < 0, -2, positions), -1)
    return np.asarray(positions[codes] == indexed.cat.codes.to_numpy(), dtype=np.bool_)


def _same_numbers(stored: pa.ChunkedArray, indexed: pd.Series) -> NDArray[np.bool_]:
    missing, not_indexed = np.asarray(pc.is_null(stored, nan_is_null=True)), indexed.isna().to_numpy()
    values = pc.if_else(pa.array(missing), pa.scalar(0).cast(stored.type), stored).to_numpy()
    known = np.zeros_like(values)
    known[~not_indexed] = indexed[~not_indexed].to_numpy(dtype=values.dtype)
    return np.where(missing | not_indexed, missing & not_indexed, values == known)
