"""TileDB arrays of a published folder, read in a process of their own: a damaged file can end the process.

Requests are lines of JSON; answers are a line of JSON, and then an Arrow stream or an npy file.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from scim._core import FormatError, error_text, require
from scim.io import as_record, files_below, parse_json, parse_npy, parse_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MEMORY_BUDGET = 512 << 20
_MAX_ROWS = 1 << 31
_LIMIT = 300.0  # seconds of one request, of which a healthy one needs some
_MOST_MEMORY = 6 << 30  # of the process, where a damaged size would take that of the machine
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import scim.scimilarity._tiledb as t; t.serve()"
_REMEDY = "a file of it is damaged; copy the published folder again"


class Schema(NamedTuple):
    """What an array says of itself."""

    sparse: bool
    written: list[tuple[int, int]] | None
    """first and last index of each dimension that were written, `None` if nothing was"""
    attributes: dict[str, str]
    """dtypes by name"""
    tile: int
    """of the last dimension"""


class TileArray:
    """An array in a folder, which `reader` reads."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self.path, self._reader = path, reader
        self.n_bytes = sum(file.stat().st_size for file in files_below(path))
        self.schema = as_record(parse_json(reader.ask(path, "schema"), str(path)), Schema, str(path))

    @property
    def n_rows(self) -> int:
        """Number of rows written into a dense array, from 0 on; FormatError for another array."""
        written = None if self.schema.sparse else self.schema.written
        if not written or written[0][0] != 0 or not 0 <= written[0][1] < _MAX_ROWS:
            msg = (
                f"{str(self.path)!r} must be a dense array of rows from 0 on, at most {_MAX_ROWS:,}; it has {written}."
            )
            raise FormatError(msg)
        return written[0][1] + 1

    def table(self, names: Sequence[str], start: int, stop: int) -> pa.Table:
        """Return attributes of rows of a data frame."""
        stream = self._reader.ask(self.path, "table", list(names), start, stop)
        try:
            table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error_text(error)) from error
        if table.num_rows != stop - start or set(table.column_names) != set(names):
            raise _unreadable(self.path, f"{table.num_rows:,} of the rows {start:,} to {stop:,}")
        return table

    def values(self, *ranges: tuple[int, int]) -> NDArray[Any]:
        """Return the values of the only attribute in a block, by the first index and the last + 1 of each dimension."""
        block = parse_npy(self._reader.ask(self.path, "values", *ranges), str(self.path))
        if block.shape != tuple(stop - start for start, stop in ranges):
            raise _unreadable(self.path, f"a block of shape {block.shape} for {ranges}")
        return block


class Reader:
    """The process that reads."""

    def __init__(self) -> None:
        require("tiledb", "scimilarity")
        command = [sys.executable, "-P", "-c", _START, json.dumps(sys.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, path: Path, what: str, *arguments: Any) -> bytes:
        """Return the answer to a request; FormatError if the library cannot read the array, or died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # Absolute: TileDB keeps the working directory of its first use.
        request = json.dumps([what, str(path.absolute()), *arguments]) + "\n"
        timer = threading.Timer(_LIMIT, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
            head = self._process.stdout.readline()
            answer = parse_object(head, str(path)) if head.endswith(b"\n") else None
            content = self._process.stdout.read(answer["bytes"]) if answer else b""
        except BrokenPipeError:
            answer = None
        finally:
            timer.cancel()
        if answer is None or len(content) != answer["bytes"]:
            msg = f"{str(path)!r} was not read: the process that read it ended ({self._process.wait()}); {_REMEDY}."
            raise FormatError(msg)
        if answer["error"] is not None:
            raise _unreadable(path, answer["error"])
        return content

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def open_reader() -> Iterator[Reader]:
    """Start a reader, and end it with the block."""
    reader = Reader()
    try:
        yield reader
    finally:
        reader.stop()


def _unreadable(path: Path, reason: str) -> FormatError:
    return FormatError(f"{str(path)!r} cannot be read as a TileDB array ({reason}); {_REMEDY}.")


def serve() -> None:
    """Answer requests, in the process of a reader, until its standard input ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  (Windows has none)

        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both processes; the other ends this one
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    for line in sys.stdin:
        what, path, *arguments = parse_json(line, "request")
        content: bytes | memoryview = b""
        reason = None
        try:
            content = _ANSWERS[what](_opened(path), *arguments)
        except Exception as error:  # noqa: BLE001  (whatever a damaged array makes the library raise)
            reason = error_text(error)
        _write(answers, {"bytes": len(content), "error": reason}, content)


def _write(stream: BinaryIO, head: dict[str, Any], content: bytes | memoryview) -> None:
    stream.write(json.dumps(head).encode() + b"\n")
    stream.write(content)
    stream.flush()


@functools.lru_cache(maxsize=8)
def _opened(path: str) -> Any:
    import tiledb  # noqa: PLC0415  (only this process needs it)

    budgets = ("sm.mem.total_budget", "sm.memory_budget", "sm.memory_budget_var")
    return tiledb.open(path, "r", ctx=tiledb.Ctx(tiledb.Config(dict.fromkeys(budgets, _MEMORY_BUDGET))))


def _schema(array: Any) -> bytes:
    schema = array.schema
    written = None if schema.sparse else array.nonempty_domain()
    ends = None if written is None else [(int(first), int(last)) for first, last in written]
    attributes = {schema.attr(i).name: str(schema.attr(i).dtype) for i in range(schema.nattr)}
    tile = 0 if schema.sparse else int(schema.domain.dim(schema.ndim - 1).tile or 0)
    return json.dumps(Schema(bool(schema.sparse), ends, attributes, tile)).encode()


def _table(array: Any, names: list[str], start: int, stop: int) -> memoryview:
    table = array.query(attrs=names, dims=[], return_arrow=True).df[start : stop - 1]  # labels: both ends are included
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def _values(array: Any, *ranges: tuple[int, int]) -> memoryview:
    block = array[tuple(slice(start, stop) for start, stop in ranges)]
    content = io.BytesIO()
    np.save(content, np.asarray(next(iter(block.values())) if isinstance(block, dict) else block), allow_pickle=False)
    return content.getbuffer()


_ANSWERS: dict[str, Callable[..., bytes | memoryview]] = {"schema": _schema, "table": _table, "values": _values}
