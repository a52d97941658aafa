"""Several folders opened as one index equal one index of all their rows."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import oracles
from scim._core import FilterError, FormatError
from scim.index import _grow
from scim.index._files import header_digest

from .conftest import EVERYWHERE, assert_equal, assert_near, clusters, look_everywhere
from .test_grow import IDS, OBS, ROWS, append, check, some_of

PARTS = (range(250), range(250, 400), range(400, 440), range(440, 490), range(490, 500))
IN_ORDER = np.arange(500)


def written(path, kind, other, ids=IDS):
    """Folders of the rows, the first of one kind, the second of another, small exact ones behind."""
    for number, (rows, of) in enumerate(zip(PARTS, (kind, other, "exact", "exact", "exact"), strict=True)):
        numbers = list(rows)
        scim.index.build(
            ROWS[numbers], ids[numbers], obs=some_of(OBS, numbers), kind=of, rng=0, path=path / str(number)
        )
    return [path / str(number) for number in range(len(PARTS))]


def opened(folders, **options):
    return look_everywhere(scim.index.open(folders, **options))


def of_all(ids, obs=OBS, kind="exact"):
    return look_everywhere(scim.index.build(ROWS, ids, obs=obs, kind=kind, rng=0))


@pytest.fixture(params=["exact", "ivf", "graph"])
def other(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of small exact indexes."""
    return written(tmp_path_factory.mktemp("folders"), "exact", "exact")


def test_hits_are_those_of_one_index(kind, other, queries, tmp_path):
    index = opened(written(tmp_path, kind, other))
    check(index, np.arange(500), queries)
    assert (index.kind, index.n_appended, index.dim) == (kind, 250, 16)
    whole = of_all(IDS)
    assert index.columns == whole.columns
    pd.testing.assert_frame_equal(index.obs(IDS), whole.obs(IDS))
    pd.testing.assert_frame_equal(index.obs(IDS[[499, 3, 499]], ["age"]), whole.obs(IDS[[499, 3, 499]], ["age"]))
    found, expected = index.query_radius(queries[:5], 0.4), whole.query_radius(queries[:5], 0.4)
    np.testing.assert_allclose(found.distances, expected.distances, atol=4e-5)
    np.testing.assert_array_equal(found.starts, expected.starts)
    assert set(index.nbytes) >= {"columns", "ids"}


