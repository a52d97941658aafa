"""Run the command `scim`: exit code 0 = done, 1 = failed (with one line of reason), 2 = wrong usage."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError

from scim._core import ScimWarning
from scim.cli._atlas import app as atlas
from scim.cli._atlas import import_scimilarity
from scim.cli._demo import demo
from scim.cli._query import annotate, search

if TYPE_CHECKING:
    from collections.abc import Sequence

app = App(
    name="scim",
    help="Embed, annotate and search single cells against an atlas. Start with: scim demo",
    version=version("scim-atlas"),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # `run` prints that it was interrupted
)
for command in (demo, annotate, search, atlas, import_scimilarity):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    _log_to_stderr()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # the rest of its arguments are not shown
            code = app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return 2  # cyclopts has printed the reason
    except KeyboardInterrupt:
        print("scim: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, LookupError, OSError, ImportError, MemoryError) as error:
        print(f"scim: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0


def _one_line(error: BaseException) -> str:
    # str(KeyError) is the repr of its message
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = re.sub(r"\b([a-z_]+)=True\b", lambda option: "--" + option[1].replace("_", "-"), text)
    return " ".join(text.split()) or type(error).__name__


def _log_to_stderr() -> None:
    logger = logging.getLogger("scim")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def _show_warning(message: Warning | str, category: type[Warning], *_where: Any) -> None:
    # Warnings of libraries are for the developers of scim.
    if issubclass(category, ScimWarning):
        _warn_once(str(message))


@functools.cache
def _warn_once(message: str) -> None:
    print(f"scim: warning: {message}", file=sys.stderr)
