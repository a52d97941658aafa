"""Open a saved index, or several as one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, get_args

from scim._core import FormatError, check_choice, logger
from scim.index._check import check_allowed, is_ascending
from scim.index._files import HEADER, KEYS, REMEDY, Arrays, as_entry, read_columns, read_header, renamed
from scim.index._grow import merge_small
from scim.index._header import PARAMS, file_name
from scim.index._index import Index
from scim.index._make import KINDS
from scim.index._segments import Segment
from scim.io import MappedFiles, local_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from scim.index._header import Header

Resident = Literal["none", "codes", "all"]
_TYPES = {"ids": "<i8", "gone": "|b1"}  # of the arrays of a segment beside those of its engine


def open(  # noqa: A001  (used as `scim.index.open`)
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    resident: Resident = "none",
    without: ArrayLike | None = None,
) -> Index:
    """Open a saved index by memory map, in a time that does not depend on its size; or several as one.

    Several folders give the results of one index of all their rows, so that later rows can be an index by themselves.
    Small exact ones, together of up to 65,536 rows, are held in memory as one segment; each further one adds its time
    to a query. :meth:`Index.save` writes all of them into one folder, :meth:`Index.compact` makes one segment of all.

    A damaged index never returns results: sizes of all files and content of small ones are checked at once, columns of
    `obs` when a filter first uses them, each list of an `ivf` index when a query first probes it.
    :func:`scim.index.verify` checks everything. Whatever files hold, positions in them are checked before their use.

    Other programs must not write into the files of an open index: a call that finds one changed raises FormatError, but
    a file that gets shorter while it is read ends the process. `Index.save` replaces files by new ones: an index that
    is open stays as it was.

    Parameters
    ----------
    path
        Folder that `Index.save` or `scim.index.build` wrote; or several, of different ids and as many columns. The
        first gives the kind and the parameters of the index.
    resident
        What is read into memory, and logged. `"none"`: what is small; the system caches what is used while there is
        room. `"codes"`: what a search reads throughout, see :attr:`Index.nbytes`. `"all"`: all of the rows.
    without
        Ids of rows that count as deleted, in any order; ids that no folder has are ignored.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or damaged; or two have the same id, or rows of different lengths.
    """
    check_choice("resident", resident, get_args(Resident))
    given = [path] if isinstance(path, str | os.PathLike) else path
    folders = [local_path(folder, what="an index") for folder in given]
    if not folders:
        msg = "Expected the folder of an index, or several, got none."
        raise ValueError(msg)
    parts, mapped = [], MappedFiles()
    for folder in folders:
        header = read_header(folder)
        parts.append([_segment(folder, header, number, resident, mapped) for number in range(len(header.segments))])
    _check_compatible(folders, parts)
    segments = [segment for part in parts for segment in part]
    if without is not None:
        ids = check_allowed(without, name="without")
        located = [(segment, *segment.locate(ids)) for segment in segments]
        segments = [segment.without(ranks[known]) if known.any() else segment for segment, ranks, known in located]
    return Index(segments if len(folders) == 1 else merge_small(segments), mapped)


def _check_compatible(folders: Sequence[Path], parts: Sequence[Sequence[Segment]]) -> None:
    """Refuse folders that have an id in common, or rows of different lengths."""
    dim = parts[0][0].engine.dim
    for folder, part in zip(folders, parts, strict=True):
        if part[0].engine.dim != dim:
            came = f"{str(folders[0])!r} has {dim} columns, {str(folder)!r} {part[0].engine.dim}"
            msg = f"{came}; open indexes of one embedding."
            raise FormatError(msg)
    numbered = ((number, segment) for number, part in enumerate(parts) for segment in part)
    by_span = sorted(numbered, key=lambda pair: pair[1].span)
    for position, (number, segment) in enumerate(by_span):
        for next_number, next_segment in by_span[position + 1 :]:
            if next_segment.span[0] > segment.span[1]:
                break  # ids are compared only where ranges overlap, and those of all further segments begin later
            if next_number != number:
                _check_distinct(folders[number], segment, folders[next_number], next_segment)


def _check_distinct(folder: Path, segment: Segment, next_folder: Path, next_segment: Segment) -> None:
    few, many = sorted((segment, next_segment), key=lambda part: part.n_rows)
    same = few.ids[many.locate(few.ids)[1]]
    if len(same):
        came = f"{len(same)} ids in common, the first is {same[0]}"
        msg = f"{str(folder)!r} and {str(next_folder)!r} have {came}; open indexes of different rows."
        raise FormatError(msg)


def _segment(folder: Path, header: Header, number: int, resident: Resident, mapped: MappedFiles) -> Segment:
    entry, where = header.segments[number], str(folder / HEADER)
    if entry.kind not in KINDS:
        msg = f"{where!r} has kind {entry.kind!r}, expected one of {sorted(KINDS)}. {REMEDY}"
        raise FormatError(msg)
    kind, names = KINDS[entry.kind], {name: file_name(name, number) for name in entry.arrays}
    if absent := sorted({*kind.files} - set(names)):
        msg = f"{where!r} lists no array {absent} of an index of kind {entry.kind!r}. {REMEDY}"
        raise FormatError(msg)
    as_entry(entry.params, PARAMS[entry.kind], where)
    params = renamed(entry.params, {key: name for name, key in KEYS.items()})
    large = {"none": (), "codes": kind.scanned or tuple(kind.files), "all": tuple(names)}[resident]
    values_of_columns = (name for name in names if name.startswith("column") and not name.endswith("_codes"))
    in_memory = {*kind.small, *values_of_columns, *large}
    arrays = Arrays(folder, names, header.files, {**kind.files, **_TYPES}, in_memory, mapped)
    engine = kind.restore(arrays, params)
    if (engine.n_rows, engine.dim) != (entry.n_rows, entry.dim):
        arrays.refuse(f"{where!r} has {entry.n_rows} x {entry.dim} rows, the files {engine.n_rows} x {engine.dim}")
    ids, deleted = (arrays[name] if name in names else None for name in _TYPES)
    for name, array in (("ids", ids), ("gone", deleted)):
        if array is not None:
            arrays.check_shape(name, array, engine.n_rows)
    if ids is not None:
        is_right = ids[0] >= 0 and is_ascending(ids)
        arrays.check("ids", "ids that are negative or not in ascending order", unless=is_right)
    if resident != "none":
        logger.info("opened %d rows: %.1f MB in memory, the rest mapped", engine.n_rows, arrays.nbytes_in_memory / 1e6)
    return Segment(engine, ids, read_columns(arrays, entry.columns, engine.n_rows), deleted)
