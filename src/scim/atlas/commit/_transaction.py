"""A change of an atlas: it holds the lock, resumes or rolls back an interrupted write, and commits in one step."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec
from msgspec.structs import replace

from scim._core import FormatError, StorageError, logger
from scim.atlas.commit._inventory import SOMA, StoreFile, read_inventory, store_files, write_inventory
from scim.atlas.commit._manifest import Count, Manifest, StoredArray, Time, commits, read_manifest, write_manifest
from scim.atlas.storage import NUMBERED, Lock, is_ours, number_of
from scim.io import Record, as_record, parse_object, sealed, unsealed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import TracebackType

    from scim.atlas.commit._manifest import EmbeddingVersion
    from scim.atlas.storage import Storage

JOURNAL = "journal.json"
UNREADABLE = -1  # stands for the commit that a write builds on when its journal cannot be read

_MAX_CLOCK_SKEW_MS = 5_000  # how far ahead of this machine's clock the last commit may be to wait until it is past


class Journal(Record, frozen=True):
    """The progress of a write."""

    base: Annotated[int, msgspec.Meta(ge=UNREADABLE)]  # number of the commit that it builds on
    what: str  # description of the change
    token: str | None  # resume token, the same for the same input; `None`: the write cannot be resumed
    n_done: Count  # rows of the input that are written
    timestamp: Time  # SOMA time of the last of the files that belong to them
    files: tuple[str, ...] | None = None  # UUIDs of the writes so far; `None`: of an earlier version of scim


def read_journal(storage: Storage) -> Journal | None:
    """Return the write in progress; `None` if there is none. An unreadable one builds on commit `UNREADABLE`."""
    try:
        raw = storage.read(JOURNAL)
    except FileNotFoundError:
        return None
    try:
        content = parse_object(raw, JOURNAL)
        if "sha256" in content:  # earlier versions of scim wrote none
            content = unsealed(content, JOURNAL, remedy="")
        return as_record(content, Journal, JOURNAL)
    except FormatError:
        return Journal(UNREADABLE, "an unknown write", None, 0, 0)


class Transaction:
    """A change in progress; use it as a context manager.

    An interrupted write is resumed by one with the same resume token, and rolled back by any other.
    """

    manifest: Manifest  # the committed state that the change builds on
    n_done: int  # rows of the input that an interrupted write has written
    since: int  # SOMA time up to which the files of the store count: of the commit, or of these rows

    def __init__(self, storage: Storage, what: str, *, timeout: float, token: str | None = None) -> None:
        self.storage, self.what, self._token = storage, what, token
        self._lock = Lock(storage, what, timeout)
        self._written: set[str] = set()
        self._committed = False

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self.storage.check_files()  # what is written or deleted from here on is behind no link
            self.manifest = read_manifest(self.storage)
            self.n_done, self.since = self._recover()
            self._last = self.since
            self._write_journal()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # An interrupted change may be resumed, and without a server nothing can be undone: the next writer does it.
            stays = isinstance(error, StorageError) or not (error is None or isinstance(error, Exception))
            if not self._committed and not stays:
                with contextlib.suppress(OSError, FormatError):
                    self._undo()
        finally:
            self._lock.__exit__(kind, error, trace)

    @property
    def number(self) -> int:
        """Number that the commit will have."""
        return self.manifest.number + 1

    def tick(self) -> int:
        """Return a SOMA time after everything that was written so far; `LockedError` without the lock."""
        self._lock.check()
        self._last = max(self._last + 1, _clock())
        return self._last

    @contextlib.contextmanager
    def at_wall_clock(self) -> Iterator[int]:
        """Yield the time of a write that TileDB stamps with the time of day, whatever is passed: columns, arrays."""
        ahead = self._last - _clock()
        if ahead > _MAX_CLOCK_SKEW_MS:
            msg = f"This machine's clock is {ahead / 1000:.0f} s behind the last change of the atlas; set it right, "
            msg += "or write from the machine that made that change."
            raise ValueError(msg)
        time.sleep(max(0, ahead + 1) / 1000)
        yield _clock()
        time.sleep(0.002)
        self.tick()

    def wrote(self, folder: str, since: int, n: int = 1) -> None:
        """Record the last `n` writes of this transaction in a folder of the store, by the UUIDs of their files.

        They have SOMA times from `since` on. More than `n` are refused: some of them are of another process.
        """
        files = [file for file in store_files(self.storage, f"{SOMA}/{folder}") if file.timestamp >= since]
        uuids = {file.uuid for file in files} - self._written
        if len(uuids) > n:
            self._refuse(files[0])
        self._written |= uuids

    def reached(self, n_done: int) -> None:
        """Record that rows of the input are written, so that another attempt resumes behind them."""
        self._lock.check()
        self.n_done, self.since = n_done, self._last
        self._write_journal()

    def check(self) -> None:
        """Raise `LockedError` if the lock was taken over."""
        self._lock.check()

    def commit(self, **changes: Any) -> Manifest:
        """Make the change visible, in one step; `changes` are the entries of the manifest that differ."""
        entries: dict[str, Any] = {"number": self.number, "made": _now(), "what": self.what, "timestamp": self._last}
        manifest = replace(self.manifest, **(entries | changes))
        self._lock.check()
        files = store_files(self.storage)
        for file in files:  # those of another process, as of a writer that was suspended and lost its lease
            if file.timestamp > self.manifest.timestamp and file.uuid not in self._written:
                self._refuse(file)
        before = read_inventory(self.storage, self.manifest.inventory)
        inventory = write_inventory(self.storage, manifest, before, self.manifest.timestamp, files)
        manifest = replace(manifest, inventory=inventory)
        self._lock.check()
        if read_manifest(self.storage) != self.manifest:
            msg = f"The atlas at {self.storage.uri!r} was changed without its lock; nothing was committed. Try again."
            raise FormatError(msg)
        write_manifest(self.storage, manifest)
        self._committed = True
        with contextlib.suppress(OSError):  # the next writer recognises it as one of an earlier commit
            self.storage.delete([JOURNAL])
        return manifest

    def _recover(self) -> tuple[int, int]:
        """Roll back an interrupted write, except one that is resumed; return its rows and SOMA time."""
        if is_older_copy(self.storage, self.manifest):  # a roll back would take later commits for failed writes
            msg = (
                f"atlas.json of {self.storage.uri!r} says version {self.manifest.number}, but there is a later commit: "
                "it was replaced by an older copy. scim.atlas.verify(uri, repair=True) brings the last commit back."
            )
            raise FormatError(msg)
        journal, manifest = read_journal(self.storage), self.manifest
        n_done, since = 0, manifest.timestamp
        if journal and journal.token and (journal.base, journal.token) == (manifest.number, self._token):
            n_done, since = journal.n_done, journal.timestamp
            files = store_files(self.storage) if journal.files is None else []
            self._written |= {*(journal.files or ()), *(file.uuid for file in files if file.timestamp <= since)}
        # Without a journal too: files of later times would become part of the commit to come.
        left = journal is not None or any(uncommitted(self.storage, manifest.timestamp, manifest.number))
        n_files = roll_back(self.storage, manifest.timestamp, manifest.number, self._written) if left else 0
        self.storage.sweep()
        what = "a write" if journal is None else journal.what
        if n_done:
            logger.warning("%s was interrupted; it resumes after %d cells", what, n_done)
        elif n_files:
            logger.warning("%s was interrupted; its files are removed", what)
        return n_done, since

    def _refuse(self, file: StoreFile) -> None:
        msg = f"{self.storage.uri}/{file.name} was written by another process during this change; nothing was "
        msg += "committed. Try again."
        raise FormatError(msg)

    def _undo(self) -> None:
        # Without the lock the files must stay: they may be those of its new owner.
        self._lock.check()
        # An error that came after `atlas.json` was replaced undoes nothing.
        if read_manifest(self.storage) != self.manifest:
            return
        roll_back(self.storage, self.manifest.timestamp, self.manifest.number)
        self.storage.sweep()
        self.storage.delete([JOURNAL])

    def _write_journal(self) -> None:
        files = tuple(sorted(self._written))
        journal = Journal(self.manifest.number, self.what, self._token, self.n_done, self.since, files)
        self.storage.write(JOURNAL, json.dumps(sealed(msgspec.to_builtins(journal))).encode())


def first_commit(storage: Storage, *, uid: str, what: str, published: EmbeddingVersion) -> Manifest:
    """Commit an atlas without cells."""
    time.sleep(0.002)
    empty: dict[str, Any] = {"n_rows": 0, "n_obs": 0, "inventory": StoredArray("", "", 0)}
    manifest = Manifest(uid, 1, _now(), what, _clock(), published=published, **empty)
    manifest = replace(manifest, inventory=write_inventory(storage, manifest, {}))
    write_manifest(storage, manifest)
    return manifest


def is_older_copy(storage: Storage, manifest: Manifest) -> bool:
    """Return whether there are commits after this one, other than one whose writer was interrupted."""
    last = max(commits(storage), default=manifest.number)
    journal = read_journal(storage)
    in_progress = journal is not None and journal.base in (manifest.number, UNREADABLE)
    return last > manifest.number + int(in_progress)


def uncommitted(
    storage: Storage, timestamp: int, number: int, keep: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the files of the store after a SOMA time, but for writes `keep`, and entries after commit `number`."""
    files = [file for file in store_files(storage) if file.timestamp > timestamp and file.uuid not in keep]
    files = [file for file in files if is_ours(file.name)]
    # The files that make data visible go first: a roll back that is cut off never leaves half of visible data.
    files.sort(key=lambda file: (not file.name.endswith((".wrt", ".del")), "/__group/" not in file.name))
    return [file.name for file in files], [name for folder in NUMBERED for name in _later(storage, folder, number)]


def roll_back(storage: Storage, timestamp: int, number: int, keep: Collection[str] = ()) -> int:
    """Delete what :func:`uncommitted` returns; return how many files of the store that is."""
    files, numbered = uncommitted(storage, timestamp, number, keep)
    storage.delete(files)
    storage.drop_empty(SOMA)
    folders = {f"{folder}/{name}" for folder in NUMBERED for name in storage.folders(folder)}
    for name in numbered:
        if name in folders:
            storage.delete_folder(name)
    storage.delete(name for name in numbered if name not in folders)
    return len(files)


def _later(storage: Storage, folder: str, number: int) -> list[str]:
    names = {file.name.split("/")[1] for file in storage.files(folder)} | set(storage.folders(folder))
    return [entry for name in sorted(names) if number_of(entry := f"{folder}/{name}") > number]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _clock() -> int:
    return time.time_ns() // 1_000_000
