"""Folders whose checksums are right and whose values are not: positions beyond arrays, lengths and parameters of none."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

import scim
from scim._core import FormatError
from scim.io import describe_file, sealed

from .conftest import clusters

QUERIES = clusters(3, seed=9)


@pytest.fixture
def forge(saved, tmp_path):
    def made(kind, arrays=None, header=None):
        """Copy an index, apply functions to its arrays and its header, and seal it again."""
        folder = shutil.copytree(saved / kind, tmp_path / kind)
        content = json.loads((folder / "index.json").read_text())
        content.pop("sha256")
        for name, change in (arrays or {}).items():
            file = folder / f"{name}.npy"
            changed = np.load(file)
            other = change(changed)
            changed = changed if other is None else other
            np.save(file, changed)
            facts = {"shape": list(changed.shape), "dtype": changed.dtype.str}
            content["files"][file.name] = {**facts, **describe_file(file)}
        if header is not None:
            header(content)
        (folder / "index.json").write_text(json.dumps(sealed(content)))
        return folder

    return made


def use(folder):
    index = scim.index.open(folder)
    index.query(QUERIES, 90)
    index.query(QUERIES, 5, where="tissue == 'lung' and share > 3")
    index.select("age > 20")
    index.vectors(index.ids)
    index.obs(index.ids)


def setting(at, value):
    def change(array):
        array[at] = value

    return change


@pytest.mark.parametrize(
    ("kind", "name", "change", "match"),
    [
        ("exact", "rows", setting((3, 0), np.nan), "not of unit length"),
        ("exact", "rows", setting(3, 9.0), "not of unit length"),
        ("exact", "rows", np.asfortranarray, "holds <f4"),
        ("exact", "rows.1", lambda rows: rows[:-1], "has 20 x 16 rows, the files 19 x 16"),
        ("exact", "ids", setting(0, -1), "negative or not in ascending"),
        ("exact", "ids", setting(7, 2**62), "negative or not in ascending"),
        ("exact", "ids", lambda ids: ids[:-1], "shape .89,., expected .90,"),
        ("exact", "ids", lambda ids: ids.astype(np.float64), "holds <f8"),
        ("exact", "gone", lambda gone: gone.astype(np.int8), "holds [|]i1"),
        ("exact", "gone", lambda gone: (gone.view(np.uint8) * 255).view(np.bool_), "neither true nor false"),
        ("graph", "targets", setting(5, 90), "links to rows that do not exist"),
        ("graph", "targets", setting(5, -1), "links to rows that do not exist"),
        ("graph", "starts", setting(4, 2**62), "links that do not follow"),
        ("graph", "starts", setting(1, -(2**63)), "links that do not follow"),
        ("graph", "landmarks", setting(-1, 90), "landmarks that do not exist"),
        ("ivf", "coarse_groups", setting(0, 1), "groups that do not follow"),
        ("ivf", "rows_starts", setting(1, 91), "lists that do not follow"),
        ("ivf", "rows_starts", setting(1, -(2**63)), "lists that do not follow"),
        ("ivf", "coarse_centroids", setting((0, 0), np.inf), "not of unit length"),
        ("ivf", "coarse_parents", setting(0, 1e30), "not of unit length"),
        ("ivf", "coarse_scales", setting(0, np.nan), "steps of no unit rows"),
        ("ivf", "coarse_radii", setting(0, -1.0), "no angles"),
        ("ivf", "coarse_codes", lambda codes: codes[:, :16].copy(), "shape"),
        ("ivf", "rows_codes", lambda codes: codes[:-1], "shape"),
        ("ivf", "rows_values", lambda values: values.ravel(), "rows of shape"),
        ("ivf", "places", setting(3, 90), "positions of rows that do not exist"),
        ("ivf", "places", setting(3, -1), "positions of rows that do not exist"),
        ("ivf", "places", setting([0, 1], [1, 0]), "other positions than 'rows_ranks.npy'"),
        ("ivf", "column0_offsets", setting(1, 2**62), "text column is damaged"),
        ("ivf", "column0_codes", lambda codes: codes[:-1], "has 89 rows, expected 90"),
    ],
)
def test_arrays(forge, kind, name, change, match):
    folder = forge(kind, {name: change})
    with pytest.raises(FormatError, match=rf"{kind}.*{match}.*Build it again"):
        use(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rows_ranks", -5), ("rows_ranks", 90), ("rows_ranks", 2**31 - 1), ("rows_scales", np.nan), ("rows_scales", 1.0)],
)
def test_rows_of_a_list(forge, monkeypatch, name, value):
    """With the checksum of its list, which a forger computes too, a row is refused by its values."""
    folder = forge("ivf", {name: setting(slice(None), value)})
    rows = scim.index.open(folder)._segments[0].engine
    sums = scim.index.ivf._codes.sums_of(np.arange(rows.n_lists), rows._rows, rows._checks)
    shutil.rmtree(folder)
    folder = forge("ivf", {name: setting(slice(None), value), "rows_sums": setting(slice(None), sums)})
    for call in (
        lambda index: index.query(QUERIES, 5),
        lambda index: index.vectors(index.ids),
        lambda index: index.select("age > 20"),
        lambda index: index.delete(index.ids[:3]),
        lambda index: index.compact(),
    ):
        with pytest.raises(FormatError, match="ivf.*(rows of list|places)"):
            call(scim.index.open(folder))


def change_header(*path, to):
    def change(content):
        node = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("segments", 0, "n_rows"), 2**40),
        (("segments", 0, "n_rows"), 10**30),
        (("segments", 0, "n_rows"), 0),
        (("segments", 0, "n_rows"), "90"),
        (("segments", 0, "dim"), 10**9),
        (("segments", 0, "dim"), -16),
        (("segments", 0, "kind"), ["ivf"]),
        (("segments", 0, "arrays", 0), "../../rows"),
        (("segments", 0, "arrays", 0), {}),
        (("segments", 0, "columns", 0, "kind"), "code"),
        (("segments", 0, "columns", 0, "name"), "share"),
        (("segments", 0, "params", "reach"), float("nan")),
        (("segments", 0, "params", "depth"), -1.0),
        (("segments", 0, "params", "depth"), 1e300),
        (("segments", 0, "params", "shrink"), float("inf")),
        (("segments", 0, "params", "curve"), []),
        (("segments", 0, "params", "curve", 0, "recall"), "high"),
        (("segments", 0, "params", "n_lists"), 2**40),
        (("segments",), []),
        (("segments",), {}),
        (("files", "../../.bashrc"), {"shape": [1], "dtype": "<f4", "bytes": 4, "sha256": "0" * 64}),
        (("files", "rows_codes.npy", "bytes"), None),
        (("files", "rows_codes.npy", "sha256"), "no"),
        (("other",), 1),
    ],
)
def test_headers(forge, path, to):
    folder = forge("ivf", header=change_header(*path, to=to))
    for call in (scim.index.open, scim.index.verify):
        if call is scim.index.verify and path[2:3] == ("params",):
            continue  # parameters are read with the arrays
        with pytest.raises(FormatError, match=r"index.json.*(Build it again|expected)"):
            call(folder)


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda file: file.symlink_to("/dev/zero")])
def test_what_is_no_file(saved, tmp_path, kind, put):
    folder = shutil.copytree(saved / kind, tmp_path / kind)
    for name in ("gone.npy", "index.json"):
        (folder / name).unlink()
        put(folder / name)
        with pytest.raises(FormatError, match=f"{name}' is a (pipe|folder|link)"):
            use(folder)


def test_a_graph_of_circles_ends(forge):
    def circles(targets):
        targets[:] = np.arange(len(targets)) % 2

    found = scim.index.open(forge("graph", {"targets": circles})).query(QUERIES, 5, ef_search=6)
    assert (found.ids >= 0).all()


def test_codes_of_no_unit_rows(forge):
    """Dots beyond 1 are no cosines: candidates are counted between -1.1 and 2.1, and must stay within their buffer."""
    folder = forge("ivf", {"rows_scales": setting(slice(None), 6e-5), "rows_codes": setting(slice(None), 255)})
    engine = scim.index.open(folder)._segments[0].engine
    engine._checks.done[:] = True
    for X in (QUERIES, -QUERIES):
        distances, ranks, _ = engine.search_candidates(X.astype(np.float32), 3, 4, scim.index.ivf._candidates.ALL, 1e6)
        assert ((ranks >= 0) & (ranks < 90)).all()
        assert ((distances >= 0) & (distances <= 2)).all()
