"""Something that is wrong with an atlas, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Part = Literal[
    "manifest", "leftover", "ledger", "foreign", "store", "model", "names", "removed", "index", "earlier version"
]

_REPAIR = "verify(uri, repair=True)"
_REMEDIES: dict[str, str] = {
    "manifest": f"{_REPAIR} brings the last commit back",
    "leftover": f"if no one is writing now, {_REPAIR} removes it, and so does the next change of the atlas",
    "ledger": f"{_REPAIR} writes it again if every file is what it was; otherwise put it back from a copy of the atlas",
    "foreign": f"{_REPAIR} deletes it",
    "store": "put the file back from a copy of the atlas, or make the atlas anew",
    "model": "put the file back from a copy of the atlas, or of the model",
    "names": f"{_REPAIR} makes it anew from the store",
    "removed": f"{_REPAIR} makes it anew from the store",
    "index": f"{_REPAIR} builds it again",
    "earlier version": "the present version does not need it; Atlas.vacuum() drops all earlier ones",
}


class Problem(NamedTuple):
    """Something that is wrong with an atlas."""

    part: Part
    """Which part of the atlas: `manifest`, `leftover` (of a write that died), `ledger`, `foreign` (a file of the
    store that was never committed), `store`, `model`, `names`, `removed`, `index`, or an `earlier version`."""

    where: str
    """The file or array, relative to the atlas."""

    what: str
    """What is wrong with it."""

    @property
    def mendable(self) -> bool:
        """Whether `repair=True` can mend it: what is not data, or can be made of the data anew."""
        data = self.where.split("/")[0] in ("soma", "model", "models", "panels", "commits")
        return self.part not in ("store", "model") and not (self.part == "earlier version" and data)

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self.part]

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def caught(part: Part, where: str, check: Callable[[], Iterator[Problem]]) -> Iterator[Problem]:
    """Run a check; that it cannot be run is a problem too."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  (what a reader raises over a damaged file is anyone's guess)
        yield Problem(part, where, f"cannot be read ({said(error)})")


def said(error: Exception) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
