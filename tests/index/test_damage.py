"""A damaged file of a saved index raises an error with the remedy, when it is opened or first used."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import scim
from scim._core import FormatError

from .conftest import EVERYWHERE, assert_equal, clusters, table

KINDS = ("exact", "ivf", "graph")
WHERES = ("tissue == 'lung'", "share < 300", "age > 20", "ok == True")
REMEDY = r"(?i)build it again|update scim"


def make(kind, *, seed=0):
    rng = np.random.default_rng(seed)
    index = scim.index.build(
        clusters(300, seed=seed), rng.permutation(600)[:300], obs=table(300, seed=seed), kind=kind, rng=0
    )
    index.append(clusters(60, seed=seed + 1), obs=table(60, seed=seed + 1))
    index.delete(index.ids[::20])
    return index


def use(index):
    """Return the results of all calls of an index, which read every file."""
    queries, parameters = clusters(5, seed=9), EVERYWHERE if index.kind == "ivf" else {}
    results = [*index.query(queries, 12, **parameters)]
    results += [part for where in WHERES for part in index.query(queries, 12, where=where, **parameters)]
    results += [*index.query(queries, 12, allowed=index.ids[::2], **parameters), index.vectors(index.ids), index.ids]
    return results, index.obs(index.ids)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    for kind in KINDS:
        make(kind).save(path / kind)
        make(kind, seed=7).save(path / f"other-{kind}")
    return path


@pytest.fixture(scope="module")
def names(saved):
    return {kind: sorted(file.name for file in (saved / kind).iterdir()) for kind in KINDS}


@pytest.fixture
def folder(saved, tmp_path, kind):
    return shutil.copytree(saved / kind, tmp_path / kind)


def open_and_use(folder):
    use(scim.index.open(folder))


def ways(folder):
    for resident in ("none", "codes", "all"):
        yield lambda resident=resident: use(scim.index.open(folder, resident=resident))
    yield lambda: scim.index.verify(folder)


def test_every_kind_of_file_is_tested(names):
    assert {"index.json", "rows_codes.npy", "rows_values.npy", "places.npy", "ids.npy", "gone.npy"} <= set(names["ivf"])
    assert {"rows.1.npy", "ids.1.npy", "gone.1.npy"} <= set(names["ivf"])
    assert sum(name.startswith("column") for name in names["ivf"]) >= 8


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_flipped_bit(folder, at):
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        content = bytearray(whole)
        content[round(at * (len(content) - 1))] ^= 4
        file.write_bytes(content)
        try:
            with pytest.raises(FormatError):
                open_and_use(folder)
            with pytest.raises(FormatError):
                scim.index.verify(folder)
        finally:
            file.write_bytes(whole)
    open_and_use(folder)


def test_flipped_bits_in_the_rows(saved, tmp_path):
    folder = shutil.copytree(saved / "ivf", tmp_path / "ivf")
    rng = np.random.default_rng(0)
    for name in ("rows_codes", "rows_values", "rows_scales", "rows_ranks", "rows_sums", "rows_starts", "places"):
        file = folder / f"{name}.npy"
        whole = file.read_bytes()
        for at in rng.integers(128, len(whole), 8):
            content = bytearray(whole)
            content[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(content)
            for call in ways(folder):
                with pytest.raises(FormatError, match=REMEDY):
                    call()
        file.write_bytes(whole)


@pytest.mark.parametrize("n_lost", [1, 4, 10_000])
def test_truncated(folder, n_lost):
    for file in sorted(folder.glob("*.npy")):
        whole = file.read_bytes()
        file.write_bytes(whole[:-n_lost])
        for call in ways(folder):
            with pytest.raises(
                FormatError, match=rf"{file.name}' has .* bytes, expected .* truncated .* [Bb]uild it again"
            ):
                call()
        file.write_bytes(whole)


def test_missing(folder):
    for file in sorted(folder.glob("*.npy")):
        file.rename(folder / "aside")
        for call in ways(folder):
            with pytest.raises(FormatError, match=f"{file.name}' is missing. Build it again with `scim.index.build`"):
                call()
        (folder / "aside").rename(file)


def test_files_of_another_index(folder, saved, kind):
    for file in sorted(folder.iterdir()):
        other = saved / f"other-{kind}" / file.name
        whole = file.read_bytes()
        if not other.exists() or other.read_bytes() == whole:
            continue
        file.write_bytes(other.read_bytes())
        for call in ways(folder):
            with pytest.raises(FormatError, match=REMEDY):
                call()
        file.write_bytes(whole)


def test_garbage(folder):
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(b"x" * len(whole))
        for call in ways(folder):
            with pytest.raises(FormatError):
                call()
        file.write_bytes(whole)


def test_header_values(folder):
    header = json.loads((folder / "index.json").read_text())

    def paths(node, at=()):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield (*at, key)
            if isinstance(value, dict | list):
                yield from paths(value, (*at, key))

    for path in paths(header):
        changed = json.loads(json.dumps(header))
        node = changed
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        (folder / "index.json").write_text(json.dumps(changed))
        with pytest.raises(FormatError):
            scim.index.open(folder)


def test_residence(saved, kind):
    results, frame = use(scim.index.open(saved / kind))
    for resident in ("codes", "all"):
        index = scim.index.open(saved / kind, resident=resident)
        others, other_frame = use(index)
        for one, two in zip(results, others, strict=True):
            np.testing.assert_array_equal(one, two)
        assert frame.equals(other_frame)
    fresh, _ = use(make(kind))
    for one, two in zip(results, fresh, strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="resident.*'none', 'codes', 'all'.*'most'"):
        scim.index.open(saved / kind, resident="most")


def test_bytes_held_in_memory(saved, caplog):
    caplog.set_level("INFO", logger="scim")
    held = {}
    for resident in ("none", "codes", "all"):
        caplog.clear()
        engine = scim.index.open(saved / "ivf", resident=resident)._segments[0].engine
        held[resident] = {
            name for name, array in engine.arrays().items() if array.size and not isinstance(array.base, np.memmap)
        }
        assert ("MB in memory, the rest mapped" in caplog.text) == (resident != "none")
    assert {"rows_codes", "rows_scales", "rows_ranks"} <= held["codes"] < held["all"]
    assert not held["none"] & {"rows_codes", "rows_values", "rows_ranks"}
    assert "rows_values" in held["all"] - held["codes"]


def test_nothing_is_written_by_reading(folder):
    files = {file: file.read_bytes() for file in folder.iterdir()}
    open_and_use(folder)
    assert files == {file: file.read_bytes() for file in folder.iterdir()}


def test_only_what_is_used_is_read(saved, tmp_path):
    # Other columns can be used beside a damaged one, which raises when it is used.
    folder = shutil.copytree(saved / "exact", tmp_path / "exact")
    file = next(iter(sorted(folder.glob("column0_*.npy"))))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    index = scim.index.open(folder)
    expected = scim.index.open(saved / "exact")
    assert_equal(index.query(clusters(3), 4, where="share < 300"), expected.query(clusters(3), 4, where="share < 300"))
    for _ in range(2):
        with pytest.raises(FormatError, match=f"{file.name}' has changed"):
            index.query(clusters(3), 4, where="tissue == 'lung'")
