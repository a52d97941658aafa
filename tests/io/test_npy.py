"""npy files and zips of them, whose headers and values are checked before they are used."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from scim._core import FormatError
from scim.io import check_array, map_npy, parse_npy, parse_npz, read_npy

EIGHT = bytes(8)


def npy(descr="<f4", shape=(2,), data=EIGHT, *, order=False, text=None, version=1):
    """Return the content of an npy file of any header."""
    header = (repr({"descr": descr, "fortran_order": order, "shape": shape}) if text is None else text).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2 if version == 1 else 4, "little") + header + data


def readers(path):
    """Return all ways to read an npy file."""
    return (lambda: parse_npy(path.read_bytes(), str(path))), (lambda: read_npy(path)), (lambda: map_npy(path))


BAD_HEADERS = {
    "empty": b"",
    "half the magic": b"\x93NUM",
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "another file": b"PK\x03\x04" + bytes(100),
    "version 3": npy(version=3),
    "version 9": npy(version=9),
    "no literal": npy(text="__import__('os')"),
    "half a literal": npy(text="{'descr': '<f4'"),
    "deep": npy(text="(" * 5000),
    "long": npy(text=" " * 20_000),
    "a key too few": npy(text="{'descr': '<f4'}"),
    "a negative length": npy(shape=(-2,)),
    "two negative lengths": npy(shape=(-2, -1)),
    "a huge length": npy(shape=(1 << 40,)),
    "beyond 64 bits": npy(shape=(1 << 63, 4)),
    "nothing, of a huge length": npy(shape=(0, 1 << 62), data=b""),
    "a length that is a boolean": npy(shape=(True, 2)),
    "a length that is a float": npy(shape=(2.0,)),
    "a shape that is text": npy(shape="ab"),
    "a length too many": npy(shape=(1,) * 60 + (2,)),
    "too few bytes": npy(shape=(3,)),
    "too many bytes": npy(shape=(1,)),
    "objects": npy("|O", (1,)),
    "fields": npy([("a", "<f4")]),
    "void": npy("|V4"),
    "fields in Fortran's order": npy([("a", "<f4")], order=True),
    "text of no length": npy("<U0", (1 << 40,), b""),
    "bytes of no length": npy("|S0", (2,), b""),
    "an unknown type": npy("<q9"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_headers_are_refused(tmp_path, name):
    (tmp_path / "x.npy").write_bytes(BAD_HEADERS[name])
    for read in readers(tmp_path / "x.npy"):
        with pytest.raises(FormatError, match=r"x.npy' (is not a readable npy file|holds|has \d+ bytes of values)"):
            read()


BAD_VALUES = {
    "neither true nor false": npy("|b1", (8,), EIGHT[:7] + b"\2"),
    "text beyond Unicode": npy("<U2", (1,), b"\xff" * 8),
    "half a character": npy("<U2", (1,), b"a\0\0\0\0\xd8\0\0"),
    "text beyond Unicode, big-endian": npy(">U2", (1,), EIGHT[:4] + b"\0\x11\0\0"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_values_that_a_type_does_not_have_are_refused(tmp_path, name):
    (tmp_path / "x.npy").write_bytes(BAD_VALUES[name])
    for read in readers(tmp_path / "x.npy")[:2]:
        with pytest.raises(FormatError, match="x.npy' holds values that .* does not have; it is damaged"):
            read()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(3.0),
        np.empty((0, 4), np.int8), np.array(["a", "日本", ""]), np.array([True, False]), np.arange(3, dtype=">i4"),
    ],
)  # fmt: skip
def test_good_arrays(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    for read in readers(tmp_path / "x.npy"):
        found = read()
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


def test_a_pipe_and_a_hole_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "hole.npy").write_bytes(npy(shape=(1 << 40,), data=b""))
    os.truncate(tmp_path / "hole.npy", 1 << 40)
    for read in (read_npy, map_npy):
        with pytest.raises(FormatError, match="is a pipe, expected a file"):
            read(tmp_path / "pipe.npy")
        with pytest.raises(FormatError, match=r"hole.npy' has \d+ bytes of values"):
            read(tmp_path / "hole.npy")


def npz(entries, **how):
    """Return the content of a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, **how)
    return out.getvalue()


