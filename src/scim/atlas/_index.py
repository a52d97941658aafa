"""The search index of an atlas: a part of the cells at its build, and small parts of the cells appended since."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec.structs import replace

from scim import index as knn
from scim._core import FormatError, keys, logger
from scim.atlas._columns import TEXT
from scim.atlas._expression import measure_expression, restrict_expression, write_expression
from scim.atlas._labels import LabelledCells, fit_label_transfer, measure_label_radius
from scim.atlas.commit import IndexEntry, IndexPart
from scim.atlas.soma import (
    IntegrityChecker,
    embedding_path,
    named_damage,
    obs_columns,
    open_experiment,
    read_embeddings,
    read_obs,
)
from scim.atlas.storage import cached
from scim.index._files import header_digest
from scim.io import map_npy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim._core import IndexKind
    from scim.atlas.commit import EmbeddingVersion, Transaction
    from scim.atlas.storage import Storage

MOST_VALUES = 65_536  # columns of more values, as `cell_id`, stay in the store: they name cells, not groups of them
_ROWS, _COLUMN_ROWS = 65_536, 1 << 18  # embeddings and rows of obs that are read at a time
_FACTOR = 2  # a new part takes in the parts before it, except the first, that are at most this many times as large


class Cells(NamedTuple):
    """Cells that are to be indexed, in the order of their ids."""

    ids: NDArray[np.int64]
    embeddings: NDArray[np.float32]  # (n, dim), mapped from a file
    columns: dict[str, Any]  # of obs, that the index keeps
    elsewhere: tuple[str, ...]  # columns of obs that have too many values for the index


def build_entry(
    transaction: Transaction,
    embedding: EmbeddingVersion,
    *,
    kind: IndexKind = "auto",
    recall: float = 0.99,
    seed: int = 0,
    measured: IndexEntry | None = None,
) -> IndexEntry:
    """Build the index of an embedding over all cells of the store, as one part.

    Label radius and calibration are those of `measured`, an index of the same cells, so that compaction changes no
    prediction; without it they are measured, and so is the expression of the labels.
    """
    storage, stop = transaction.storage, transaction.manifest.n_rows
    _check_stored(transaction, embedding)
    with (
        named_damage(storage),
        open_experiment(storage, at=transaction.tick(), n_rows=stop) as experiment,
        cells_of(storage, experiment, embedding, 0, stop, transaction.manifest.empty_columns) as cells,
    ):
        part, index = build_part(storage, cells, 0, stop, transaction.number, kind=kind, recall=recall, seed=seed)
        frame = _labels_and_studies(cells, experiment)
        labelled = LabelledCells.of(frame, stop, keys.ATLAS_LABEL, index.empty_ids)
        if measured is not None:
            expression = restrict_expression(transaction, measured.expression, labelled)
            return replace(measured, parts=(part,), kind=kind, recall=recall, expression=expression)
        radius = measure_label_radius(index, cells, frame, seed)
        reference, samples = measure_expression(transaction, experiment, labelled)
        calibration = None
        if reference is not None and not samples:  # the calibration that was measured with it stays
            calibration = None if embedding.index is None else embedding.index.confidence
            reference = None if calibration is None else reference
        transfer = fit_label_transfer(index, labelled, calibration, seed, reference, samples)
        calibration = None if transfer is None else transfer.calibration
        expression = None if reference is None else write_expression(transaction, reference)
        return IndexEntry((part,), radius, kind, recall, calibration, expression)


def _check_stored(transaction: Transaction, embedding: EmbeddingVersion) -> None:
    """Check what is indexed: an index of damaged data would hide the damage."""
    integrity = IntegrityChecker(transaction.storage, transaction.manifest)
    integrity.check("obs", later_columns=True)
    integrity.check(embedding_path(embedding.name))


def _labels_and_studies(cells: Cells, experiment: Any) -> pd.DataFrame:
    """Return study and label of the cells, as categoricals by id."""
    names = [keys.ATLAS_STUDY, keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID]
    if keys.ATLAS_PRIMARY in cells.columns:
        names.append(keys.ATLAS_PRIMARY)
    if set(names) <= set(cells.columns):
        return pd.DataFrame({name: cells.columns[name] for name in names}, index=cells.ids)
    return read_obs(experiment, cells.ids, names).astype("category")


def extend(transaction: Transaction, stop: int) -> IndexEntry | None:
    """Add a part for the cells up to id `stop` to the published index; small parts before it are taken in."""
    embedding, storage = transaction.manifest.published, transaction.storage
    entry = embedding.index
    if entry is None:
        return None
    start, kept = entry.n_rows, list(entry.parts)
    while len(kept) > 1 and kept[-1].stop - kept[-1].start <= _FACTOR * (stop - start):
        start = kept.pop().start
    if start < entry.n_rows:  # cells of earlier commits are read again
        _check_stored(transaction, embedding)
    with (
        named_damage(storage),
        open_experiment(storage, at=transaction.tick(), n_rows=stop) as experiment,
        cells_of(storage, experiment, embedding, start, stop) as cells,
    ):
        if len(cells.ids) == 0:
            return entry
        part, _ = build_part(storage, cells, start, stop, transaction.number, recall=entry.recall)
    return replace(entry, parts=(*kept, part))


@contextlib.contextmanager
def cells_of(
    storage: Storage,
    experiment: Any,
    embedding: EmbeddingVersion,
    start: int,
    stop: int,
    empty: Sequence[str] = (),
) -> Iterator[Cells]:
    """Yield the cells of a range of ids, with `empty` columns too; embeddings are mapped from a temporary file."""
    ids, columns, elsewhere = columns_to_index(experiment, start, stop)
    if empty:
        columns |= dict.fromkeys(empty, pd.Categorical([None] * len(ids), categories=pd.Index([], dtype=object)))
        order = [*keys.ATLAS_COLUMNS, *sorted(set(columns) - set(keys.ATLAS_COLUMNS))]
        columns = {name: columns[name] for name in order if name in columns}
    folder = None if storage.path is None else storage.path / "index"
    if folder is not None:
        folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-", ignore_cleanup_errors=True) as temporary:
        file = Path(temporary) / "embeddings.npy"
        with file.open("wb") as out:  # written, not mapped: pages that wait for the disk would count as memory
            shape = (len(ids), embedding.dim)
            np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for first in range(0, len(ids), _ROWS):
                out.write(read_embeddings(experiment, embedding.name, ids[first : first + _ROWS]).tobytes())
        mapped = map_npy(file, "r")
        yield Cells(ids, mapped, columns, tuple(elsewhere))
        del mapped


def build_part(
    storage: Storage,
    cells: Cells,
    start: int,
    stop: int,
    number: int,
    *,
    kind: IndexKind = "auto",
    recall: float = 0.99,
    seed: int = 0,
) -> tuple[IndexPart, knn.Index]:
    """Write the index of cells as the folder of commit `number`, and open it."""
    folder = f"index/v{number:06d}"
    params: dict[str, Any] = {} if kind == "exact" else {"recall": recall}
    with contextlib.ExitStack() as stack:
        if storage.path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        else:
            path = storage.path / folder
        index = knn.build(
            cells.embeddings, cells.ids, obs=cells.columns, kind=kind, path=path, overwrite=True, rng=seed, **params
        )
        part = IndexPart(folder, start, stop, header_digest(path), cells.elsewhere)
        if storage.path is None:
            storage.upload(path, folder)
    logger.info("built an index (%s) of %d cells in %s", index.kind, len(cells.ids), folder)
    return part, index


def open_parts(storage: Storage, uid: str, entry: IndexEntry, removed: NDArray[np.int64] | None) -> knn.Index:
    """Open a committed index, without removed cells; that of a remote atlas from its local copy."""
    try:
        return knn.open([_local_folder(storage, uid, part) for part in entry.parts], without=removed)
    except (FormatError, FileNotFoundError) as error:
        msg = f"The index of the atlas at {storage.uri!r} cannot be read ({error}). If the atlas was vacuumed since it "
        msg += "was opened, open it again; otherwise open it with mode='w' and call build_index()."
        raise FormatError(msg) from error


def _local_folder(storage: Storage, uid: str, part: IndexPart) -> Path:
    folder = cached(storage, part.folder, f"{uid}-{part.digest[:32]}", knn.verify)
    if header_digest(folder) != part.digest:
        msg = f"{storage.uri}/{part.folder} is another index than the one that was committed"
        raise FormatError(msg)
    return folder


def columns_to_index(experiment: Any, start: int, stop: int) -> tuple[NDArray[np.int64], dict[str, Any], list[str]]:
    """Return the ids of a range, ascending, their obs columns of few values, coded, and the names of the others."""
    kept: dict[str, Any] = {}
    elsewhere = []
    for name in obs_columns(experiment):
        values = _few_values(experiment, name, start, stop)
        if values is None and experiment.obs.schema.field(name).type != TEXT:
            values = _numbers(experiment, name, start, stop)
        if values is None:
            elsewhere.append(name)
        else:
            kept[name] = values
    parts = [np.sort(table["soma_joinid"].to_numpy()) for table in _blocks(experiment, [], start, stop)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts]), kept, elsewhere


def _few_values(experiment: Any, name: str, start: int, stop: int) -> Any:
    """Return a column as codes of its values, ascending by id; `None` if it has too many."""
    known: dict[Any, int] = {}
    parts = [np.empty(0, dtype=np.int8)]
    for table in _blocks(experiment, [name], start, stop):
        ids, coded = table["soma_joinid"].to_numpy(), table[name].dictionary_encode().unify_dictionaries()
        coded = coded.combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        if len(coded.dictionary) <= MOST_VALUES:  # else the values alone would need more memory than all columns
            values = coded.dictionary.to_pylist()
            position = [known.setdefault(value, len(known)) if value == value else -1 for value in values]
        if len(coded.dictionary) > MOST_VALUES or len(known) > MOST_VALUES:
            return None
        codes = np.array([*position, -1])[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        codes = codes if (ids[1:] > ids[:-1]).all() else codes[np.argsort(ids)]
        parts.append(codes.astype(np.min_scalar_type(-len(known) - 1)))
    codes, kind = np.concatenate(parts), experiment.obs.schema.field(name).type
    if kind == pa.bool_():
        values = np.array([*known, False], dtype=np.bool_)[codes]
        return pd.arrays.BooleanArray(values, codes < 0)
    return pd.Categorical.from_codes(codes, categories=pd.Index([*known], dtype=object if kind == TEXT else None))


def _numbers(experiment: Any, name: str, start: int, stop: int) -> pd.Categorical:
    """Return a column of numbers, most of which differ, as codes of its values, ascending by id."""
    missing, kind = np.zeros(stop - start, dtype=np.bool_), experiment.obs.schema.field(name).type
    values, n = np.empty(stop - start, dtype=kind.to_pandas_dtype()), 0
    for table in _blocks(experiment, [name], start, stop):
        ids, column = table["soma_joinid"].to_numpy(), table[name].combine_chunks()
        order, rows = np.argsort(ids, kind="stable"), slice(n, n + len(ids))
        values[rows] = column.fill_null(0).to_numpy(zero_copy_only=False)[order]
        missing[rows] = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)[order]
        n = rows.stop
    values, missing = values[:n], missing[:n]
    categories, positions = np.unique(values[~missing], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[~missing] = positions
    return pd.Categorical.from_codes(codes, categories=pd.Index(categories))


def _blocks(experiment: Any, names: list[str], start: int, stop: int) -> Iterator[pa.Table]:
    """Yield ids and columns of a range of ids, block by block."""
    for first in range(start, stop, _COLUMN_ROWS):
        rows = (slice(first, min(first + _COLUMN_ROWS, stop) - 1),)
        yield experiment.obs.read(rows, column_names=["soma_joinid", *names]).concat()
