"""Messages of the library in the words of the command line: options in place of arguments, commands of calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

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
