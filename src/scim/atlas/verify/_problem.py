"""Something that is wrong with an atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Part = Literal["manifest", "leftover", "ledger", "foreign", "store", "model", "names", "removed", "index"]


class Problem(NamedTuple):
    """Something that is wrong with an atlas."""

    part: Part
    """Which part of the atlas: `manifest`, `leftover` (of a write that died), `ledger`, `foreign` (a file of the
    store that was never committed), `store`, `model`, `names`, `removed` or `index`."""

    where: str
    """The file or array, relative to the atlas."""

    what: str
    """What is wrong with it."""

    @property
    def mendable(self) -> bool:
        """Whether `repair=True` can mend it: what is not data, or can be made of the data anew."""
        return self.part not in ("store", "model")

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def caught(part: Part, where: str, check: Callable[[], Iterator[Problem]]) -> Iterator[Problem]:
    """Run a check; that it cannot be run is a problem too."""
    try:
        yield from check()
    except (ValueError, OSError, LookupError, ArithmeticError, MemoryError, RuntimeError) as error:
        yield Problem(part, where, " ".join(str(error).split()) or type(error).__name__)
