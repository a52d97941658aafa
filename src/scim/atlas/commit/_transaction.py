"""One change of an atlas: it holds the lock, undoes what a dead writer left, and commits in one step."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from scim._core.errors import FormatError, StorageError
from scim._core.log import logger
from scim.atlas.commit._journal import UNREADABLE, Journal, drop_journal, read_journal
from scim.atlas.commit._ledger import read_ledger, store_files, write_ledger
from scim.atlas.commit._manifest import Manifest, StoredArray, commits, read_manifest, write_manifest
from scim.atlas.commit._rollback import roll_back, uncommitted
from scim.atlas.storage import Lock

if TYPE_CHECKING:
    from types import TracebackType

    from scim.atlas.commit._manifest import Space
    from scim.atlas.storage import Storage

_PATIENCE_MS = 5_000
"""How far ahead of this machine's clock the last commit may be for us to wait until it is past."""


class Transaction:
    """A change in progress; use it as a context manager.

    Parameters
    ----------
    storage
        Files of the atlas.
    what
        What is done, for people.
    timeout
        Seconds to wait for another writer.
    token
        Says that an input is the same as one whose write was interrupted: it is continued. `None`: it is begun anew.

    Attributes
    ----------
    manifest
        The committed state that the change builds on.
    n_done
        Rows of the input that an interrupted write has written.
    since
        SOMA time up to which what is in the store counts: of the commit, or of these rows.
    """

    def __init__(self, storage: Storage, what: str, *, timeout: float, token: str | None = None) -> None:
        self.storage, self.what, self._token = storage, what, token
        self._lock = Lock(storage, what, timeout)
        self._times: set[int] = set()
        self._spans: list[tuple[int, int]] = []
        self._done = False

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self.manifest = read_manifest(self.storage)
            self._refuse_older_copy()
            self.n_done, self.since = self._settle()
            self._last = self._begun = self.since
            self._note()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # What was interrupted may go on later, and a server that does not answer cannot undo: the next writer does.
            stays = isinstance(error, StorageError) or not (error is None or isinstance(error, Exception))
            if not self._done and not stays:
                with contextlib.suppress(OSError, FormatError):
                    self._undo()
        finally:
            self._lock.__exit__(kind, error, trace)

    @property
    def number(self) -> int:
        """Number that the commit will have."""
        return self.manifest.number + 1

    def tick(self) -> int:
        """Return a SOMA time after everything that was written so far; who lost the lock gets none.

        Raises
        ------
        LockedError
            The lock was taken over.
        """
        self._lock.check()
        self._last = max(self._last + 1, _clock())
        self._times.add(self._last)
        return self._last

    @contextlib.contextmanager
    def by_the_clock(self) -> Any:
        """Do what TileDB stamps with the time of day, whatever it is told: new columns and new arrays."""
        ahead = self._last - _clock()
        if ahead > _PATIENCE_MS:
            msg = (
                f"This machine's clock is {ahead / 1000:.0f} s behind the last change of the atlas; set it right, "
                "or write from the machine that made that change."
            )
            raise ValueError(msg)
        time.sleep(max(0, ahead + 1) / 1000)
        begun = _clock()
        yield
        self._spans.append((begun, _clock()))
        time.sleep(0.002)
        self.tick()

    def reached(self, n_done: int) -> None:
        """Note that rows of the input are written, so that another attempt can begin behind them."""
        self._lock.check()
        self.n_done, self.since = n_done, self._last
        self._note()

    def check(self) -> None:
        """Refuse to go on if the lock was taken away.

        Raises
        ------
        LockedError
            It was.
        """
        self._lock.check()

    def commit(self, **changes: Any) -> Manifest:
        """Make the change visible, in one step; `changes` are the entries of the manifest that differ."""
        facts: dict[str, Any] = {"number": self.number, "made": _now(), "what": self.what, "timestamp": self._last}
        manifest = replace(self.manifest, **(facts | changes))
        self._lock.check()
        self._refuse_others()
        before = read_ledger(self.storage, self.manifest.ledger)
        manifest = replace(manifest, ledger=write_ledger(self.storage, manifest, before, self.manifest.timestamp))
        self._lock.check()
        if read_manifest(self.storage) != self.manifest:
            msg = f"The atlas at {self.storage.uri!r} was changed without its lock; nothing was committed. Try again."
            raise FormatError(msg)
        write_manifest(self.storage, manifest)
        self._done = True
        # The next writer sees that it is of an earlier commit.
        with contextlib.suppress(OSError):
            drop_journal(self.storage)
        return manifest

    def _settle(self) -> tuple[int, int]:
        """Undo what a dead writer left, or as much of it as is not the same input; return what of it stays."""
        journal, manifest = read_journal(self.storage), self.manifest
        n_done, since = 0, manifest.timestamp
        if journal is not None and _continues(journal, manifest, self._token):
            n_done, since = journal.n_done, journal.timestamp
        # Also without a journal: what is there of later times would become part of the commit to come.
        left = journal is not None or any(uncommitted(self.storage, since, manifest.number))
        n_files = roll_back(self.storage, since, manifest.number) if left else 0
        self.storage.sweep()
        what = "a write" if journal is None else journal.what
        if n_done:
            logger.warning("%s was interrupted; it goes on after %d cells", what, n_done)
        elif n_files:
            logger.warning("%s was interrupted; what it had written is removed", what)
        return n_done, since

    def _refuse_older_copy(self) -> None:
        """Refuse to build on a version that others follow: undoing something would take those for what failed."""
        if is_older_copy(self.storage, self.manifest):
            msg = (
                f"atlas.json of {self.storage.uri!r} says version {self.manifest.number}, but there is a later commit: "
                "it was replaced by an older copy. scim.atlas.verify(uri, repair=True) brings the last commit back."
            )
            raise FormatError(msg)

    def _refuse_others(self) -> None:
        """Refuse to commit what a writer wrote that had lost the lock and did not know, as after a machine slept."""
        for file in store_files(self.storage):
            ours = file.timestamp in self._times or any(a <= file.timestamp <= b for a, b in self._spans)
            if file.timestamp > self._begun and not ours:
                msg = (
                    f"{self.storage.uri}/{file.name} was written by another process during this change; nothing was "
                    "committed. Try again."
                )
                raise FormatError(msg)

    def _undo(self) -> None:
        # Who lost the lock must leave alone what is there: it may be the work of whoever has it now.
        self._lock.check()
        # An error that came after `atlas.json` was replaced undoes nothing.
        if read_manifest(self.storage) != self.manifest:
            return
        roll_back(self.storage, self.manifest.timestamp, self.manifest.number)
        self.storage.sweep()
        drop_journal(self.storage)

    def _note(self) -> None:
        Journal(self.manifest.number, self.what, self._token, self.n_done, self.since).write(self.storage)


def first_commit(storage: Storage, *, uid: str, what: str, space: Space) -> Manifest:
    """Commit an atlas without cells."""
    time.sleep(0.002)
    manifest = Manifest(
        uid=uid,
        number=1,
        made=_now(),
        what=what,
        timestamp=_clock(),
        n_rows=0,
        n_obs=0,
        space=space,
        ledger=StoredArray("", "", 0),
    )
    manifest = replace(manifest, ledger=write_ledger(storage, manifest, {}))
    write_manifest(storage, manifest)
    return manifest


def is_older_copy(storage: Storage, manifest: Manifest) -> bool:
    """Say whether there are commits after this one, other than the one that a writer died over."""
    last = max(commits(storage), default=manifest.number)
    journal = read_journal(storage)
    dying = journal is not None and journal.base in (manifest.number, UNREADABLE)
    return last > manifest.number + int(dying)


def _continues(journal: Journal, manifest: Manifest, token: str | None) -> bool:
    return journal.base == manifest.number and token is not None and journal.token == token


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _clock() -> int:
    return time.time_ns() // 1_000_000
