"""Headers with their own checksum, which list the files of a folder."""

from __future__ import annotations

import os

import pytest

from scim._core import FormatError
from scim.io import check_content, check_size, describe_file, digest, sealed, unsealed


def test_a_header_keeps_its_checksum():
    header = sealed({"b": [1, 2.5], "a": None})
    assert unsealed(header, "x.json", remedy="") == {"b": [1, 2.5], "a": None}
    assert digest({"a": None, "b": [1, 2.5]}) == header["sha256"]


@pytest.mark.parametrize("change", [{"a": 2}, {"c": 1}, {"sha256": ""}, {"sha256": None}, {"sha256": 1}])
def test_a_changed_header_is_refused(change):
    with pytest.raises(FormatError, match=r"'x.json' has changed since it was written.*Make it again"):
        unsealed({**sealed({"a": 1}), **change}, "x.json", remedy="Make it again.")
    with pytest.raises(FormatError, match="its checksum differs"):
        unsealed({"a": 1}, "x.json", remedy="")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    return tmp_path


def test_files(folder):
    entry = describe_file(folder / "a")
    assert entry["bytes"] == 7
    assert check_size(folder, "a", entry, remedy="") == check_content(folder, "a", entry, remedy="") == folder / "a"
    (folder / "a").write_bytes(b"Content")
    check_size(folder, "a", entry, remedy="")
    with pytest.raises(FormatError, match=r"a' has changed since it was written.*Make it again"):
        check_content(folder, "a", entry, remedy="Make it again.")


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("a", {"bytes": 8}, r"a' has 7 bytes, expected 8: it is truncated or replaced\. Make it again"),
        ("a", {}, "expected None"),
        ("a", {"bytes": "7"}, "has 7 bytes, expected 7"),
        ("b", {"bytes": 7}, r"b' is missing\. Make it again"),
        ("a/b", {"bytes": 7}, "b' is missing"),
        ("pipe", {"bytes": 0}, "is a pipe, expected a file"),
        ("link", {"bytes": 7}, "is a link, and what is behind it is not part of"),
        ("../a", {"bytes": 7}, "Expected the name of a part"),
    ],
)
def test_other_files_are_refused(folder, name, entry, message):
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("a")
    with pytest.raises(FormatError, match=message):
        check_content(folder, name, entry, remedy="Make it again.")
