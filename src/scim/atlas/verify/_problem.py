"""A problem of an atlas, and its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from scim._core import error_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Part = Literal[
    "manifest",
    "leftover",
    "inventory",
    "foreign",
    "store",
    "model",
    "names",
    "removed",
    "samples",
    "index",
    "earlier version",
]

_REPAIR = "verify(uri, repair=True)"
_REMEDIES: dict[str, str] = {
    "manifest": f"{_REPAIR} brings the last commit back",
    "leftover": f"if no writer is at work, {_REPAIR} removes it, and so does the next change of the atlas",
    "inventory": f"{_REPAIR} writes it again if no file has changed; otherwise put it back from a copy of the atlas",
    "foreign": f"{_REPAIR} deletes it",
    "store": "put the file back from a copy of the atlas, or make the atlas again",
    "model": "put the file back from a copy of the atlas, or of the model",
    "names": f"{_REPAIR} rebuilds it from the store",
    "removed": f"{_REPAIR} rebuilds it from the store",
    "samples": f"{_REPAIR} leaves it out, and what was measured with it stays",
    "index": f"{_REPAIR} builds it again",
    "earlier version": "the present version does not need it; Atlas.vacuum() drops all earlier ones",
}


class Problem(NamedTuple):
    """A problem of an atlas."""

    part: Part
    """Which part of the atlas: `manifest`, `leftover` (of a write that ended early), `inventory` (of files), `foreign`
    (a file of the store that was never committed), `store`, `model`, `names`, `removed`, `samples` (of counts), `index`
    (and the expression of the labels), or an `earlier version`."""
    where: str
    """The file or array, relative to the atlas."""
    what: str
    """What is wrong with it."""

    @classmethod
    def of(cls, part: Part, where: str, error: Exception) -> Self:
        """Return the problem that a file is missing, or what an error says of it."""
        missing = isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
        return cls(part, where, "is missing" if missing else error_text(error))

    @property
    def repairable(self) -> bool:
        """Whether `repair=True` can repair it: it is not data, or can be rebuilt from data."""
        data = self.where.split("/")[0] in ("soma", "model", "models", "panels", "expression", "commits")
        return self.part not in ("store", "model") and not (self.part == "earlier version" and data)

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self.part]

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


def run_check(part: Part, where: str, check: Callable[..., Iterator[Problem]], *arguments: Any) -> Iterator[Problem]:
    """Yield the problems that a check finds; an error of the check is a problem too."""
    try:
        yield from check(*arguments)
    except Exception as error:  # noqa: BLE001  (a reader of a damaged file may raise anything)
        yield Problem(part, where, f"cannot be read ({error_text(error)})")


def try_to_read(part: Part, where: str, read: Callable[..., object], *arguments: Any) -> Iterator[Problem]:
    """Yield the problem that reading a file has, if it has one."""
    try:
        read(*arguments)
    except Exception as error:  # noqa: BLE001  (a reader of a damaged file may raise anything)
        yield Problem.of(part, where, error)


def is_damaged(problems: Sequence[Problem], name: str) -> bool:
    """Return whether a file, or one in a folder of that name, has a problem."""
    return any(f"{problem.where}/".startswith(f"{name}/") for problem in problems)
