"""`atlas.json`: what of the atlas is committed. It is replaced in one step, and last: readers see all or nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core.errors import FormatError
from scim.label_transfer import Confidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim._core.types import IndexKind
    from scim.atlas.storage import Storage

FILE = "atlas.json"
COMMITS = "commits"
FORMAT = "scim-atlas"
VERSION = 2

_REMEDY = "scim.atlas.verify(uri, repair=True) brings the last commit back"


@dataclass(frozen=True)
class StoredArray:
    """A file that is written once and never changed."""

    name: str
    """Relative to the atlas."""

    sha256: str
    n: int
    """Number of its entries."""


@dataclass(frozen=True)
class IndexPart:
    """A folder of the search index: the cells of a range of ids."""

    folder: str
    """Relative to the atlas."""

    start: int
    stop: int
    """Its cells are those of ids `start` to `stop` that were not removed when it was built."""

    digest: str
    """Of its header, which has the checksums of its files."""

    elsewhere: tuple[str, ...]
    """Columns of obs that it does not keep because they have too many values: the store has them."""


@dataclass(frozen=True)
class IndexEntry:
    """The search index of a space: parts in the order of their ids."""

    parts: tuple[IndexPart, ...]

    reach: float
    """Cosine distance within which 99.5 % of the cells have a cell of their label in another study."""

    kind: IndexKind
    recall: float
    """What was asked for when it was built, and is when it is built again."""

    confidence: Confidence | None = None
    """How probable it is that votes of the cells are right; `None`: no cell had a label when it was built."""

    @property
    def n_rows(self) -> int:
        """Ids below this are covered."""
        return self.parts[-1].stop


@dataclass(frozen=True)
class Space:
    """An embedding of the cells, the model that made it, and its index."""

    embedding: str
    """Name of its array in obsm."""

    dim: int
    n_rows: int
    """Ids below this are embedded."""

    model: str | None
    """`uid` of the model; `None`: the embedding was made elsewhere."""

    folder: str | None
    """Folder of the model, relative to the atlas."""

    index: IndexEntry | None = None


@dataclass(frozen=True)
class Counted:
    """Cells whose counts are stored, and the genes that were measured in them: other genes are unknown, not zero."""

    start: int
    stop: int
    """Ids `start` to `stop`."""

    panel: StoredArray
    """`soma_joinid` of the genes, ascending."""

    def among(self, ids: NDArray[np.int64]) -> slice:
        """Return where the cells are among ascending ids."""
        first, last = np.searchsorted(ids, (self.start, self.stop))
        return slice(int(first), int(last))


@dataclass(frozen=True)
class Manifest:
    """The committed state of an atlas."""

    uid: str
    number: int
    """Counts the commits, from 1."""

    made: str
    """When, as ISO 8601 in UTC."""

    what: str
    """What was done, for people."""

    timestamp: int
    """SOMA time in milliseconds: what was written later is not part of the atlas."""

    n_rows: int
    """Ids below this were given to cells."""

    n_obs: int
    """Number of cells: rows that were not removed."""

    space: Space
    ledger: StoredArray
    draft: Space | None = None
    """A space in the making, which nobody reads unless asked to."""

    counted: tuple[Counted, ...] = ()
    """The cells whose counts are stored, in the order of their ids."""

    names: tuple[StoredArray, ...] = ()
    """Hashes of studies and cell names, by which a cell that is there already is recognised."""

    removed: StoredArray | None = None
    """Ids of removed cells, ascending."""

    base: int = 0
    """SOMA time of the last compaction: fragments written before it hold nothing that is not also in later ones."""


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Commit: make this the state that readers see.

    Raises
    ------
    FileExistsError
        There is a commit of this number.
    """
    content = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    sealed = json.dumps({**content, "sha256": _digest(content)}, indent=1) + "\n"
    storage.write(commit_file(manifest.number), sealed.encode(), new=True)
    storage.write(FILE, sealed.encode())


def commit_file(number: int) -> str:
    """Return the name of the copy of `atlas.json` that stays."""
    return f"{COMMITS}/{number:06d}.json"


def read_manifest(storage: Storage, name: str = FILE) -> Manifest:
    """Read the committed state, or that of an earlier commit.

    Raises
    ------
    FileNotFoundError
        It is not an atlas.
    FormatError
        The file is damaged, foreign, or written by a newer version.
    """
    where = f"{storage.uri}/{name}"
    try:
        raw = storage.read(name)
    except FileNotFoundError as error:
        msg = f"{storage.uri!r} is not a scim atlas: it has no {name!r}. scim.atlas.create() makes one."
        raise FileNotFoundError(msg) from error
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
        remedy = "upgrade scim-atlas" if isinstance(version, int) and version > VERSION else "make the atlas anew"
        msg = f"The atlas at {storage.uri!r} has format version {version}, this scim reads {VERSION}; {remedy}."
        raise FormatError(msg)
    if content.pop("sha256", None) != _digest({"format": FORMAT, "version": VERSION, **content}):
        msg = f"{where!r} was changed since it was written; {_REMEDY}."
        raise FormatError(msg)
    try:
        manifest: Manifest = _from_dict(Manifest, content)
        contradiction = _contradiction(manifest)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        msg = f"{where!r} is incomplete ({error}); {_REMEDY}."
        raise FormatError(msg) from error
    if contradiction:
        msg = f"{where!r} was edited: {contradiction}; {_REMEDY}."
        raise FormatError(msg)
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    """Say what in a manifest cannot be, whatever its checksum says."""
    n_rows, n_removed = manifest.n_rows, 0 if manifest.removed is None else manifest.removed.n
    if n_rows - n_removed != manifest.n_obs:
        return f"{n_rows} rows less {n_removed} removed are not {manifest.n_obs} cells"
    if sum(entry.n for entry in manifest.names) < manifest.n_obs:
        return f"{sum(entry.n for entry in manifest.names)} names for {manifest.n_obs} cells"
    if any(
        not 0 <= start < stop <= n_rows for start, stop in ((cells.start, cells.stop) for cells in manifest.counted)
    ):
        return f"counts of the cells {manifest.counted} among {n_rows} rows"
    for space in (manifest.space, manifest.draft):
        parts = () if space is None or space.index is None else space.index.parts
        ends = [0, *(part.stop for part in parts)]
        if [part.start for part in parts] != ends[:-1] or ends[-1] > n_rows:
            return f"an index of the rows {[(part.start, part.stop) for part in parts]} of {n_rows}"
        if space is not None and not 0 <= space.n_rows <= n_rows:
            return f"{space.n_rows} embeddings for {n_rows} rows"
    return None


def commits(storage: Storage) -> list[int]:
    """Return the numbers of the commits that can be opened, ascending; those after the current one never counted."""
    names = (file.name.rpartition("/")[2].removesuffix(".json") for file in storage.files(COMMITS))
    return sorted(int(name) for name in names if name.isdigit())


_NESTED: dict[str, Any] = {
    "space": Space,
    "draft": Space,
    "counted": Counted,
    "panel": StoredArray,
    "index": IndexEntry,
    "parts": IndexPart,
    "confidence": Confidence,
    "ledger": StoredArray,
    "names": StoredArray,
    "removed": StoredArray,
}


def _from_dict(kind: Any, content: dict[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(content) - known):
        msg = f"unknown entry {unknown[0]!r}"
        raise KeyError(msg)
    return kind(**{name: _value(name, value) for name, value in content.items()})


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(name, entry) for entry in value)
    return _from_dict(_NESTED[name], value) if isinstance(value, dict) else value


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
