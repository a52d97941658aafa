"""The header of a saved index: its segments, with their parameters under the keys of the file, and its files."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import msgspec

from scim.index.filter import Kind  # noqa: TC001  (msgspec reads annotations)
from scim.io import Record

MOST_LISTS = 1 << 22  # of an `ivf` index; a billion rows have a million by default
MOST_NEIGHBORS = 4096  # links of a row of a `graph`, which are in memory for all rows

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
Candidates = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]  # more than there are rows count as all
Measured = Annotated[float, msgspec.Meta(ge=0, le=1 << 40)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Factor = Annotated[float, msgspec.Meta(ge=0, le=1e6)]  # a `probe_factor` of 1e6 probes all lists
Checksum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
ArrayName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{1,64}$")]


class FileEntry(TypedDict):
    """An npy file."""

    shape: list[Count]
    dtype: str
    bytes: Count
    sha256: Checksum


class ColumnFacts(TypedDict):
    """A column of `obs`."""

    name: str
    kind: Kind


class SegmentEntry(Record, frozen=True):
    """A segment."""

    kind: str
    n_rows: Positive
    dim: Positive
    params: dict[str, Any]  # one of the records below
    columns: tuple[ColumnFacts, ...]
    arrays: tuple[ArrayName, ...]

    def __post_init__(self) -> None:
        names = [column["name"] for column in self.columns]
        if len(set(names)) < len(names) or len(set(self.arrays)) < len(self.arrays):
            msg = "a column or an array occurs twice"
            raise ValueError(msg)


class Header(Record, frozen=True):
    """All of the header but its checksum."""

    format: str
    version: int
    segments: Annotated[tuple[SegmentEntry, ...], msgspec.Meta(min_length=1)]
    files: dict[str, FileEntry]

    def __post_init__(self) -> None:
        if len({segment.dim for segment in self.segments}) > 1:
            msg = "the segments have rows of several lengths"
            raise ValueError(msg)
        named = {file_name(name, number) for number, entry in enumerate(self.segments) for name in entry.arrays}
        if wrong := sorted(named.symmetric_difference(self.files)):
            msg = f"{wrong[0]!r} is not both an array of a segment and a file"
            raise ValueError(msg)


class ExactParams(Record, frozen=True):
    """Parameters of an index of kind `exact`."""


class IvfPoint(Record, frozen=True):
    """A pair of search parameters of an index of kind `ivf`, and what was measured with it."""

    reach: Factor
    depth: Factor
    recall: Share
    n_scanned: Measured


class IvfParams(IvfPoint, frozen=True):
    """Parameters of an index of kind `ivf`."""

    curve: Annotated[tuple[IvfPoint, ...], msgspec.Meta(min_length=1, max_length=1000)]
    shrink: Share = 0.0
    n_lists: Annotated[int, msgspec.Meta(ge=1, le=MOST_LISTS)] | None = None


class GraphPoint(Record, frozen=True):
    """A number of candidates of an index of kind `graph`, and what was measured with it."""

    effort: Candidates
    recall: Share
    n_measured: Measured


class GraphParams(Record, frozen=True):
    """Parameters of an index of kind `graph`; without `curve` the candidates were given, and nothing was measured."""

    n_neighbors: Annotated[int, msgspec.Meta(ge=1, le=MOST_NEIGHBORS)]
    effort: Candidates
    recall: Share | None = None
    n_measured: Measured | None = None
    curve: Annotated[tuple[GraphPoint, ...], msgspec.Meta(min_length=1, max_length=1000)] | None = None

    def __post_init__(self) -> None:
        if len({value is None for value in (self.recall, self.n_measured, self.curve)}) > 1:
            msg = "recall, n_measured and curve belong together"
            raise ValueError(msg)


PARAMS: dict[str, type[Record]] = {"exact": ExactParams, "ivf": IvfParams, "graph": GraphParams}


def file_name(name: str, number: int) -> str:
    """Return the name of the file of an array of the segment with this number."""
    return f"{name}.{number}.npy" if number else f"{name}.npy"
