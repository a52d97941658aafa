"""Test the types of atlas columns: open until a value comes, then the values, or an error before anything is written."""

from __future__ import annotations

import shutil

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import scim
from helpers import fakes
from scim._core import FilterError, ScimWarning
from scim._core.booleans import read_booleans
from scim.atlas import _append, _source
from scim.atlas._columns import OPEN, TEXT
from scim.atlas.soma import Writer
from scim.index.filter import Column, Filter

INT, FLOAT, BOOL = pa.int64(), pa.float64(), pa.bool_()
N = 4
COLUMNS = [
    # the report, the column in the first append, in the second, the type, the values of the second
    ("single-cell-data/TileDB-SOMA#2696", [np.nan] * N, ["a", "b", None, "a"], TEXT, ["a", "b", None, "a"]),
    ("single-cell-data/TileDB-SOMA#2364", [None] * N, [1, 2, 3, 4], INT, [1, 2, 3, 4]),
    ("TileDB-Inc/TileDB-Py#1848", pd.array([pd.NA] * N, dtype="string"), [True, False] * 2, BOOL, [True, False] * 2),
    ("", pd.Categorical([None] * N, categories=["a"]), [0.5, np.nan, 1, 2], FLOAT, [0.5, None, 1.0, 2.0]),
    ("", pd.Categorical([None] * N), pd.Categorical(["x", None, "y", "x"]), TEXT, ["x", None, "y", "x"]),
    ("", pd.array([None] * N, dtype="Int64"), ["x"] * N, TEXT, ["x"] * N),
    ("", pd.array([None] * N, dtype="boolean"), pd.array([3, None, 1, 2], dtype="Int64"), INT, [3, None, 1, 2]),
    ("", [np.nan] * N, [np.nan] * N, OPEN, [None] * N),
    ("", [pd.NaT] * N, ["x"] * N, TEXT, ["x"] * N),
    ("", ["a"] * N, [np.nan] * N, TEXT, [None] * N),
    ("", [1, 2, 3, 4], [np.nan] * N, INT, [None] * N),
    ("", [1.5, 2, 3, 4], [1, 2, 3, 4], FLOAT, [1.0, 2.0, 3.0, 4.0]),
    ("", [1, 2, 3, 4], [1.0, np.nan, 3.0, 4.0], INT, [1, None, 3, 4]),
    ("", pd.Categorical([2, 1, 2, 1]), [5, 6, 7, 8], INT, [5, 6, 7, 8]),
    ("ebi-gene-expression-group/scanpy-scripts#109", [True, False] * 2, ["True", "False", "nan", ""], BOOL, [True, False, None, None]),
    ("chanzuckerberg/cellxgene#2333", [True, False] * 2, [1, 0, 1, 0], BOOL, [True, False] * 2),
    ("", [True, False] * 2, [1.0, np.nan, 0.0, 1.0], BOOL, [True, None, False, True]),
    ("", [True, False] * 2, ["TRUE", "yes", "no", "f"], BOOL, [True, True, False, False]),
    ("scverse/anndata#724", pd.Categorical([True, False] * 2), pd.Categorical(["true", None] * 2), BOOL, [True, None] * 2),
    ("", np.array([True, False] * 2), pd.array([True, None] * 2, dtype="boolean"), BOOL, [True, None] * 2),
]  # fmt: skip
REFUSED = [
    # the report, the column that the atlas has, the one that is appended, the error
    ("", [1, 2, 3, 4], [1.5, 2, 3, 4], r"is double and has values that are not whole, as \[1.5\], but .* int64; conv"),
    ("", ["a"] * N, [1, 2, 3, 4], "is int64, but the atlas keeps this column as large_string; convert it, or append it"),
    ("", [True] * N, [1, 2, 0, 1], "is int64, but the atlas keeps this column as bool; convert it"),
    ("", [True] * N, ["maybe"] * N, "is large_string, but the atlas keeps this column as bool; convert it"),
    ("", ["a"] * N, [True] * N, "is bool, but the atlas keeps this column as large_string; convert it"),
    ("scverse/anndata#726", ["a"] * N, ["1", 2, 3, "x"], "has dtype object and holds more than text \\(mixed-integer\\); expected text, a"),
    ("", [np.nan] * N, ["1", 2.5, 3, "x"], "has dtype object and holds more than text \\(mixed.*\\); expected text, a categorical"),
    ("", [np.nan] * N, pd.to_datetime(["2024-01-01"] * N), "holds more than text \\(datetime64\\); expected .* with .astype\\(str\\)"),
    ("", [np.nan] * N, [["a"]] * N, "has dtype object and holds more than text \\(mixed\\); expected text"),
]  # fmt: skip