def changed(raw, at, to):
    """Return content with other bytes at a place; of a negative one counted from the end."""
    at %= len(raw)
    return raw[:at] + to + raw[at + len(to) :]


GOOD = npz([("a.npy", npy()), ("b.npy", npy(shape=(2,)))])
BAD_ZIPS = {
    "empty": (b"", "is not a readable zip of arrays"),
    "half": (GOOD[: len(GOOD) // 2], "is not a readable zip of arrays"),
    "another file": (npy(), "is not a readable zip of arrays"),
    "changed data": (changed(GOOD, 45, b"\xff\xff\xff\xff"), "x.npz/a.npy' is not a readable npy file"),
    "zeros behind the values": (npz([("a.npy", npy() + bytes(1 << 16))]), r"x.npz/a.npy' has \d+ bytes of values"),
    "an array twice": (GOOD.replace(b"b.npy", b"a.npy"), "has two arrays of one name"),
    "a name that leads out": (npz([("../../a.npy", npy())]), "Expected the name of a part"),
    "an absolute name": (npz([("/a.npy", npy())]), "Expected the name of a part"),
    "a bad array": (npz([("a.npy", npy("|O", (1,)))]), "x.npz/a.npy' holds object"),
    "a size of 4 GB": (changed(GOOD, GOOD.index(b"PK\1\2") + 24, b"\xf0\xff\xff\xff"), "claims more content than"),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_zips_are_refused(name):
    content, message = BAD_ZIPS[name]
    with pytest.raises(FormatError, match=message):
        parse_npz(content, "x.npz")


def test_a_small_zip_of_large_arrays_is_read_no_further_than_it_lists():
    bomb = npz([("a.npy", npy("|u1", (1 << 24,), bytes(1 << 24)))])
    small = changed(bomb, bomb.index(b"PK\1\2") + 24, (200).to_bytes(4, "little"))
    assert len(bomb) < 1 << 15
    with pytest.raises(FormatError, match="x.npz"):
        parse_npz(small, "x.npz")


def test_zips():
    assert {name: array.tolist() for name, array in parse_npz(GOOD, "x.npz").items()} == {"a": [0, 0], "b": [0, 0]}
    assert [*parse_npz(GOOD, "x.npz", ["b"])] == ["b"]
    with pytest.raises(FormatError, match=r"'x.npz' has no array 'c'. Present: \['a', 'b'\]"):
        parse_npz(GOOD, "x.npz", ["c"])


@pytest.mark.parametrize(
    ("array", "kinds", "shape", "message"),
    [
        (np.zeros(3), "iu", (3,), r"holds float64 of shape \(3,\), expected kind 'iu' and shape \(3\)"),
        (np.zeros(3), "f", (4,), r"expected kind 'f' and shape \(4\)"),
        (np.zeros((3, 2)), "f", (None,), r"expected kind 'f' and shape \(any\)"),
        (np.zeros(3, ">f4"), "f", (3,), "holds >f4"),
        (np.array([0.0, 2]), "f", (None,), "has values from 0.0 to 2.0, expected 0 to 1"),
        (np.array([-1e-30, 1]), "f", (None,), "has values from -1e-30"),
        (np.array([0, np.nan]), "f", (None,), "has values from nan to nan"),
        (np.array([0, np.inf]), "f", (None,), "to inf, expected 0 to 1"),
    ],
)
def test_arrays_out_of_range_are_refused(array, kinds, shape, message):
    with pytest.raises(FormatError, match=f"'x.npy' .*{message}.*Make it again"):
        check_array(array, "x.npy", kinds, shape, least=0, most=1, remedy="Make it again.")


def test_arrays_in_range():
    for array in (np.array([0, 1]), np.array([], np.int8), np.array([True, False]), np.array([0.0, 1.0], np.float16)):
        assert check_array(array, "x.npy", "bif", (None,), least=0, most=1, remedy="") is array
