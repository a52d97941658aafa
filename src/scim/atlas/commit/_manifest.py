"""`atlas.json`: the committed state of an atlas, replaced in one step and last, so that readers see all or nothing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from scim._core import FormatError, IndexKind
from scim.atlas.storage import number_of
from scim.io import Record, as_record, parse_object, sealed, unsealed
from scim.label_transfer import Calibration  # noqa: TC001  (msgspec reads annotations)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.atlas.storage import Storage

FILE = "atlas.json"
COMMITS = "commits"
FORMAT = "scim-atlas"
VERSION = 2

_REMEDY = "scim.atlas.verify(uri, repair=True) brings the last commit back."

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Time = Annotated[int, msgspec.Meta(ge=0, le=32_503_680_000_000)]
"""Milliseconds since 1970, before the year 3000: TileDB reads what was written before a time, whatever its clock."""
Checksum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

_PARTS = {  # names that scim gives to parts of an atlas; an embedding that was made elsewhere keeps its own
    "embedding": r"(?!__|\.)[^/\\:\x00-\x1f\x7f\ud800-\udfff]{1,200}",
    "model": r"model|models/\d{6,}",
    "index": r"index/v\d{6,}",
    "ledger": r"ledger/\d{6,}\.json",
    "names": r"names/\d{6,}\.npy",
    "removed": r"removed/\d{6,}\.npy",
    "panel": r"panels/\d{6,}-\d+\.npy",
    "samples": r"samples/\d{6,}-\d+\.npz",
    "expression": r"expression/\d{6,}\.npz",
}


class StoredArray(Record, frozen=True):
    """A file that is written once and never changed."""

    name: str  # path in the atlas
    sha256: Checksum
    n: Count  # number of its entries


class IndexPart(Record, frozen=True):
    """A folder of the search index: the cells of a range of ids."""

    folder: str  # path in the atlas
    start: Count
    stop: Count  # ids `start` to `stop`, without those that were removed before it was built
    digest: Checksum  # of its header, which has the checksums of its files
    elsewhere: tuple[str, ...]  # columns of obs with too many values for the index; the store has them


class IndexEntry(Record, frozen=True):
    """The search index of an embedding, and what was measured with it."""

    parts: Annotated[tuple[IndexPart, ...], msgspec.Meta(min_length=1)]  # in the order of their ids, without gaps
    label_radius: Annotated[float, msgspec.Meta(ge=0, le=2)] = msgspec.field(name="reach")  # see `Atlas.label_radius`
    kind: IndexKind
    recall: Annotated[float, msgspec.Meta(ge=0, le=1)]  # parameters of `scim.index.build`, for the next build
    confidence: Calibration | None = None  # of label transfer; `None`: no cell had a label when it was built
    expression: StoredArray | None = None  # mean expression of each label in each study, if counts were sampled

    @property
    def n_rows(self) -> int:
        """Ids below this are covered."""
        return self.parts[-1].stop


class EmbeddingVersion(Record, frozen=True):
    """An embedding of the cells, the model that made it, and its index."""

    name: str = msgspec.field(name="embedding")  # of its array in obsm
    dim: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    n_rows: Count  # ids below this are embedded
    model: str | None  # its `uid`; `None`: another method made the embedding
    folder: str | None  # of the model; `None`: the atlas has none, the embedding was made elsewhere
    index: IndexEntry | None = None

    @property
    def parts(self) -> tuple[IndexPart, ...]:
        """The parts of the index, none without one."""
        return () if self.index is None else self.index.parts

    @property
    def expression(self) -> StoredArray | None:
        """The expression reference of the index, if there is one."""
        return None if self.index is None else self.index.expression


class Counted(Record, frozen=True):
    """Cells whose counts are stored, and the genes that were measured in them: other genes are unknown, not zero."""

    start: Count
    stop: Count  # ids `start` to `stop`
    panel: StoredArray  # `soma_joinid` of the genes, ascending

    def among(self, ids: NDArray[np.int64]) -> slice:
        """Return the positions of these cells in ascending ids."""
        first, last = np.searchsorted(ids, (self.start, self.stop))
        return slice(int(first), int(last))


class Manifest(Record, frozen=True):
    """The committed state of an atlas; docs/atlas_format.md says what each entry means."""

    uid: str
    number: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]  # of the commit, from 1
    made: str  # time of the commit, ISO 8601 in UTC
    what: str  # description of the change
    timestamp: Time  # SOMA time in ms: files of later times are not part of the atlas
    n_rows: Count  # ids below this were given to cells
    n_obs: Count  # rows that were not removed
    published: EmbeddingVersion = msgspec.field(name="space")
    inventory: StoredArray = msgspec.field(name="ledger")
    draft: EmbeddingVersion | None = None  # an embedding that is not published yet
    counted: tuple[Counted, ...] = ()  # in the order of their ids
    names: tuple[StoredArray, ...] = ()  # hashes of studies and cell names
    removed: StoredArray | None = None  # ids of removed cells, ascending
    base: Time = 0  # SOMA time of the last compaction: earlier fragments hold nothing that later ones do not
    samples: tuple[StoredArray, ...] = ()  # counts of some cells of each label in each study, in the order of their ids
    # Columns of obs without any value, which the store lacks: each gets a type with its first value. An earlier version
    # of scim knows no such entry, so that it is written only where there are some.
    empty_columns: tuple[str, ...] = ()

    @property
    def embeddings(self) -> list[EmbeddingVersion]:
        """The published embedding and the draft, if there is one."""
        return [self.published] if self.draft is None else [self.published, self.draft]


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Commit: make this the state that readers see; a second commit of this number is refused."""
    content = {"format": FORMAT, "version": VERSION, **msgspec.to_builtins(manifest)}
    if not manifest.empty_columns:
        del content["empty_columns"]
    raw = (json.dumps(sealed(content), indent=1) + "\n").encode()
    storage.write(commit_file(manifest.number), raw, new=True)
    storage.write(FILE, raw)


