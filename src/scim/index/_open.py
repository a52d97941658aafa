"""Opening a saved index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from scim._core.checks import check_choice
from scim._core.errors import FormatError
from scim._core.log import logger
from scim.index._files import HEADER, REMEDY, Arrays, Columns, read_header
from scim.index._index import Index
from scim.index._make import KINDS
from scim.index._segment import Segment

if TYPE_CHECKING:
    import os

Resident = Literal["none", "codes", "all"]


def open(path: str | os.PathLike[str], *, resident: Resident = "none") -> Index:  # noqa: A001  (used as `scim.index.open`)
    """Open a saved index by memory map, in a time that does not depend on its size.

    A damaged index never answers: names and sizes of the files are checked at once; the content of small files and of
    ids too; of columns of `obs` when a filter first uses them; of the rows of an `ivf` index list by list, each when a
    query first looks into it. :func:`scim.index.verify` checks everything.

    Parameters
    ----------
    path
        Folder that `Index.save` wrote.
    resident
        What is read into memory. `"none"`: nothing, the system keeps what is used as long as there is room.
        `"codes"`: what a search reads throughout, see :attr:`Index.nbytes`. `"all"`: all of the rows.
        The bytes are logged.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FormatError
        It is not a scim index, of another version, or damaged.
    """
    check_choice("resident", resident, get_args(Resident))
    folder = Path(path)
    header = read_header(folder)
    return Index([_segment(folder, header, number, resident) for number in range(len(header["segments"]))])


def _segment(folder: Path, header: dict[str, Any], number: int, resident: Resident) -> Segment:
    facts = header["segments"][number]
    if facts["kind"] not in KINDS:
        msg = f"{str(folder / HEADER)!r} has kind {facts['kind']!r}, expected one of {sorted(KINDS)}. {REMEDY}"
        raise FormatError(msg)
    suffix = f".{number}.npy" if number else ".npy"
    names = {name: name + suffix for name in facts["arrays"]}
    kind = KINDS[facts["kind"]]
    absent = sorted({*kind.files} - set(names)) + sorted(set(names.values()) - set(header["files"]))
    if absent:
        msg = f"{str(folder / HEADER)!r} lists no array {absent} of an index of kind {facts['kind']!r}. {REMEDY}"
        raise FormatError(msg)
    in_memory = {"none": (), "codes": kind.scanned or kind.files, "all": tuple(names)}[resident]
    arrays = Arrays(folder, names, header["files"], in_memory)
    engine = kind.restore(arrays, facts["params"])
    if (engine.n_rows, engine.dim) != (facts["n_rows"], facts["dim"]):
        came = f"{engine.n_rows} x {engine.dim} rows, expected {facts['n_rows']} x {facts['dim']}"
        msg = f"{str(folder)!r} holds {came}. {REMEDY}"
        raise FormatError(msg)
    ids = arrays["ids"] if "ids" in names else None
    gone = arrays["gone"] if "gone" in names else None
    for name, array in (("ids", ids), ("gone", gone)):
        if array is not None and array.shape != (engine.n_rows,):
            msg = f"{str(folder / names[name])!r} has shape {array.shape}, expected {(engine.n_rows,)}. {REMEDY}"
            raise FormatError(msg)
    logger.info("opened %d rows: %.1f MB in memory, the rest mapped", engine.n_rows, arrays.held / 1e6)
    return Segment(engine, ids, Columns(arrays, facts["columns"], engine.n_rows), gone)