def test_duplicates_in_different_folders(kind, other, tmp_path):
    for number, of in enumerate((kind, other, "exact")):
        rows = np.concatenate([ROWS[:100], clusters(60, seed=number + 5)])  # the first 100 are in each
        scim.index.build(rows, np.arange(160) * 3 + number, kind=of, rng=0, path=tmp_path / str(number))
    index = opened([tmp_path / str(number) for number in range(3)])
    found = index.query(ROWS[:20], 8, distinct=True)
    np.testing.assert_array_equal(found.ids[:, 0] // 3, np.arange(20))
    near = index.vectors(found.ids.ravel()).reshape(20, 8, 16)
    assert all(len(np.unique(rows.round(3), axis=0)) == 8 for rows in near)


@pytest.mark.parametrize("ids", [IDS, IN_ORDER])
def test_saved_appended_deleted_and_compacted(kind, other, ids, queries, tmp_path):
    index = opened(written(tmp_path, kind, other, ids))
    for name, resident in (("saved", "none"), ("again", "all")):
        index.save(tmp_path / name)
        scim.index.verify(tmp_path / name)
        one = opened(tmp_path / name, resident=resident)
        assert repr(one) == repr(index)
        for parameters in ({}, {"where": "ok == True"}, {"allowed": ids[::3]}, {"distinct": True}):
            assert_equal(one.query(queries, 9, **parameters), index.query(queries, 9, **parameters))
        pd.testing.assert_frame_equal(one.obs(ids), index.obs(ids))
    index.delete(ids[[3, 300, 410, 495]])
    index.append(ROWS[[3, 410]], ids[[3, 410]], obs=some_of(OBS, [3, 410]))
    index.append(ROWS[:2], [2_000, 2_001])
    rows = np.setdiff1d(np.arange(500), [300, 495])
    np.testing.assert_array_equal(index.ids, [*np.sort(ids[rows]), 2_000, 2_001])
    index.delete([2_000, 2_001])
    assert_near(index.query(queries, 600), oracles.neighbors(queries, ROWS[rows], 600, ids=ids[rows]), atol=4e-5)
    index.compact(rng=0)
    look_everywhere(index)
    assert (index.kind, index.n_appended, len(index._segments)) == (kind, 0, 1)
    assert_near(index.query(queries, 600), oracles.neighbors(queries, ROWS[rows], 600, ids=ids[rows]), atol=4e-5)
    expected = scim.index.build(ROWS[rows], ids[rows], obs=some_of(OBS, rows), kind="exact")
    pd.testing.assert_frame_equal(index.obs(ids[rows]), expected.obs(ids[rows]))


@pytest.mark.parametrize("resident", ["none", "codes", "all"])
def test_without(kind, other, resident, queries, tmp_path):
    folders = written(tmp_path, kind, other)
    gone = np.array([3, 200, 260, 410, 441, 442, *range(490, 500)])
    unknown = [-1, 5_000]
    index = opened(folders, resident=resident, without=np.concatenate([IDS[gone][::-1], unknown, IDS[:0]]))
    rows = np.setdiff1d(np.arange(500), gone)
    check(index, rows, queries)
    with pytest.raises(KeyError, match="not in the index"):
        index.vectors(IDS[[3]])
    append(index, gone)  # the ids are free
    check(index, np.arange(500), queries)
    assert opened(folders, without=[]).n_rows == opened(folders, without=unknown).n_rows == 500
    nothing = opened(folders, without=IDS)
    assert nothing.n_rows == 0
    assert (nothing.query(queries, 3).ids == -1).all()
    one = opened(folders[1], without=IDS[gone])
    assert one.n_rows == 149
    with pytest.raises(TypeError, match="`without` must be a one-dimensional array of integers"):
        scim.index.open(folders, without=["a"])


def test_small_exact_parts_are_one(folders, tmp_path, monkeypatch):
    assert [part.engine.n_rows for part in scim.index.open(folders)._segments] == [250, 250]
    monkeypatch.setattr(_grow, "_MERGED_ROWS", 99)
    index = scim.index.open(folders)
    assert [part.engine.n_rows for part in index._segments] == [250, 150, 90, 10]
    append(index, [])
    index.append(ROWS[:5], np.arange(2_000, 2_005))
    assert [part.engine.n_rows for part in index._segments] == [250, 150, 90, 15]
    index.append(ROWS[:90], np.arange(3_000, 3_090))
    assert [part.engine.n_rows for part in index._segments] == [250, 150, 90, 15, 90]
    assert index.n_appended == 345
    index = opened(written(tmp_path, "exact", "ivf")[:2])
    index.append(ROWS[:5], np.arange(2_000, 2_005))
    assert [part.engine.kind for part in index._segments] == ["exact", "ivf", "exact"]


def test_one_folder_in_a_list(folders, queries):
    one, same = scim.index.open(folders[0]), scim.index.open([str(folders[0])])
    assert_equal(one.query(queries, 5), same.query(queries, 5))
    with pytest.raises(ValueError, match="Expected the folder of an index, or several, got none"):
        scim.index.open([])


def test_parts_that_do_not_belong_together(folders, tmp_path):
    other = tmp_path / "other"
    scim.index.build(ROWS[:30], np.sort(IDS[[0, 5, *range(400, 428)]]), kind="exact", path=other)
    for some in ([folders[0], other], [other, *folders], [folders[2], folders[1], other]):
        with pytest.raises(FormatError, match=r"(?s)'.*' and '.*' have \d+ ids in common, the first is \d+"):
            scim.index.open(some)
    with pytest.raises(FormatError, match="have 250 ids in common"):
        scim.index.open([folders[0], folders[0]])
    scim.index.build(ROWS[:30, :8], np.arange(2_000, 2_030), kind="exact", path=tmp_path / "narrow")
    with pytest.raises(FormatError, match=r"'.*0' has 16 columns, '.*narrow' 8; open indexes of one embedding"):
        scim.index.open([*folders, tmp_path / "narrow"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        scim.index.open([*folders, tmp_path / "nowhere"])


def test_the_id_of_a_deleted_row_is_reused(folders, queries, tmp_path):
    base = scim.index.open(folders[0])
    base.delete(IDS[:1])
    base.save(tmp_path / "base")
    scim.index.build(ROWS[:1], IDS[:1], kind="exact", path=tmp_path / "again")
    index = scim.index.open([tmp_path / "base", tmp_path / "again"])
    assert_equal(index.query(queries, 9), scim.index.open(folders[0]).query(queries, 9))


def test_damage_is_found_when_it_is_used(folders, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    file = copies[3] / "column0_codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    index = scim.index.open(copies)
    np.testing.assert_array_equal(index.select("share < 300"), scim.index.open(folders).select("share < 300"))
    for _ in range(2):
        with pytest.raises(FormatError, match="column0_codes.npy' has changed"):
            index.select("tissue == 'lung'")
        with pytest.raises(FormatError, match="column0_codes.npy' has changed"):
            index.obs(IDS[:1])


COLUMNS = {
    "text": [["b", "a", None], ["c", "a || b"], ["a", "a", None, "0"]],
    "text_after": [["b", "b", "b"], ["b", "b"], ["c", "c", "c", "d"]],
    "text_of_one": [None, ["c", None], None],
    "whole": [[3, 1, 1], [2, 9], [1, 1, 0, -5]],
    "whole_missing": [[3, None, 1], [2, 9], [1, 1, 0, -5]],
    "whole_of_one": [None, None, [4, 4, 5, 6]],
    "mixed": [[3, 1, 1], [0.5, 2.0], [1, 1, 0, -5]],
    "share": [[0.5, np.nan, np.inf], [0.25, -1.5], [np.nan] * 4],
    "flag": [[True, False, True], [False, False], [True] * 4],
    "flag_missing": [[True, None, True], [False, False], [True] * 4],
    "flag_of_one": [[True, False, True], None, None],
    "none": [[None] * 3, [None] * 2, [None] * 4],
    "none_here": [[None] * 3, [None] * 2, [1, 2, 3, 4]],
}


def of_columns(path, kind):
    """The index of three folders, and one of all rows."""
    sizes = [3, 2, 4]
    starts = np.cumsum([0, *sizes])
    for number in range(3):
        obs = {name: parts[number] for name, parts in COLUMNS.items() if parts[number] is not None}
        rows = slice(starts[number], starts[number + 1])
        scim.index.build(ROWS[rows], np.arange(9)[rows], obs=obs, kind=kind, rng=0, path=path / str(number))
    every = {
        name: [value for part, n in zip(parts, sizes, strict=True) for value in part or [None] * n]
        for name, parts in COLUMNS.items()
    }
    index = scim.index.open([path / str(number) for number in range(3)])
    return index, scim.index.build(ROWS[:9], obs=every, kind="exact"), every


def test_columns_are_those_of_one(kind, tmp_path):
    index, whole, _ = of_columns(tmp_path, kind)
    for ids in ([*range(9)], [8, 0, 3, 3], [0, 1], [7]):
        one = whole.obs(ids)
        pd.testing.assert_frame_equal(index.obs(ids, list(one)), one)


@pytest.mark.parametrize("name", COLUMNS)
def test_filters_by_columns_that_some_folders_lack(kind, name, tmp_path):
    index, _, every = of_columns(tmp_path, kind)
    values = [None if pd.isna(value) else value for value in every[name]]
    cases = {f"{name} == None": ("==", name, None), f"{name} != None": ("!=", name, None)}
    if name != "none":
        some = next(value for value in values if value is not None and not (isinstance(value, float) and value > 9))
        cases |= {f"{name} == {some!r}": ("==", name, some), f"{name} != {some!r}": ("!=", name, some)}
        cases[f"not {name} == {some!r}"] = ("not", ("==", name, some))
        cases[f"{name} in [{some!r}]"] = ("==", name, some)
        cases[f"{name} not in [{some!r}]"] = ("not", ("==", name, some))
    for where, tree in cases.items():
        passing = np.flatnonzero(oracles.rows_that_pass(tree, {name: values}))
        np.testing.assert_array_equal(index.select(where), passing, err_msg=where)
        parameters = EVERYWHERE if kind == "ivf" else {}
        found = index.query(ROWS[:2], 9, where=where, **parameters).ids
        assert all(set(row[row >= 0]) == set(passing) for row in found), where


def test_columns_of_different_kinds(tmp_path):
    for number, values in enumerate(([1, 2], ["a", "b"], ["c", "d"])):
        obs = {"a": values, "b": [number] * 2}
        scim.index.build(ROWS[:2], [2 * number, 2 * number + 1], obs=obs, kind="exact", path=tmp_path / str(number))
    index = scim.index.open([tmp_path / str(number) for number in range(3)])
    with pytest.raises(TypeError, match="Column 'a' is of kind number and text in different parts of the index"):
        index.obs([1, 2])
    with pytest.raises(FilterError, match="column 'a' holds numbers and text in different parts"):
        index.select("a == 1")
    assert index.obs([1, 2], ["b"])["b"].tolist() == [0, 1]


def test_header_digest(folders, tmp_path):
    digest = header_digest(folders[0])
    assert len(digest) == 64
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    assert header_digest(str(copy)) == digest
    assert len({header_digest(folder) for folder in folders}) == len(folders)
    header = (copy / "index.json").read_text()
    (copy / "index.json").write_text(header.replace("exact", "graph"))
    with pytest.raises(FormatError, match=r"index.json' has changed since it was written"):
        header_digest(copy)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        header_digest(tmp_path / "nowhere")