def cells(seed=0, n=N, **columns):
    """Return cells with an embedding and these columns."""
    X = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    obs = pd.DataFrame(columns, index=[f"cell{i}" for i in range(n)])
    return anndata.AnnData(obs=obs.assign(label=["T cell", "B cell"] * (n // 2)), obsm={"E": X})


def append(atlas, adata, study, columns):
    atlas.append(adata, study=study, label_key="label", obsm="E", obs_columns=columns)


def made(path, columns):
    return scim.atlas.from_embedding(
        cells(**columns), path, obsm="E", study="one", label_key="label", columns=[*columns]
    )


def values(atlas, name, study):
    column = atlas.obs(where=f"study == '{study}'", columns=[name])[name].astype(object)
    return column.where(column.notna(), None).tolist()


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """An atlas of two appends, with all columns."""
    path = tmp_path_factory.mktemp("columns") / "grown.scim"
    first, second = ({f"c{i}": row[at] for i, row in enumerate(COLUMNS)} for at in (1, 2))
    with made(path, first) as atlas:
        append(atlas, cells(1, **second), "two", [*second])
    return path


@pytest.mark.parametrize("number", range(len(COLUMNS)))
def test_values_come_back(grown, number):
    name, (_, first, _, kind, expected) = f"c{number}", COLUMNS[number]
    with scim.atlas.open(grown) as atlas:
        assert atlas.snapshot.types[name] == kind
        assert values(atlas, name, "two") == expected
        before = pd.Series(first, dtype=object)
        assert values(atlas, name, "one") == before.where(before.notna(), None).tolist()
        missing = [value is None for value in expected]
        assert atlas.select(f"study == 'two' and {name} == None").tolist() == (N + np.flatnonzero(missing)).tolist()


def test_a_column_without_values_is_one_all_the_same(grown):
    with scim.atlas.open(grown) as atlas:
        assert atlas.columns[4:] == sorted(f"c{i}" for i in range(len(COLUMNS)))
        assert atlas.obs([6, 1], columns=["c7", "study"]).astype(object).values.tolist() == [
            [None, "two"],
            [None, "one"],
        ]
        assert atlas.obs(where="c7 == None").shape[0] == 2 * N
        with pytest.raises(FilterError, match="no cell has c7 == 'a'; it has"):
            atlas.select("c7 == 'a'")
        with pytest.raises(ValueError, match="no cell has a value of 'c7'"):
            atlas.label_transfer("c7")


def test_what_the_atlas_becomes(grown, tmp_path):
    """A column stays open over the changes of an atlas, and gets its type afterwards."""
    path = shutil.copytree(grown, tmp_path / "copy.scim")
    with scim.atlas.open(path, mode="w") as atlas:
        before = atlas.obs()
        atlas.compact()
        atlas.vacuum()
        atlas.build_index()
        pd.testing.assert_frame_equal(atlas.obs(), before)
        atlas.remove("study == 'one'")
        assert atlas.snapshot.types["c7"] == OPEN
        append(atlas, cells(2, c7=["late", None, "late", "x"]), "three", ["c7"])
        assert atlas.snapshot.types["c7"] == TEXT
        assert atlas.select("c7 == 'late'").tolist() == [8, 10]
        assert values(atlas, "c7", "two") == [None] * N
    with scim.atlas.open(path) as atlas:
        assert atlas.snapshot.manifest.empty_columns == ()
    assert scim.atlas.verify(path) == []


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An atlas with the columns that others do not fit into."""
    with made(
        tmp_path_factory.mktemp("stored") / "a.scim", {f"c{i}": row[1] for i, row in enumerate(REFUSED)}
    ) as atlas:
        yield atlas


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_does_not_fit_is_refused_before_anything_is_written(stored, number):
    name, (_, _, given, message) = f"c{number}", REFUSED[number]
    state, columns = stored.snapshot.manifest, stored.columns
    adata = cells(1, d=[1] * N)
    adata.obs[name] = pd.Series(given, index=adata.obs_names)
    with pytest.raises(TypeError, match=rf"obs\['{name}'\] .*" + message):
        append(stored, adata, "two", ["d", name])
    assert stored.snapshot.manifest == state
    assert not stored.refresh()
    assert stored.columns == columns


def test_inputs_of_one_append_have_a_common_type(tmp_path):
    parts = [
        # the column in the first input, in the second, its type, all values
        ([1, 2, 3, 4], [0.5, 1, 2, 3], FLOAT, [1.0, 2.0, 3.0, 4.0, 0.5, 1.0, 2.0, 3.0]),
        ([np.nan] * N, ["a"] * N, TEXT, [None] * N + ["a"] * N),
        (["a"] * N, [np.nan] * N, TEXT, ["a"] * N + [None] * N),
        (["True", "False"] * 2, [True, False] * 2, BOOL, [True, False] * 4),
        ([1, 0] * 2, [True, None] * 2, BOOL, [True, False] * 2 + [True, None] * 2),
    ]
    names = [f"c{i}" for i in range(len(parts))]
    inputs = [cells(at, **{name: row[at] for name, row in zip(names, parts, strict=True)}) for at in (0, 1)]
    with made(tmp_path / "a.scim", {"d": ["x"] * N}) as atlas:
        atlas.append(inputs, study=["two", "three"], label_key="label", obsm="E", obs_columns=names)
        for name, (_, _, kind, expected) in zip(names, parts, strict=True):
            assert atlas.snapshot.types[name] == kind
            assert values(atlas, name, "two") + values(atlas, name, "three") == expected


def test_an_append_that_dies_binds_no_type(tmp_path, monkeypatch):
    with made(tmp_path / "a.scim", {"c": [np.nan] * N}) as atlas:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "block", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                append(atlas, cells(1, c=[1.5] * N), "two", ["c"])
        assert atlas.snapshot.types["c"] == OPEN
        append(atlas, cells(1, c=["text"] * N), "two", ["c"])
        assert (atlas.snapshot.types["c"], values(atlas, "c", "two")) == (TEXT, ["text"] * N)


def test_an_atlas_of_an_earlier_version_with_a_type_but_no_value(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_append, "common_type", lambda _: FLOAT)
        atlas = made(tmp_path / "a.scim", {"c": [np.nan] * N})
    with atlas:
        assert atlas.snapshot.types["c"] == FLOAT
        with pytest.raises(
            TypeError, match=r"obs\['c'\] is large_string, .* as double; convert it, or append it under an"
        ):
            append(atlas, cells(1, c=["text"] * N), "two", ["c"])
        append(atlas, cells(1, c=[1, 2, 3, 4]), "two", ["c"])
        assert values(atlas, "c", "two") == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([True, False, None], [True, False, None]),
        ([np.True_, np.False_, np.nan], [True, False, None]),
        (pd.array([True, False, None], dtype="boolean"), [True, False, None]),
        (["True", "false", "NA"], [True, False, None]),
        (["TRUE", "FALSE", "<NA>"], [True, False, None]),
        (["T", "F", ""], [True, False, None]),
        (["yes", " no ", "None"], [True, False, None]),
        (["1", "0", "nan"], [True, False, None]),
        (["1.0", "0.0", None], [True, False, None]),
        ([1, 0, None], [True, False, None]),
        ([1.0, 0.0, np.nan], [True, False, None]),
        ([b"True", b"False", b""], [True, False, None]),
        (["'True'", True, 0], [True, True, False]),
        (pd.Categorical(["True", "False", None]), [True, False, None]),
        (pd.Categorical([1, 0, None]), [True, False, None]),
        (["True", "maybe", None], None),
        ([2, 1, 0], None),
        ([0.5, 1, 0], None),
        ([None, None, None], [None, None, None]),
    ],
)
def test_true_and_false_in_any_form(given, expected):
    found = read_booleans(given)
    assert (None if found is None else found.to_numpy(dtype=object, na_value=None).tolist()) == expected


@pytest.mark.parametrize(
    ("given", "condition", "expected"),
    [
        (["True", "false", None, "TRUE"], "p == True", [0, 3]),
        (["True", "false", None, "TRUE"], "p != False", [0, 2, 3]),
        (["True", "false", None, "TRUE"], "not p", [1, 2]),
        (["yes", "no", None, "yes"], "p", [0, 3]),
        (["yes", "no", "NA", "yes"], "p in [False]", [1]),
        (["yes", "no", "NA", "yes"], "p == 'NA'", [2]),
        ([1, 0, None, 1], "p", [0, 3]),
        ([1, 0, None, 1], "p != False", [0, 2, 3]),
        ([1, 0, 5, 1], "p == True", [0, 3]),
        ([True, False, None, True], "p == 'TRUE'", [0, 3]),
        ([True, False, None, True], "p in ['no', True]", [0, 1, 3]),
    ],
)
def test_filters_of_true_and_false(given, condition, expected):
    columns, parsed = {"p": Column.of("p", pd.Series(given, dtype=object))}, Filter(condition)
    parsed.check(columns)
    assert np.flatnonzero(parsed.mask(columns, 4)).tolist() == expected


@pytest.mark.parametrize(
    ("given", "condition", "message"),
    [
        (["a", "b"], "p", "'p' is neither a comparison nor a column of true and false"),
        (["a", "True"], "p == True", "column 'p' holds text, got True"),
        (["True", "False"], "p < True", "column 'p' holds text, got True"),
        ([1, 2], "p", "'p' is neither a comparison nor a column of true and false"),
        ([True, False], "p == 'maybe'", "column 'p' holds true and false, got 'maybe'"),
    ],
)
def test_filters_of_something_else(given, condition, message):
    with pytest.raises(FilterError, match=message):
        Filter(condition).check({"p": Column.of("p", given)})


@pytest.mark.parametrize(
    ("given", "old"),
    [(["TRUE", "FALSE"], False), ([1.0, 0.0], False), (["True", "False"], True), ([1, 0], True)],
)
def test_copies_are_marked_in_any_form(tmp_path, monkeypatch, given, old):
    """`is_primary_data` is stored as true and false; earlier versions of scim stored what was given."""
    adata = cells(n=8, is_primary_data=np.tile(given, 4))
    if old:
        monkeypatch.setattr(_source, "with_booleans", lambda column: column)
    with scim.atlas.from_embedding(
        adata, tmp_path / "a.scim", obsm="E", study="one", label_key="label", columns=["is_primary_data"]
    ) as atlas:
        assert old or atlas.snapshot.types["is_primary_data"] == BOOL
        assert atlas.marks_primary
        assert atlas.select("is_primary_data == True").tolist() == [0, 2, 4, 6]
        assert atlas.label_transfer().reference.eligible().tolist() == [True, False] * 4
        query = cells(3, n=2)
        scim.tl.search(query, atlas, use_rep="E", k=8)
        assert set(query.obsm["scim_search_ids"][query.obsm["scim_search_ids"] >= 0]) == {0, 2, 4, 6}


def test_copies_that_are_not_marked(tmp_path):
    adata = cells(is_primary_data=["first", "second"] * 2)
    with pytest.warns(
        ScimWarning, match=r"obs\['is_primary_data'\] holds \['first', 'second'\], expected true and false"
    ):
        atlas = made(tmp_path / "a.scim", {"is_primary_data": adata.obs["is_primary_data"].array})
    with atlas:
        assert not atlas.marks_primary
        assert values(atlas, "is_primary_data", "one") == ["first", "second"] * 2


def test_an_atlas_that_is_embedded_again(tmp_path):
    """A column that is open in the first part of an atlas with counts."""
    with scim.atlas.create(tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        for seed, column in enumerate([[np.nan] * 6, ["a", None] * 3]):
            adata = fakes.cells(6, seed=seed)
            adata.obs["c"] = column
            atlas.append(adata, study=f"s{seed}", label_key="cell_type", obs_columns=["c"], counts=True)
        atlas.reembed(fakes.tiny_model(1))
        assert atlas.select("c == 'a'").tolist() == [6, 8, 10]
        assert atlas.select("c != 'a' and study == 's1'").tolist() == [7, 9, 11]
        assert [cells.obs["c"].notna().sum() for cells in atlas.cells(["c"])] == [3]
