"""Run the command `scim`: exit code 0 = done, 1 = failed (with one line of reason), 2 = wrong usage."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import sys
import traceback
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TextIO

from cyclopts import App, CycloptsError, Parameter, convert

from scim._core import ScimWarning, shown
from scim.cli._annotate import annotate
from scim.cli._atlas import app as atlas
from scim.cli._atlas import import_scimilarity
from scim.cli._demo import demo
from scim.cli._embed import embed, explain
from scim.cli._errors import in_words_of_the_shell, reason
from scim.cli._model import app as model
from scim.cli._search import enrichment, search
from scim.cli._tables import unwritable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import Token


def _convert(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return the value of an option; a whole number is none with a fraction, which cyclopts would round."""
    if kind is int and not tokens[0].value.lstrip("+-").isdecimal():
        msg = f"expected a whole number, got {tokens[0].value!r}."
        raise ValueError(msg)
    return convert(kind, tokens)


app = App(
    name="scim",
    help="Embed, annotate and search single cells against an atlas. Start with: scim demo",
    version=version("scim-atlas"),
    help_format="plaintext",
    default_parameter=Parameter(converter=_convert),
    suppress_keyboard_interrupt=False,  # `run` prints that it was interrupted
)
for command in (demo, embed, annotate, search, explain, enrichment, atlas, model, import_scimilarity):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a label that a terminal cannot show is no failure
    try:
        with _log_on_stderr(), warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # the rest of its arguments are not shown
            code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        _flush()
    except CycloptsError as error:
        _complain(f"error: {' '.join(str(error).split())} See scim --help.")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _drop(sys.stdout)
        return 0
    except Exception as error:  # noqa: BLE001  (whatever failed, the user gets a line and the caller an exit code)
        if os.environ.get("SCIM_DEBUG") == "1":
            for line in "".join(traceback.format_exception(error)).splitlines():
                _complain(line, "")
        _complain(f"error: {_translated(reason(error, arguments))}")
        with contextlib.suppress(OSError):
            _flush()
        return 1
    return code if isinstance(code, int) else 0


def _flush() -> None:
    """Write what was printed; OSError if standard output takes no more."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop(sys.stdout)
        raise unwritable(error) from error


def _complain(text: str, prefix: str = "scim: ") -> None:
    """Print a line on standard error; if it takes none, the exit code says enough."""
    try:
        print(shown(prefix + text), file=sys.stderr, flush=True)
    except (OSError, ValueError):  # full, broken or closed
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Send what is left to print nowhere: Python would try again when it ends, and leave with another exit code."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _translated(message: str) -> str:
    return " ".join(in_words_of_the_shell(message, _options(app)).split())


def _options(commands: App) -> set[str]:
    """Return the names of the parameters of all commands."""
    names = set() if commands.default_command is None else {*inspect.signature(commands.default_command).parameters}
    return names.union(*(_options(commands[name]) for name in commands if not name.startswith("-")))


class _Formatter(logging.Formatter):
    """Lines of the log, in the words of the command line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name is Python's)
        return _translated(record.message)


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Print the log while a command runs, unless the process has a handler of its own."""
    logger = logging.getLogger("scim")
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(_Formatter())
    if logger.handlers:
        yield
        return
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _show_warning(message: Warning | str, category: type[Warning], *_where: Any) -> None:
    # Warnings of libraries are for the developers of scim.
    if issubclass(category, ScimWarning):
        _warn_once(str(message))


@functools.cache
def _warn_once(message: str) -> None:
    _complain(f"warning: {_translated(message)}")