def commit_file(number: int) -> str:
    """Return the name of the permanent copy of `atlas.json`."""
    return f"{COMMITS}/{number:06d}.json"


def commits(storage: Storage) -> list[int]:
    """Return the numbers of the commits that have a file, ascending; those after the current one never counted."""
    numbers = (number_of(file.name) for file in storage.files(COMMITS))
    return sorted(number for number in numbers if number >= 0)


def read_manifest(storage: Storage, name: str = FILE) -> Manifest:
    """Read the committed state, or that of an earlier commit; `FormatError` if the file is damaged or foreign."""
    try:
        raw = storage.read(name)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{storage.uri!r} is not a scim atlas: it has no {name!r}. scim.atlas.create() makes one."
        raise FileNotFoundError(msg) from error
    return parse_manifest(storage, raw, name)


def parse_manifest(storage: Storage, raw: bytes, name: str = FILE) -> Manifest:
    """Return the state that the content of a manifest file describes, as :func:`read_manifest` does."""
    where = f"{storage.uri}/{name}"
    content = parse_object(raw, where)
    kind, version = content.get("format"), content.get("version")
    if kind != FORMAT:
        msg = f"{where!r} does not describe a scim atlas."
        raise FormatError(msg)
    if version != VERSION:
        remedy = "upgrade scim-atlas" if isinstance(version, int) and version > VERSION else "make a new atlas"
        msg = f"The atlas at {storage.uri!r} has format version {version}, this scim reads {VERSION}; {remedy}."
        raise FormatError(msg)
    content = unsealed(content, where, remedy=_REMEDY)
    del content["format"], content["version"]
    manifest = as_record(content, Manifest, where)
    if contradiction := _contradiction(manifest):
        msg = f"{where!r} was edited: {contradiction}; {_REMEDY}"
        raise FormatError(msg)
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Return what in a manifest is impossible, whatever its checksum."""
    for part, name in _named(manifest):
        if re.fullmatch(_PARTS[part], name, re.ASCII) is None:
            return f"{name!r} is not a name of this part ({part})"
    n_rows, n_removed = manifest.n_rows, 0 if manifest.removed is None else manifest.removed.n
    if n_rows - n_removed != manifest.n_obs:
        return f"{n_rows} rows less {n_removed} removed are not {manifest.n_obs} cells"
    if (n_names := sum(entry.n for entry in manifest.names)) < manifest.n_obs:
        return f"{n_names} names for {manifest.n_obs} cells"
    if any(not 0 <= cells.start < cells.stop <= n_rows for cells in manifest.counted):
        return f"counts of the cells {manifest.counted} among {n_rows} rows"
    for embedding in manifest.embeddings:
        ends = [0, *(part.stop for part in embedding.parts)]
        if [part.start for part in embedding.parts] != ends[:-1] or ends[-1] > n_rows:
            return f"an index of the rows {[(part.start, part.stop) for part in embedding.parts]} of {n_rows}"
        if not 0 <= embedding.n_rows <= n_rows:
            return f"{embedding.n_rows} embeddings for {n_rows} rows"
    return None


def _named(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the names of the parts of an atlas, each with its kind."""
    yield "ledger", manifest.inventory.name
    yield from (("names", entry.name) for entry in manifest.names)
    yield from (("removed", entry.name) for entry in [manifest.removed] if entry is not None)
    yield from (("panel", counted.panel.name) for counted in manifest.counted)
    yield from (("samples", entry.name) for entry in manifest.samples)
    for embedding in manifest.embeddings:
        yield "embedding", embedding.name
        yield from (("model", folder) for folder in [embedding.folder] if folder is not None)
        yield from (("index", part.folder) for part in embedding.parts)
        yield from (("expression", entry.name) for entry in [embedding.expression] if entry is not None)
