"""`atlas.json`: the committed state of an atlas, replaced in one step and last, so that readers see all or nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import FormatError
from scim.label_transfer import Calibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core import IndexKind
    from scim.atlas.storage import Storage

FILE = "atlas.json"
COMMITS = "commits"
FORMAT = "scim-atlas"
VERSION = 2

_REMEDY = "scim.atlas.verify(uri, repair=True) brings the last commit back"


@dataclass(frozen=True)
class StoredArray:
    """A file that is written once and never changed."""

    name: str  # path in the atlas
    sha256: str
    n: int  # number of its entries


@dataclass(frozen=True)
class IndexPart:
    """A folder of the search index: the cells of a range of ids."""

    folder: str  # path in the atlas
    start: int
    stop: int  # ids `start` to `stop`, without those that were removed before it was built
    digest: str  # of its header, which has the checksums of its files
    elsewhere: tuple[str, ...]  # columns of obs with too many values for the index; the store has them


@dataclass(frozen=True)
class IndexEntry:
    """The search index of an embedding, and what was measured with it."""

    parts: tuple[IndexPart, ...]  # in the order of their ids, without gaps
    label_radius: float = field(metadata={"key": "reach"})  # see `Atlas.label_radius`
    kind: IndexKind
    recall: float  # parameters of `scim.index.build`, for the next build
    confidence: Calibration | None = None  # of label transfer; `None`: no cell had a label when it was built
    expression: StoredArray | None = None  # mean expression of each label in each study, if counts were sampled

    @property
    def n_rows(self) -> int:
        """Ids below this are covered."""
        return self.parts[-1].stop


@dataclass(frozen=True)
class EmbeddingVersion:
    """An embedding of the cells, the model that made it, and its index."""

    name: str = field(metadata={"key": "embedding"})  # of its array in obsm
    dim: int
    n_rows: int  # ids below this are embedded
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


@dataclass(frozen=True)
class Counted:
    """Cells whose counts are stored, and the genes that were measured in them: other genes are unknown, not zero."""

    start: int
    stop: int  # ids `start` to `stop`
    panel: StoredArray  # `soma_joinid` of the genes, ascending

    def among(self, ids: NDArray[np.int64]) -> slice:
        """Return the positions of these cells in ascending ids."""
        first, last = np.searchsorted(ids, (self.start, self.stop))
        return slice(int(first), int(last))


@dataclass(frozen=True)
class Manifest:
    """The committed state of an atlas; docs/atlas_format.md says what each entry means."""

    uid: str
    number: int  # of the commit, from 1
    made: str  # time of the commit, ISO 8601 in UTC
    what: str  # description of the change
    timestamp: int  # SOMA time in ms: files of later times are not part of the atlas
    n_rows: int  # ids below this were given to cells
    n_obs: int  # rows that were not removed
    published: EmbeddingVersion = field(metadata={"key": "space"})
    inventory: StoredArray = field(metadata={"key": "ledger"})
    draft: EmbeddingVersion | None = None  # an embedding that is not published yet
    counted: tuple[Counted, ...] = ()  # in the order of their ids
    names: tuple[StoredArray, ...] = ()  # hashes of studies and cell names
    removed: StoredArray | None = None  # ids of removed cells, ascending
    base: int = 0  # SOMA time of the last compaction: earlier fragments hold nothing that later ones do not
    samples: tuple[StoredArray, ...] = ()  # counts of some cells of each label in each study, in the order of their ids
    # Columns of obs without any value, which the store lacks: each gets a type with its first value. An earlier version
    # of scim knows no such entry, so that it is written only where there are some.
    empty_columns: tuple[str, ...] = field(default=(), metadata={"optional": True})

    @property
    def embeddings(self) -> list[EmbeddingVersion]:
        """The published embedding and the draft, if there is one."""
        return [self.published] if self.draft is None else [self.published, self.draft]


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Commit: make this the state that readers see; a second commit of this number is refused."""
    content = {"format": FORMAT, "version": VERSION, **_to_json(manifest)}
    sealed = json.dumps({**content, "sha256": _digest(content)}, indent=1) + "\n"
    storage.write(commit_file(manifest.number), sealed.encode(), new=True)
    storage.write(FILE, sealed.encode())


def commit_file(number: int) -> str:
    """Return the name of the permanent copy of `atlas.json`."""
    return f"{COMMITS}/{number:06d}.json"


def commits(storage: Storage) -> list[int]:
    """Return the numbers of the commits that have a file, ascending; those after the current one never counted."""
    names = (file.name.rpartition("/")[2].removesuffix(".json") for file in storage.files(COMMITS))
    return sorted(int(name) for name in names if name.isdigit())


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
    try:
        content = json.loads(raw)
    except ValueError as error:
        msg = f"{where!r} is not readable JSON ({error}); {_REMEDY}."
        raise FormatError(msg) from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        msg = f"{where!r} does not describe a scim atlas."
        raise FormatError(msg)
    version = content.pop("version", None)
    if version != VERSION:
        remedy = "upgrade scim-atlas" if isinstance(version, int) and version > VERSION else "make a new atlas"
        msg = f"The atlas at {storage.uri!r} has format version {version}, this scim reads {VERSION}; {remedy}."
        raise FormatError(msg)
    if content.pop("sha256", None) != _digest({"format": FORMAT, "version": VERSION, **content}):
        msg = f"{where!r} was changed since it was written; {_REMEDY}."
        raise FormatError(msg)
    try:
        manifest: Manifest = _from_json(Manifest, content)
        contradiction = _contradiction(manifest)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        msg = f"{where!r} is incomplete ({error}); {_REMEDY}."
        raise FormatError(msg) from error
    if contradiction:
        msg = f"{where!r} was edited: {contradiction}; {_REMEDY}."
        raise FormatError(msg)
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Return what in a manifest is impossible, whatever its checksum."""
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


_RECORDS: dict[str, Any] = {
    **dict.fromkeys(("space", "draft"), EmbeddingVersion),
    **dict.fromkeys(("ledger", "names", "removed", "panel", "samples", "expression"), StoredArray),
    "counted": Counted,
    "index": IndexEntry,
    "parts": IndexPart,
    **dict.fromkeys(("confidence", "with_expression"), Calibration),
}
"""Types of the objects in the file, by their keys."""


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        written = [entry for entry in fields(value) if getattr(value, entry.name) or "optional" not in entry.metadata]
        return {entry.metadata.get("key", entry.name): _to_json(getattr(value, entry.name)) for entry in written}
    return [_to_json(entry) for entry in value] if isinstance(value, tuple) else value


def _from_json(kind: Any, content: dict[str, Any]) -> Any:
    names = {entry.metadata.get("key", entry.name): entry.name for entry in fields(kind)}
    if unknown := sorted(set(content) - set(names)):
        msg = f"unknown entry {unknown[0]!r}"
        raise KeyError(msg)
    return kind(**{names[key]: _value(key, value) for key, value in content.items()})


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(key, entry) for entry in value)
    return _from_json(_RECORDS[key], value) if isinstance(value, dict) else value


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
