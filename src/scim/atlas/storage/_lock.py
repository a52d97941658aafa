"""One writer at a time, on any storage that can list what was just written.

A writer puts a claim into the folder and then looks: it holds the lock if no other claim is there. Of two that look
at the same moment each sees the other, so that never both hold it. Of several that wait the one whose name sorts
first leaves its claim, the others withdraw theirs. The owner gives signs of life; a claim without is removed.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

from scim._core.errors import LockedError, StorageError
from scim._core.log import logger
from scim.atlas.storage._claim import BEAT, DEAD_AFTER, Claim, seconds
from scim.atlas.storage._storage import LOCKS

if TYPE_CHECKING:
    from types import TracebackType

    from scim.atlas.storage._storage import Storage

REMOVED = "another writer removed our claim"
# On S3 a sign of life is written anew, so that one that comes late could bring back a claim that others removed
# after DEAD_AFTER. A request takes up to 17 s, and the clock of the store counts whole seconds.
LOST_AFTER = DEAD_AFTER - 20
_LEFT: set[tuple[str, str]] = set()
"""Claims of this process, by address and name, that it gave up and could not delete because nothing answered."""

SHORTEST_LOOK, FIRST_WAIT, LONGEST_WAIT = 0.5, 0.02, 1.0


class Lock:
    """The right to write into an atlas, for the time of a `with` block.

    Parameters
    ----------
    storage
        The atlas.
    what
        What the owner does with it, for the error that others get: `"append study 'a'"`.
    timeout
        Seconds to wait for another writer; 0 looks once.

    Raises
    ------
    LockedError
        Another writer has it, and kept it for `timeout` seconds; it says who.
    """

    def __init__(self, storage: Storage, what: str, timeout: float = 0.0) -> None:
        self.storage = storage
        self.what = what
        self.timeout = timeout
        self._name = ""
        self._lost = ""
        self._content = b""
        self._signed = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            msg = f"This lock of {self.storage.uri!r} is held already; make another Lock."
            raise RuntimeError(msg)
        self._acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        name = self._name
        try:
            self._withdraw()
        except OSError as problem:
            _LEFT.add((self.storage.uri, name))
            # What the block did is done or has its own error; others take over when no sign of life comes.
            logger.warning("the lock of %s could not be given back: %s", self.storage.uri, problem)

    def check(self) -> None:
        """Give a sign of life now, so that what follows at once has the lock; call it before a commit.

        Raises
        ------
        LockedError
            The lock was taken over, or no sign of life could be given for so long that it may have been.
        StorageError
            The storage does not answer.
        """
        if not self._lost:
            self._sign()
        if self._lost:
            msg = f"The lock of {self.storage.uri!r} was taken over: {self._lost}. What was not committed is not kept;"
            msg += " start again."
            raise LockedError(msg)

    def _acquire(self) -> None:
        self._lost, self._stop = "", threading.Event()
        try:
            self._wait()
        except BaseException:
            with contextlib.suppress(OSError):  # the first error says more
                self._withdraw()
            raise
        self._thread = threading.Thread(target=self._beat, name="scim-lock", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        # Two that look at the same moment see each other: also who does not wait looks again before it gives up.
        end, wait = time.monotonic() + max(self.timeout, SHORTEST_LOOK), FIRST_WAIT
        while rivals := self._claim():
            left = end - time.monotonic()
            if left <= 0:
                raise LockedError(self._explain(rivals))
            if self._name > min(rivals):
                self._withdraw()
            time.sleep(min(left, wait * random.uniform(0.5, 1)))
            wait = min(2 * wait, LONGEST_WAIT)

    def _claim(self) -> dict[str, tuple[Claim | None, float]]:
        """Put our claim, and return those of others that live, with the age of their last sign of life."""
        self._name = self._name or f"{LOCKS}/{uuid.uuid4().hex}.json"
        self._content = Claim.mine(self.what).dump()
        self._signed = seconds()
        self.storage.write(self._name, self._content)
        modified = {file.name: file.modified for file in self.storage.files(LOCKS)}
        if self._name not in modified:
            msg = f"{self.storage.uri!r} does not list what was just written into it; it cannot be locked."
            raise StorageError(msg)
        now = modified.pop(self._name)  # by the clock of the store: ours may differ
        return {name: found for name, then in modified.items() if (found := self._look(name, now - then)) is not None}

    def _look(self, name: str, age: float) -> tuple[Claim | None, float] | None:
        try:
            claim = Claim.load(self.storage.read(name))
        except FileNotFoundError:  # withdrawn since we looked
            return None
        given_up = (self.storage.uri, name) in _LEFT
        if given_up or age > DEAD_AFTER or (claim is not None and claim.is_gone(age)):
            logger.info("removed the claim of a writer that is gone: %s", claim.describe(age) if claim else name)
            self.storage.delete([name])
            return None
        return claim, age

    def _explain(self, rivals: dict[str, tuple[Claim | None, float]]) -> str:
        # The owner put its claim before all that wait for it.
        known = [(claim, age) for claim, age in rivals.values() if claim is not None]
        first = min(known, key=lambda pair: pair[0].since, default=None)
        who = first[0].describe(first[1]) if first else f"by an unknown version of scim ({min(rivals)})"
        waited = f" Waited {self.timeout:g} s." if self.timeout else ""
        return f"{self.storage.uri!r} is being written: {who}.{waited} Try again when that is done."

    def _withdraw(self) -> None:
        if self._name:
            name, self._name = self._name, ""
            self.storage.delete([name])

    def _beat(self) -> None:
        while not self._lost and not self._stop.wait(BEAT):
            try:
                self._sign()
            except OSError as error:
                logger.warning("no sign of life could be given to %s: %s", self.storage.uri, error)

    def _sign(self) -> None:
        """Give a sign of life, or find the lock lost; a claim that was removed is never made again."""
        begun = seconds()
        if self.storage.path is not None:
            try:
                os.utime(self.storage.path / self._name)
            except FileNotFoundError:
                self._lost = REMOVED
        elif not self.storage.exists(self._name):
            self._lost = REMOVED
        elif (age := seconds() - self._signed) > LOST_AFTER:
            self._lost = f"no sign of life could be given for {age:.0f} s"
        else:
            self.storage.write(self._name, self._content)
        self._signed = begun
