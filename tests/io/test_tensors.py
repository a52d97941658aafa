"""Tensors of safetensors files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save

from scim._core import FormatError
from scim.io._tensors import read_tensors


def raw(header, data=bytes(8)):
    """Return the content of a safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD = {
    "empty": b"",
    "half": save({"a": np.ones(4)})[:-8],
    "more behind": save({"a": np.ones(4)}) + b"x",
    "a header of 2^60 bytes": (1 << 60).to_bytes(8, "little"),
    "no JSON": raw(b"{"),
    "deep": raw(b"[" * 10**5),
    "a list": raw([]),
    "an unknown type": raw({"a": entry("X1")}),
    "a type that numpy lacks": raw({"a": entry("BF16", (4,))}),
    "a huge shape": raw({"a": entry(shape=(1 << 40,))}),
    "a negative length": raw({"a": entry(shape=(-2,))}),
    "offsets beyond the end": raw({"a": entry(offsets=(0, 800))}),
    "offsets that fall": raw({"a": entry(offsets=(8, 0))}),
    "an overlap": raw({"a": entry(), "b": entry()}),
    "a shape of text": raw({"a": entry(shape="ab")}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    (tmp_path / "x").write_bytes(BAD[name])
    with pytest.raises(FormatError, match=r"/x' is (truncated or not a safetensors file|not)"):
        read_tensors(tmp_path / "x")


def test_a_good_file(tmp_path):
    (tmp_path / "x").write_bytes(save({"a": np.arange(4.0), "b": np.empty((0, 3), np.int64)}))
    found = read_tensors(tmp_path / "x")
    np.testing.assert_array_equal(found["a"], np.arange(4.0))
    assert found["b"].shape == (0, 3)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(FormatError, match="is a pipe, expected a file"):
        read_tensors(tmp_path / "x")
