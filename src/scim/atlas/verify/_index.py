"""What the search index says of each cell, against the store: ids, vectors and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scim._core.log import progress
from scim.atlas._parts import open_parts
from scim.atlas.soma import obs_columns, read_embeddings
from scim.atlas.source import TEXT
from scim.atlas.verify._problem import Problem
from scim.atlas.verify._store import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage
    from scim.index import Index

_TOLERANCE = 1e-3
"""How far a number of an index may be from the store: its 16-bit values are about 1e-5 away."""

_OBS_ROWS = 262_144
_UNKNOWN = -2
"""Code of a text that the index does not have; -1 is a missing value."""


def check_index(
    storage: Storage, experiment: Any, manifest: Manifest, space: Space, ids: NDArray[np.int64], *, columns: bool
) -> Iterator[Problem]:
    """Compare what the index says of each cell with the store.

    Parameters
    ----------
    ids
        All cells.
    columns
        Whether to compare the columns too; obs is whole.
    """
    assert space.index is not None
    gone = np.setdiff1d(np.arange(manifest.n_rows), ids, assume_unique=True)
    index = open_parts(storage, manifest.uid, space.index, gone if len(gone) else None)
    covered = ids[ids < space.index.n_rows]
    if not np.array_equal(index.ids, covered):
        lost, more = np.setdiff1d(covered, index.ids), np.setdiff1d(index.ids, covered)
        what = f"lacks {len(lost)} cells {lost[:3].tolist()} and has {len(more)} that there are not {more[:3].tolist()}"
        yield Problem("index", _folder_of(space, int([*lost, *more][0])), what)
        return
    yield from _report(space, "the embedding", _strange_vectors(index, experiment, space, covered))
    for name in _comparable(index, experiment, space) if columns else ():
        yield from _report(space, f"column {name!r}", _strange_values(index, experiment, name, covered))


def _report(space: Space, name: str, wrong: NDArray[np.int64]) -> Iterator[Problem]:
    """Name each part that has some of the cells."""
    for part in () if space.index is None else space.index.parts:
        here = wrong[(wrong >= part.start) & (wrong < part.stop)]
        if len(here):
            what = f"{name} of {len(here)} cells differs from the store, as of cells {here[:3].tolist()}"
            yield Problem("index", part.folder, what)


def _folder_of(space: Space, cell: int) -> str:
    parts = () if space.index is None else space.index.parts
    return next((part.folder for part in parts if part.start <= cell < part.stop), parts[0].folder)


def _strange_vectors(index: Index, experiment: Any, space: Space, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    wrong = [ids[:0]]
    for start in progress(range(0, len(ids), ROWS), desc="index", unit="block"):
        some = ids[start : start + ROWS]
        apart = np.abs(index.vectors(some) - read_embeddings(experiment, space.embedding, some)).max(axis=1)
        wrong.append(some[~(apart <= _TOLERANCE)])
    return np.concatenate(wrong)


def _comparable(index: Index, experiment: Any, space: Space) -> list[str]:
    """Return the columns that every part keeps: readers have the others from the store."""
    parts = () if space.index is None else space.index.parts
    elsewhere = {name for part in parts for name in part.elsewhere}
    return [name for name in obs_columns(experiment) if name in index.columns and name not in elsewhere]


def _strange_values(index: Index, experiment: Any, name: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cells of which a column differs."""
    wrong = [ids[:0]]
    for start in range(0, len(ids), _OBS_ROWS):
        some = ids[start : start + _OBS_ROWS]
        rows = (slice(int(some[0]), int(some[-1])),)
        table = experiment.obs.read(rows, column_names=["soma_joinid", name]).concat()
        table = table.sort_by("soma_joinid")
        if not np.array_equal(table["soma_joinid"].to_numpy(), some):
            return ids
        there, known = table[name], index.obs(some, [name])[name]
        same = _same_text(there, known) if there.type == TEXT else _same_numbers(there, known)
        wrong.append(some[~same])
    return np.concatenate(wrong)


def _same_text(there: pa.ChunkedArray, known: pd.Series) -> NDArray[np.bool_]:
    """Compare text by its codes: few values are compared as text."""
    if not isinstance(known.dtype, pd.CategoricalDtype):  # the index has no value at all
        return np.asarray(pc.is_null(there)) & known.isna().to_numpy()
    coded = pa.concat_arrays(there.dictionary_encode().unify_dictionaries().chunks or [pa.nulls(0, TEXT)])
    if not pa.types.is_dictionary(coded.type):
        return np.ones(0, dtype=np.bool_)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    places = known.cat.categories.get_indexer(pd.Index(coded.dictionary.to_pylist(), dtype=object))
    places = np.append(np.where(places < 0, _UNKNOWN, places), -1)  # the code of a missing value is that of the last
    same: NDArray[np.bool_] = places[codes] == known.cat.codes.to_numpy()
    return same


def _same_numbers(there: pa.ChunkedArray, known: pd.Series) -> NDArray[np.bool_]:
    missing = np.asarray(pc.is_null(there, nan_is_null=True))
    zero = pa.scalar(0).cast(there.type)
    values = pc.if_else(pa.array(missing), zero, there).to_numpy()
    unknown = known.isna().to_numpy()
    others = known.to_numpy(dtype=values.dtype, na_value=0)
    same: NDArray[np.bool_] = (missing & unknown) | (~missing & ~unknown & (values == others))
    return same
