"""What a person trains on, opened: AnnData, files, atlases, SOMA experiments, one or several, named or not."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from scim._core.checks import check_adata
from scim.io import Cells, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData


@runtime_checkable
class HasCells(Protocol):
    """A store that hands out its cells with counts, as :class:`scim.atlas.Atlas` does."""

    def cells(self, columns: Sequence[str]) -> list[Cells]:
        """Return the cells, in parts that measured the same genes each, with these columns of obs."""


Input: TypeAlias = "AnnData | Cells | str | os.PathLike[str] | HasCells | Any"
"""AnnData, the path of an h5ad file or a zarr folder, an atlas, or an object of a package that has a reader."""

Inputs: TypeAlias = "Input | Sequence[Input] | Mapping[str, Input]"

READERS = "scim.readers"
"""Entry points, named by a package: `reader(object, columns) -> list[Cells]` for the objects of that package.

So this room need not know them: that of SOMA experiments is in `scim.atlas`.
"""


@contextlib.contextmanager
def opened_inputs(data: Inputs, columns: Sequence[str]) -> Iterator[dict[str, AnnData | Cells]]:
    """Yield the cells of all inputs by name; files are closed at the end.

    Parameters
    ----------
    data
        One input, several, or several by name. Without names, a file has its own and others are numbered.
    columns
        Columns of obs that are needed.

    Raises
    ------
    TypeError
        Something is none of these.
    ValueError
        There is none.
    FileNotFoundError, FormatError, KeyError
        A file does not exist, cannot be read, or has no such column.
    """
    named = _named(data)
    with contextlib.ExitStack() as stack:
        cells: dict[str, AnnData | Cells] = {}
        for name, one in named.items():
            parts = _open(one, columns, stack)
            for i, part in enumerate(parts):
                cells[_free(name if len(parts) == 1 else f"{name} {i}", cells)] = part
        yield cells


def _named(data: Inputs) -> dict[str, Input]:
    named: dict[str, Input] = {}
    if isinstance(data, Mapping) and _reader(data) is None:  # a SOMA experiment is a mapping too
        for name, one in data.items():
            named[_free(str(name), named)] = one
    else:
        listed = list(data) if isinstance(data, list | tuple) else [data]
        for i, one in enumerate(listed):
            name = Path(one).name.partition(".")[0] if isinstance(one, str | os.PathLike) else f"study{i}"
            named[_free(name, named)] = one
    if not named:
        msg = "Expected at least one AnnData to train on, got none."
        raise ValueError(msg)
    return named


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name that nothing has yet: two files may be called alike, and none of them may get lost."""
    return next(free for i in itertools.count(1) if (free := name if i == 1 else f"{name} {i}") not in taken)


def _open(one: Input, columns: Sequence[str], stack: contextlib.ExitStack) -> list[AnnData | Cells]:
    if isinstance(one, Cells):
        return [one]
    if isinstance(one, str | os.PathLike):
        if (Path(one) / "atlas.json").exists():
            msg = f"{str(one)!r} is an atlas; pass it open: scim.atlas.open({str(one)!r})."
            raise TypeError(msg)
        return [stack.enter_context(opened(one, columns))]
    if isinstance(one, HasCells):
        return [*one.cells(columns)]
    reader = _reader(one)
    if reader is not None:
        return [*reader(one, columns)]
    check_adata(one)
    return [one]


def _reader(one: Any) -> Any | None:
    found = entry_points(group=READERS, name=type(one).__module__.partition(".")[0])
    return next((point.load() for point in found), None)
