"""Text for a terminal, a log or an error: without passwords, and without characters that a terminal obeys."""

from __future__ import annotations

import os
import re

HIDDEN = "***"

_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
_SHORTEST = 8  # a shorter value of these variables is none of AWS, and might be part of any word
# As libraries print them: 'vfs.s3.proxy_password=...', '"aws_secret_access_key": "..."', 'X-Amz-Signature=...'.
_NAMED = re.compile(
    r"((?:secret|passw|session_?token|security_?token|access_?token|api_?key|x-amz-)[\w.-]{0,40}[\"']?\s?[=:]\s?[\"']?)"
    r"[^\s\"'&]+",
    re.IGNORECASE,
)
# After a scheme of two characters or more, for one is a drive of Windows; as it is, or encoded in another address.
# pathlib leaves one slash, and some writers of JSON put a backslash before each.
_START = re.compile(r"(?<=[A-Za-z0-9+.-]{2})((?::|%(?:25)*3A)(?:\\?/|%(?:25)*2F)+)", re.IGNORECASE)
_AT, _ENCODED_AT = re.compile("@"), re.compile("@|%(?:25)*40", re.IGNORECASE)
# A password with a space, which ends a word: after a colon that does not begin the number of a port.
_SPACED = re.compile(r"(?<=[A-Za-z0-9+.-]{2})(:\\?/[\\/]*)[^\s/@:\[]{0,100}:(?!\d+(?:\W|$))\S[^@]{0,100}@")
_LOGIN = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+:/+)?.*@", re.DOTALL)
_QUERY = re.compile("[?#]")
_WORD = re.compile(r"\S+")
_CLOSING = "'\"`)]}>,;.:"


def shown(text: str) -> str:
    """Return a text as it may reach a terminal or a log: in one line, without secrets."""
    return printable(hide_secrets(text))


def printable(text: str) -> str:
    r"""Return a text with every character that cannot be seen escaped as Python does: `\x1b`, `\n`, `\u202e`.

    These move the cursor, set the title of a window, reverse the order of letters or forge a line of a log.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hide_secrets(text: str) -> str:
    """Return a text without passwords: `s3://***@bucket`, `https://host/file?***`.

    Hidden are, of an address, everything before the last `@` and after a `?` or `#`; values that are named a password,
    a token or a key; and the keys of AWS in the environment.
    """
    for name in _SECRETS:
        if len(secret := os.environ.get(name, "")) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    if _START.search(text) is None:
        return text
    return _WORD.sub(lambda word: _hide_in_word(word[0]), _SPACED.sub(rf"\1{HIDDEN}@", text))


def hide_login(address: str) -> str:
    """Return a text that is an address as a whole, maybe without a scheme, without all before its last `@`."""
    return hide_secrets(_LOGIN.sub(rf"\1{HIDDEN}@", address))


def _hide_in_word(word: str) -> str:
    before, *pieces = _START.split(word)  # a separator, what follows it, ...
    is_at_later = False
    for i in range(len(pieces) - 1, 0, -2):
        rest = pieces[i]
        end = max((at.end() for at in (_ENCODED_AT if "%" in pieces[i - 1] else _AT).finditer(rest)), default=0)
        if end:
            rest = f"{HIDDEN}@{rest[end:]}"
        elif ":" in rest and is_at_later:  # a password with '://' in it
            rest = HIDDEN
        is_at_later = is_at_later or end > 0
        pieces[i] = _hide_query(rest)
    return before + "".join(pieces)


def _hide_query(rest: str) -> str:
    query = _QUERY.search(rest)
    if query is None:
        return rest
    closing = rest[len(rest.rstrip(_CLOSING)) :]  # of the sentence around the address
    return f"{rest[: query.end()]}{HIDDEN}{closing}"
