"""Small parts that are searched in full, taken together: one is searched in less time than several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scim.index._segment import Segment
from scim.index.exact._exact import ExactEngine
from scim.index.filter import Column, Rows, United

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOGETHER = 65_536
"""Rows that are taken together at most, so that neither memory nor the time of an append grows with what is there."""


def gathered(segments: Sequence[Segment]) -> list[Segment]:
    """Return segments in which small exact ones that follow each other are one; the first stays as it is.

    Deleted rows of those that are taken together are let go: their ids may come again.
    """
    runs: list[list[Segment]] = []
    for segment in segments[1:]:
        run = runs[-1] if runs else []
        exact = all(part.engine.kind == "exact" for part in [*run, segment])
        if run and exact and sum(part.n_rows for part in [*run, segment]) <= _TOGETHER:
            run.append(segment)
        else:
            runs.append([segment])
    return [*segments[:1], *(one for run in runs for one in (run if len(run) == 1 else _as_one(run)))]


def _as_one(run: Sequence[Segment]) -> list[Segment]:
    """Return exact segments as one, or as none if all of their rows were deleted."""
    kept = [np.arange(part.engine.n_rows) if part.gone is None else np.flatnonzero(~part.gone) for part in run]
    ids = np.concatenate([part.ids for part in run])
    if not len(ids):
        return []
    order = np.argsort(ids, kind="stable")
    units = np.concatenate([part.engine.vectors(ranks) for part, ranks in zip(run, kept, strict=True)])
    which = np.split(np.argsort(order), np.cumsum([len(ranks) for ranks in kept])[:-1])
    columns = _Gathered([part.columns for part in run], [*map(Rows, which, kept)], len(ids))
    return [Segment(ExactEngine(units[order]), ids[order], columns)]


class _Gathered(Mapping[str, Column]):
    """The columns of several tables as those of one, each made when it is first used: those of files are read then."""

    def __init__(self, tables: Sequence[Mapping[str, Column]], rows: Sequence[Rows], n_rows: int) -> None:
        self._tables, self._rows, self._n_rows = tables, rows, n_rows
        self._names = dict.fromkeys(name for table in tables for name in table)
        self._open: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._open:
            united = United(name, [table.get(name) for table in self._tables])
            # Coded once more, without the values that only deleted rows have.
            self._open[name] = Column.of(name, united.take(self._rows, self._n_rows).decode())
        return self._open[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
