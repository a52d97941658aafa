"""Forks of processes that have used scim, and processes that can write nowhere."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import scim
from scim._core import fork, kernel_cache
from scim._core.fork import refuse_fork, usable_threads
from scim._core.numba import njit
from scim.atlas.storage import Storage

HELPERS = Path(__file__).parents[1] / "helpers"

# The public reports of other tools: a fork that numba ends (scverse/fast-array-utils#179), one that waits for TileDB
# (TileDB-Inc/TileDB-Py#127, TileDB-Inc/TileDB-Py#197), and workers of a DataLoader (scverse/fast-array-utils#179).
WAYS = ["by_fork", "by_pool", "by_joblib", "by_loader"]


@pytest.mark.slow  # a process that compiles serial kernels and forks four times
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_forks_work_on_one_thread(atlas_path):
    command = [sys.executable, str(HELPERS / "forked.py"), str(atlas_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.stdout.splitlines() == [f"{way} same" for way in WAYS], done.stderr[-2000:]
    assert done.returncode == 0


@pytest.fixture
def in_fork(monkeypatch):
    monkeypatch.setattr(fork, "_is_fork", True)
    fork._log_once.cache_clear()


def test_a_fork_has_one_thread(in_fork, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="scim")
    monkeypatch.setattr(scim.settings, "n_threads", 8)
    assert (usable_threads(), usable_threads(4)) == (1, 1)
    (line,) = caplog.messages
    assert all(word in line for word in ("'spawn'", "'forkserver'", "'loky'"))


def test_serial_kernels_give_the_same(monkeypatch):
    from scim._core import numba
    from scim._core.topk import sort_rows

    rng = np.random.default_rng(0)
    distances, ranks = rng.random((20, 7), dtype=np.float32), np.tile(np.arange(7), (20, 1))
    threaded, serial = (distances.copy(), ranks.copy()), (distances.copy(), ranks.copy())
    sort_rows(*threaded)
    monkeypatch.setattr(numba, "_threads_lost", True)
    sort_rows(*serial)
    for one, other in zip(threaded, serial, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(serial[0], np.sort(distances, axis=1))


def test_what_a_fork_cannot_do_is_refused_with_the_remedy(in_fork):
    with pytest.raises(RuntimeError, match=r"Access to S3 is not possible in a process that was forked .*'spawn'"):
        refuse_fork("Access to S3")


def test_s3_is_refused_in_a_fork_of_a_process_that_used_it(in_fork, monkeypatch):
    from scim.atlas.storage import _s3

    monkeypatch.setattr(_s3, "_processes", [os.getpid() + 1])
    with pytest.raises(RuntimeError, match="forkserver"):
        Storage.of("s3://bucket/atlas").read("atlas.json")


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_kernels_run_in_threads_of_python(layer):
    """The layer `workqueue` ends the process where two threads run kernels at once: they wait for each other.

    All threads start it at the same time; one of them builds a graph.
    """
    code = (
        "import threading, numpy as np, scim; "
        "X = np.random.default_rng(0).random((500, 16), dtype=np.float32); barrier = threading.Barrier(8); "
        "run = lambda kind: (barrier.wait(), [scim.index.build(X, kind=kind).query(X[:200], 5) for _ in range(5)]); "
        "threads = [threading.Thread(target=run, args=('graph' if i == 0 else 'exact',)) for i in range(8)]; "
        "[t.start() for t in threads]; [t.join() for t in threads]; print('done')"
    )
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "done\n", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("n", "error", "match"),
    [
        (0, ValueError, "n_threads must be at least 1"),
        (-1, ValueError, "n_threads must be at least 1"),
        ("2", TypeError, "n_threads must be a whole number"),
        (None, TypeError, "n_threads must be a whole number"),
        (1.5, TypeError, "n_threads must be a whole number"),
    ],
)
def test_numbers_of_threads_are_checked(monkeypatch, n, error, match):
    monkeypatch.setattr(scim.settings, "n_threads", n)
    with pytest.raises(error, match=rf"scim\.settings\.{match}"):
        usable_threads()


def test_more_threads_than_cores_are_no_use(monkeypatch):
    monkeypatch.setattr(scim.settings, "n_threads", 10**6)
    assert usable_threads() == usable_threads(10**5) == os.cpu_count()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No folder that numba knows can be written; the temporary one is `tmp_path / "temporary"`."""
    implementation = kernel_cache.caching.FunctionCache._impl_class
    given = [locator for locator in implementation._locator_classes if "UserProvided" in locator.__name__]
    monkeypatch.setattr(implementation, "_locator_classes", given)
    monkeypatch.setattr(kernel_cache.config, "CACHE_DIR", "")
    monkeypatch.setattr(kernel_cache, "_logged", [])
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    kernel_cache._temporary_folder.cache_clear()
    yield tmp_path / "temporary"
    kernel_cache._temporary_folder.cache_clear()


