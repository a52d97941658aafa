"""JSON of bounded depth; records whose types and ranges are checked."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from msgspec import Meta

from scim._core import FormatError
from scim.io import Record, as_record, parse_json, parse_object, read_json, write_json

BAD = {
    "empty": b"",
    "half": b'{"a": [1, 2',
    "no JSON": b"{'a': 1}",
    "more behind": b'{"a": 1} x',
    "binary": bytes(range(256)),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin": b'{"a": "\xe9"}',
    "half a character": b'{"a": "\\ud800"}',
    "half a character as a key": b'{"\\udfff": 1}',
    "a long number": b'{"a": ' + b"9" * 10**5 + b"}",
    "deep": b"[" * 10**5,
    "a little too deep": b"[" * 65 + b"]" * 65,
    "deep objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "a key twice": b'{"a": 1, "b": {"c": 1, "c": 1}}',
}


@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_refused(name):
    with pytest.raises(FormatError, match="'x.json' is not readable JSON"):
        parse_json(BAD[name], "x.json")


def test_good_text():
    assert parse_json(b'\xef\xbb\xbf{"a": ["\\ud83d\\ude00", 1, null]}', "x.json") == {"a": ["😀", 1, None]}
    assert parse_json(b"[" * 64 + b"]" * 64, "x.json")


@pytest.mark.parametrize("content", ["[]", "1", '"a"', "null", "true"])
def test_something_else_than_an_object(content):
    with pytest.raises(FormatError, match="'x.json' holds a .*, expected an object"):
        parse_object(content, "x.json")


def test_files(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json", kind="thing") == {"a": 1}
    with pytest.raises(FileNotFoundError, match="is not a scim thing: it has no 'b.json'"):
        read_json(tmp_path / "b.json", kind="thing")
    (tmp_path / "c.json").write_bytes(b"[")
    with pytest.raises(FormatError, match=r"c.json' is not readable JSON .*; the scim thing is damaged"):
        read_json(tmp_path / "c.json", kind="thing")


class Part(Record):
    """A part."""

    name: str
    share: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Whole(Record):
    """All of it."""

    n: Annotated[int, Meta(ge=0, le=100)]
    kind: Literal["a", "b"]
    parts: tuple[Part, ...] = ()
    more: Part | None = None

    def __post_init__(self) -> None:
        """Check what types do not."""
        if len({part.name for part in self.parts}) < len(self.parts):
            msg = "a part occurs twice"
            raise ValueError(msg)


def test_a_record():
    content = {"n": 3, "kind": "a", "parts": [{"name": "x"}, {"name": "y", "share": 1}], "more": None}
    assert as_record(content, Whole, "x.json") == Whole(3, "a", (Part("x"), Part("y", 1.0)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "Expected `object`, got `array`"),
        ({"n": 3}, "missing required field `kind`"),
        ({"n": 3, "kind": "a", "x": 1}, "unknown field `x`"),
        ({"n": 3, "kind": "c"}, r"Invalid enum value 'c' - at `\$.kind`"),
        ({"n": "3", "kind": "a"}, r"Expected `int`, got `str` - at `\$.n`"),
        ({"n": True, "kind": "a"}, r"Expected `int`, got `bool` - at `\$.n`"),
        ({"n": 3.0, "kind": "a"}, r"Expected `int`, got `float` - at `\$.n`"),
        ({"n": 10**30, "kind": "a"}, r"`int` <= 100 - at `\$.n`"),
        ({"n": -1, "kind": "a"}, r"`int` >= 0 - at `\$.n`"),
        ({"n": 3, "kind": "a", "parts": {}}, r"Expected `array`, got `object` - at `\$.parts`"),
        ({"n": 3, "kind": "a", "parts": [{"name": None}]}, r"at `\$.parts\[0\].name`"),
        ({"n": 3, "kind": "a", "parts": [{"name": "x", "y": 1}]}, r"unknown field `y` - at `\$.parts\[0\]`"),
        ({"n": 3, "kind": "a", "parts": [{"name": "x"}, {"name": "x"}]}, "a part occurs twice"),
        ({"n": 3, "kind": "a", "more": {"name": "x", "share": float("nan")}}, r"at `\$.more.share`"),
        ({"n": 3, "kind": "a", "more": {"name": "x", "share": float("inf")}}, r"at `\$.more.share`"),
        ({"n": 3, "kind": "a", "more": {"name": "x", "share": 10**400}}, r"at `\$.more.share`"),
    ],
)
def test_other_content_is_refused(content, message):
    with pytest.raises(FormatError, match=f"'x.json' is not what it should be: .*{message}"):
        as_record(content, Whole, "x.json")
