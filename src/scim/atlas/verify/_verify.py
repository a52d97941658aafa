"""Checking an atlas, and mending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim._core.log import logger
from scim.atlas.storage import Storage
from scim.atlas.verify._find import find
from scim.atlas.verify._repair import mend

if TYPE_CHECKING:
    import os

    from scim.atlas.verify._problem import Problem


_ROUNDS = 30
"""Steps of mending at most; each commits one thing."""


def verify(uri: str | os.PathLike[str], *, repair: bool = False, timeout: float = 10) -> list[Problem]:
    """Check all of an atlas: every file against its checksum, and its parts against each other.

    Parameters
    ----------
    uri
        Its folder, or `s3://bucket/prefix`.
    repair
        Whether to mend what can be: remove what was never committed, bring back a damaged `atlas.json` from the copy
        of its commit, and make anew what is derived from the store (names, index). A damaged store is not mended: a
        copy of the atlas has it, or an earlier version, or the studies can be removed and appended again.
    timeout
        Seconds to wait for another writer, with `repair`.

    Returns
    -------
    What is wrong; after `repair`, what is still wrong.

    Raises
    ------
    FileNotFoundError
        There is no atlas at `uri`.
    FormatError
        No commit can be read at all.
    LockedError
        With `repair`, another writer is at work.
    """
    storage = Storage.of(uri)
    found = find(storage)
    n_before = len(found.problems)
    # What is mended may show what else is wrong, and parts of an index are built one after the other.
    for _ in range(_ROUNDS if repair else 0):
        mendable = any(problem.mendable for problem in found.problems)
        if not mendable or not mend(storage, found, timeout=timeout):
            break
        before, found = found, find(storage)
        if found.problems == before.problems:
            break
    if repair and n_before:
        logger.info("mended %d of %d problems", n_before - len(found.problems), n_before)
    return found.problems