@pytest.fixture
def twice(tmp_path):
    """Return a function that compiles one from a file, anew each time."""
    file = tmp_path / "kernel.py"
    file.write_text("def twice(x):\n    return 2 * x\n")

    def compiled():
        names: dict[str, object] = {}
        exec(compile(file.read_text(), str(file), "exec"), names)
        return njit(names["twice"])

    return compiled


def data_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbc"))


# Read-only containers: numba/numba#5566, LMCache/LMCache#4597, polakowo/vectorbt#476, numba/numba#4032.
def test_kernels_are_kept_in_a_private_temporary_folder(nowhere, twice, caplog):
    caplog.set_level(logging.INFO, logger="scim")
    assert twice()(2) == 4
    (folder,) = nowhere.iterdir()
    assert folder.name.startswith("scim-")
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = data_files(folder)
    written = file.stat().st_mtime_ns
    assert twice()(3) == 6
    assert file.stat().st_mtime_ns == written  # read, not compiled again
    assert sum("compiled kernels are kept in" in line for line in caplog.messages) == 1
    assert kernel_cache.config.CACHE_DIR == ""  # of other packages


def test_a_folder_given_that_cannot_be_written_is_no_failure(nowhere, twice, monkeypatch):
    monkeypatch.setattr(kernel_cache.config, "CACHE_DIR", str(nowhere / "file" / "below"))
    (nowhere / "file").write_text("")
    assert twice()(2) == 4
    assert len(data_files(nowhere)) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("how", ["writable", "link", "file"])
def test_a_folder_of_others_is_not_used(nowhere, twice, caplog, how):
    twice()
    (folder,) = nowhere.iterdir()
    shutil.rmtree(folder)
    kernel_cache._temporary_folder.cache_clear()
    if how == "writable":
        folder.mkdir()
        folder.chmod(0o777)
    elif how == "link":
        (nowhere / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(nowhere / "elsewhere")
    else:
        folder.write_text("")
    assert twice()(2) == 4
    assert data_files(nowhere) == []
    assert "kernels are compiled again in each process" in caplog.text


def test_without_any_folder_kernels_are_not_kept(nowhere, twice, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere / "absent"))
    assert [twice()(2), twice()(3)] == [4, 6]
    (line,) = [line for line in caplog.messages if "NUMBA_CACHE_DIR" in line]
    assert "kernels are compiled again in each process" in line


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x05half"])
def test_damaged_files_are_replaced(nowhere, twice, suffix, content):
    twice()(2)
    (file,) = nowhere.rglob(f"*.{suffix}")
    file.write_bytes(content)
    assert twice()(2) == 4
    assert all(path.read_bytes() != content for path in nowhere.rglob(f"*.{suffix}"))
    assert twice()(3) == 6


def test_a_full_disk_is_no_failure(nowhere, twice, monkeypatch, caplog):
    kernel = twice()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel._cache._cache_file, "_save_data", full)
    assert kernel(2) == 4
    assert kernel(2.5) == 5.0
    assert sum("No space left on device" in line for line in caplog.messages) == 1


def test_threads_of_python_compile_at_once(nowhere, twice):
    found = []
    threads = [threading.Thread(target=lambda: found.append(twice()(2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4] * 4


@pytest.mark.slow  # a process that compiles
@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux's")
def test_a_read_only_file_system(tmp_path):
    source, home = Path(scim.__file__).parents[1], tmp_path / "home"
    home.mkdir()
    read_only = " && ".join(f"mount --bind {at} {at} && mount -o remount,ro,bind {at}" for at in (source, home))
    code = "import scim; from scim._core.cosine import unit_rows; import numpy as np; "
    code += "print(unit_rows(np.array([[3.0, 4.0]]), what='rows').astype(float).round(2).tolist())"
    line = f'{read_only} && exec "{sys.executable}" -c "{code}"'
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    probe = subprocess.run(["unshare", "-m", "/bin/sh", "-c", f"{read_only}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("mounting needs rights that this user lacks")
    done = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "[[0.6, 0.8]]\n", done.stderr[-2000:]
    assert data_files(tmp_path)
    assert list(home.iterdir()) == []
