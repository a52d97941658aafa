"""Where an answer came from: noted with it, and opened again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from scim.atlas._atlas import Atlas
from scim.atlas._open import PACKAGED, open_atlas

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_PACKAGED = "packaged"


@contextlib.contextmanager
def opened(atlas: Atlas | str | os.PathLike[str] | None) -> Iterator[Atlas]:
    """Yield an open atlas; one that came open stays open."""
    if isinstance(atlas, Atlas):
        yield atlas
    else:
        with open_atlas(atlas) as mine:
            yield mine


def origin(atlas: Atlas) -> dict[str, str | int]:
    """Return where an answer came from, for `uns`: another machine has the packaged atlas at another path."""
    packaged = atlas.uri == str(PACKAGED)
    return {"path": _PACKAGED if packaged else atlas.uri, "uid": atlas.uid, "version": atlas.version}


@contextlib.contextmanager
def opened_again(noted: dict[str, Any], atlas: Atlas | str | os.PathLike[str] | None = None) -> Iterator[Atlas]:
    """Yield the atlas that an answer came from, where it was then or where it is now.

    Raises
    ------
    ValueError
        It is another one.
    """
    place = PACKAGED if noted["path"] == _PACKAGED else noted["path"]
    with opened(place if atlas is None else atlas) as source:
        if source.uid != noted["uid"]:
            msg = f"The search was made in atlas {noted['uid']}, but {source.uri!r} is {source.uid}; pass atlas=."
            raise ValueError(msg)
        yield source
