"""Ctrl-C ends long work, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# Kernels are compiled on a few rows first: llvmlite's finalizers swallow a Ctrl-C that falls into the compiling.
CHILD = """
import sys
import numpy as np, scim
X = np.random.default_rng(0).normal(size=(400_000, 64)).astype(np.float32)
if sys.argv[1] == "build":
    scim.index.build(X[:20_000], kind="ivf", rng=0)
    print("begin", flush=True)
    scim.index.build(X, kind="ivf", path=sys.argv[2], rng=0)
else:
    index = scim.index.build(X, kind="exact")
    index.query(X[:100], 50)
    print("begin", flush=True)
    index.query(X, 50)
print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
@pytest.mark.parametrize("what", ["build", "query"])
def test_ctrl_c(what, tmp_path):
    command = [sys.executable, "-c", CHILD, what, str(tmp_path / "index")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while child.stdout.readline().strip() != "begin":
            assert child.poll() is None
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "done" not in out
    assert "KeyboardInterrupt" in err
    assert list(tmp_path.iterdir()) == []
