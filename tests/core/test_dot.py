"""Dot products of bytes and of half bytes, with the instructions of this and of older processors."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import oracles
from scim._core import dot
from scim._core.numba import njit


@njit
def run(codes, query, bytes_one, bytes_four, halves_one, halves_four):
    for i in range(codes.shape[0]):
        dot.byte_dot(codes, i, query, bytes_one, i)
        dot.nibble_dot(codes, i, query, halves_one, i)
        dot.fetch_row(codes, i)
    for i in range(0, codes.shape[0], 4):
        dot.byte_dots(codes, i, query, bytes_four, i)
        dot.nibble_dots(codes, i, query, halves_four, i)


def check(width, *, extreme=False):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (12, width)).astype(np.uint8)
    query = rng.integers(-127, 128, 2 * width).astype(np.int8)
    if extreme:  # values whose sums of pairs overflow in 16 bits
        codes[:], query[:] = 255, -127
        codes[4:8] = 128
        query[width:] = 127
    out = [np.zeros(12, np.int32) for _ in range(4)]
    run(codes, query, *out)
    whole = codes.astype(np.int64) @ query[:width].astype(np.int64)
    halves = oracles.unpacked(codes).astype(np.int64) @ query.astype(np.int64)
    for found, expected in zip(out, (whole, whole, halves, halves), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("width", [32, 64, 96, 128, 160, 192])
@pytest.mark.parametrize("extreme", [False, True])
def test_dots(width, extreme):
    check(width, extreme=extreme)


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="names of x86 processors")
@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
@pytest.mark.parametrize(("name", "features"), [("haswell", "+avx2,+fma,+sse4.2,+avx"), ("generic", "+sse2")])
def test_older_processors(name, features, tmp_path):
    # In a new process: numba chooses the processor when it starts.
    root = Path(__file__).parents[2]
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('test_dot', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['test_dot'] = module\n"
        "spec.loader.exec_module(module)\n"
        "[module.check(width, extreme=extreme) for width in (32, 96, 192) for extreme in (False, True)]\n"
    )
    chosen = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(root / "tests"), str(root / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **chosen, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
