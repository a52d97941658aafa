"""Append, delete and compact rows: each makes new segments from the present ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.cosine import unit_rows
from scim.index._engine import ExactEngine
from scim.index._make import SegmentsSource, in_memory, make_engine
from scim.index._segments import Segment, column_names, frame_of, ids_of, locate
from scim.index.filter import Column, CombinedColumn, LazyColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_MERGED_ROWS = 65_536  # at most, so that neither memory nor the time of an append grows with the index


def append(
    segments: Sequence[Segment], matrix: NDArray[Any], ids: NDArray[np.int64], columns: Mapping[str, Column]
) -> list[Segment]:
    """Return segments with further rows, in a new segment or merged with rows appended before."""
    present = np.any([segment.locate(ids)[1] for segment in segments], axis=0)
    if present.any():
        first = ids[np.argmax(present)]
        msg = f"{present.sum()} of the `ids` are in the index already, the first is {first}; pass new ones."
        raise ValueError(msg)
    units = unit_rows(matrix, what="rows")
    if len(units) == 0:
        return list(segments)
    order = np.argsort(ids, kind="stable")
    taken = {name: column.take(order) for name, column in columns.items()}
    merged = merge_small([*segments, Segment(ExactEngine(units[order]), ids[order], taken)])
    merged[-1].columns = dict(merged[-1].columns)  # now, so that an error comes before anything is appended
    return merged


def delete(segments: Sequence[Segment], ids: NDArray[np.int64]) -> list[Segment]:
    """Return segments with the rows of ids, which must exist, marked as deleted."""
    return [segment.without(ranks) if len(ranks) else segment for segment, _, ranks in locate(segments, ids)]


def compact(segments: Sequence[Segment], rng: int | np.random.Generator | None, n_threads: int | None) -> list[Segment]:
    """Return one segment of the kind and the parameters of the first, of all rows that were not deleted."""
    ids = ids_of(segments)
    if len(ids) == 0:
        msg = "All rows were deleted; an index needs at least one."
        raise ValueError(msg)
    first = segments[0].engine
    source = SegmentsSource(segments, ids)
    engine = make_engine(first.kind, source, np.random.default_rng(rng), n_threads, in_memory, **first.given)
    order = engine.ranks_at(np.arange(engine.n_rows))
    frame = frame_of(segments, ids, column_names(segments), {})
    columns = {str(name): Column.of(str(name), frame[name]).take(order) for name in frame}
    return [Segment(engine, None if ids[0] == 0 and ids[-1] == len(ids) - 1 else ids, columns)]


def merge_small(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments in which small exact ones that follow each other are merged, without their deleted rows.

    The first stays as it is. One segment is searched in less time than several.
    """
    runs: list[list[Segment]] = []
    for segment in segments[1:]:
        run = runs[-1] if runs else []
        exact = all(part.engine.kind == "exact" for part in [*run, segment])
        if run and exact and sum(part.n_rows for part in [*run, segment]) <= _MERGED_ROWS:
            run.append(segment)
        else:
            runs.append([segment])
    return [*segments[:1], *(segment for run in runs for segment in (run if len(run) == 1 else _merge(run)))]


def _merge(run: Sequence[Segment]) -> list[Segment]:
    """Return exact segments as one, or as none if all of their rows were deleted."""
    kept = [np.arange(part.engine.n_rows) if part.deleted is None else np.flatnonzero(~part.deleted) for part in run]
    ids = np.concatenate([part.ids for part in run])
    if not len(ids):
        return []
    order = np.argsort(ids, kind="stable")
    units = np.concatenate([part.engine.vectors(ranks) for part, ranks in zip(run, kept, strict=True)])
    which = np.split(np.argsort(order), np.cumsum([len(ranks) for ranks in kept])[:-1])

    def read(name: str) -> Column:
        combined = CombinedColumn(name, [part.columns.get(name) for part in run])
        # Coded once more, without the values that only deleted rows have.
        return Column.of(name, combined.take([*zip(which, kept, strict=True)], len(ids)).decode())

    return [Segment(ExactEngine(units[order]), ids[order], LazyColumns(column_names(run), read))]
