"""Errors as one line, in the words of the command line: options in place of arguments, commands of calls."""

from __future__ import annotations

import dis
import errno
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from scim._core import error_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_ISSUES = "https://github.com/scim-atlas/scim/issues"

_CALLS = (
    (r"open it with mode='w' and call build_index\(\)", "run scim atlas index"),
    (r"are left out; only_similar=False keeps them", 'are not counted; the column "similar" of the table marks them'),
    (r"\breembed\(model, publish=False\)", "scim atlas reembed --draft"),
    (r"\bappend\(counts=True\)", "scim atlas append --counts"),
    (r"\bscim\.tl\.(embed|annotate|search|explain|enrichment)\([^()]*\)", r"scim \1"),
    (r"\bscim\.atlas\.(create|verify|from_soma)\([^()]*\)", lambda call: f"scim atlas {call[1].replace('_', '-')}"),
    (r"\bscim\.model\.(train|evaluate)\([^()]*\)", r"scim model \1"),
)
_VALUE = r"""'[^']*'|"[^"]*"|\[[^\]]*\]|\{[^}]*\}|True\b|False\b|[\w.]*\w"""
_ARGUMENT = re.compile(rf"\b([a-z][a-z_]*)=(?!=)({_VALUE})?")
_RULE = re.compile(r"\b([a-z][a-z_]*)()(?= must )")


def reason(error: BaseException, arguments: Sequence[str]) -> str:
    """Return why the command with these arguments failed.

    An error that scim did not raise says what happened inside of a library, not what is wrong with the file.
    """
    text = error_text(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{_name(error.filename)}: {error.strerror}."
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"{error.strerror}: standard output, or a file of the command, cannot be written. Write elsewhere."
    if isinstance(error, MemoryError):
        return f"There is not enough memory ({text}). Pass fewer cells, or files with fewer."
    if is_explained(error) or isinstance(error, ImportError):
        return f"{text}."
    failed = f"{shlex.join(['scim', *arguments])} failed: {type(error).__name__}: {text}."
    remedy = f"please report it at {_ISSUES} with what is printed with SCIM_DEBUG=1."
    return f"{failed} A file is damaged in a way that scim does not recognise, or scim is wrong: {remedy}"


def is_explained(error: BaseException) -> bool:
    """Return whether scim raised an error: it stands at a `raise` of its own, or is of a class of its own."""
    if type(error).__module__.startswith("scim."):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _name(filename: str | bytes | int) -> str:
    return os.fsdecode(filename) if isinstance(filename, bytes) else str(filename)


def in_words_of_the_shell(message: str, options: Collection[str]) -> str:
    """Return a message with `name=value` as `--name value` where a command has such an option, and calls as commands.

    `options` are the names of the parameters of the commands.
    """
    for call, command in _CALLS:
        message = re.sub(call, command, message)
    message = _RULE.sub(lambda found: _option(found, options), message)
    return _ARGUMENT.sub(lambda found: _option(found, options), message)


def _option(found: re.Match[str], options: Collection[str]) -> str:
    name, value = found[1], found[2]
    if name not in options:
        return found[0]
    option = name.replace("_", "-")
    if value == "False":
        return f"--no-{option}"
    if value in (None, "", "True"):
        return f"--{option}"
    texts = value[1:-1].split(", ") if value[0] == "[" else [value]
    plain = [text.strip("'") for text in texts]
    is_plain = all(re.fullmatch(r"[\w.:/*-]+", text) for text in plain)
    return f"--{option} {', '.join(plain) if is_plain else value}"
