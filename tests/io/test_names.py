"""Names from outside become paths below a folder, or are refused."""

from __future__ import annotations

import pytest

from scim._core import FormatError
from scim.io import check_name, inside, is_link


@pytest.mark.parametrize("name", ["a", "index/v000003/ids.npy", ".hidden", "a..b/...", "é/日本", "a b", "x" * 255])
def test_names_of_parts_stay_as_they_are(tmp_path, name):
    assert check_name(name) == name
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc/passwd", "..", ".", "a/../b", "../a", "a/..", "a//b", "a/", "./a", "a\\..\\b", "c:d", "C:\\x",
        "a\0", "a\nb", "\x1b[31m", "a\x7f", "x" * 256, "a/" * 600 + "b", "a\udcff", None, 1, b"a", ["a"],
    ],
)  # fmt: skip
def test_other_names_are_refused(tmp_path, name):
    for read in (check_name, lambda text: inside(tmp_path, text)):
        with pytest.raises(FormatError, match="Expected the name of a part, relative"):
            read(name)


def test_a_link_on_the_way_is_refused(tmp_path):
    (tmp_path / "real" / "folder").mkdir(parents=True)
    (tmp_path / "real" / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to("loop")
    for name in ("link", "link/folder", "link/folder/file", "real/loop", "link/none"):
        with pytest.raises(FormatError, match="is a link, and what is behind it is not part of"):
            inside(tmp_path, name)
    assert inside(tmp_path / "link", "folder/file").exists()  # the folder itself may be a link
    assert inside(tmp_path, "real/none") == tmp_path / "real" / "none"
    assert [is_link(tmp_path / name) for name in ("link", "real", "none")] == [True, False, False]
