"""Only regular files are opened, and no more is read than they have."""

from __future__ import annotations

import os
import socket

import pytest

from scim._core import FormatError
from scim.io import check_regular, checksum, open_file, read_bytes, read_text


def make(path, kind):
    """Put something else than a file at a path."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.with_name("behind").write_bytes(b"behind")
        path.symlink_to("behind")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))  # a short path: 107 bytes at most
        server.close()
    else:
        path.symlink_to(kind)


READERS = [open_file, check_regular, read_bytes, read_text, checksum]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop", "socket", "/dev/zero", "/dev/stdin", "/", "gone"])
@pytest.mark.parametrize("read", READERS)
def test_other_things_than_files_are_refused(tmp_path, read, kind):
    make(tmp_path / "x", kind)
    with pytest.raises(FormatError, match=r"/x' is a (folder|pipe|link|socket), expected a file"):
        read(tmp_path / "x")


def read_opened(path, *, links):
    with open_file(path, links=links) as file:
        return file.read()


@pytest.mark.parametrize("read", [read_opened, *READERS[1:4]])
def test_links_of_users_are_followed_to_files_alone(tmp_path, read):
    make(tmp_path / "x", "link")
    read(tmp_path / "x", links=True)
    for name, kind, found in (("a", "/dev/zero", "device"), ("b", "/", "folder")):
        make(tmp_path / name, kind)
        with pytest.raises(FormatError, match=f"/{name}' is a {found}, expected a file"):
            read(tmp_path / name, links=True)


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="none"):
        read(tmp_path / "none")


def test_content(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"text")
    assert (read_bytes(file), read_text(file), check_regular(file)) == (b"text", "text", 4)
    assert checksum(file) == "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"
    with open_file(file) as opened:
        assert opened.read() == b"text"


def test_a_file_larger_than_expected_is_not_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)  # a hole: it has no bytes on the disk
    with pytest.raises(FormatError, match=r"/x' has 1099511627776 bytes, expected at most 2147483648"):
        read_bytes(tmp_path / "x")
    with pytest.raises(FormatError, match="expected at most 3; it is damaged or something else"):
        read_text(tmp_path / "x", most=3)


def test_text_that_is_none(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match=r"/x' is not text in UTF-8"):
        read_text(tmp_path / "x")
