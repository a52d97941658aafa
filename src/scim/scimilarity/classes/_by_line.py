"""What the package keeps in dictionaries of millions of entries, by the number of a reference cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class ByLine(Mapping[int, str]):
    """A mapping from numbers to texts of which there are few.

    Parameters
    ----------
    lines
        (n,) numbers.
    codes
        (n,) which text each has; those of -1 have none, and are not in the mapping.
    names
        The texts.
    """

    def __init__(self, lines: NDArray[np.int64], codes: NDArray[np.int32], names: NDArray[np.object_]) -> None:
        known = codes >= 0
        order = np.argsort(lines[known], kind="stable")
        self._lines, self._codes, self._names = lines[known][order], codes[known][order], names

    def __getitem__(self, line: int) -> str:
        place = int(np.searchsorted(self._lines, line))
        if place == len(self._lines) or self._lines[place] != line:
            raise KeyError(line)
        return str(self._names[self._codes[place]])

    def __iter__(self) -> Iterator[int]:
        return iter(self._lines.tolist())

    def __len__(self) -> int:
        return len(self._lines)

    def __repr__(self) -> str:
        return f"<{len(self):,} reference cells, {len(self._names)} values>"
