from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scim._core import FormatError
from scim.index.filter import Column, Filter

NAN = np.nan

KINDS = [
    # input, kind, values, codes
    (["b", "a", None, "b"], "text", ["a", "b"], [1, 0, 2, 1]),
    (pd.Series(["b", NAN, pd.NA, ""], dtype=object), "text", ["", "b"], [1, 2, 2, 0]),
    (pd.Series(["b", None, "a"], dtype="string"), "text", ["a", "b"], [1, 2, 0]),
    (pd.Series(["b", None, "a"], dtype="string[pyarrow]"), "text", ["a", "b"], [1, 2, 0]),
    (np.array(["b", "a", "b"]), "text", ["a", "b"], [1, 0, 1]),
    (pd.Categorical(["b", None, "a"], categories=["c", "b", "a"]), "text", ["a", "b"], [1, 2, 0]),
    (pd.Series(["x", "y"], dtype="category", index=[7, 3]), "text", ["x", "y"], [0, 1]),
    (pd.Categorical([], categories=[]), "text", [], []),
    (pd.Categorical([None, None], categories=["a"]), "text", [], [0, 0]),
    ([], "text", [], []),
    ([None, None], "text", [], [0, 0]),
    (["ä", "z", "Z", "\ud800", "😀"], "text", ["Z", "z", "ä", "\ud800", "😀"], [2, 1, 0, 3, 4]),
    ([5, -3, 5], "number", [-3, 5], [1, 0, 1]),
    ([5, None, 2**53 + 1], "number", [5, 2**53 + 1], [0, 2, 1]),
    (np.array([3, 1], dtype=np.uint8), "number", [1, 3], [1, 0]),
    (np.array([3, 1], dtype=np.uint64), "number", [1, 3], [1, 0]),
    (np.array([3, 1], dtype=">i4"), "number", [1, 3], [1, 0]),
    (pd.Series([3, None, 1], dtype="Int64"), "number", [1, 3], [1, 2, 0]),
    (pd.Series([3, None, 1], dtype="int64[pyarrow]"), "number", [1, 3], [1, 2, 0]),
    (pd.Categorical([3, None, 1]), "number", [1, 3], [1, 2, 0]),
    (np.array([0.1, NAN, -np.inf, 0.1]), "number", [-np.inf, 0.1], [1, 2, 0, 1]),
    (np.array([0.1, NAN], dtype=np.float32), "number", [float(np.float32(0.1))], [0, 1]),
    (np.array([0.5, 2], dtype=np.float16), "number", [0.5, 2.0], [0, 1]),
    (np.array([0.0, -0.0]), "number", [0.0], [0, 0]),
    (pd.Series([0.5, None, 1], dtype="Float64"), "number", [0.5, 1.0], [0, 2, 1]),
    (pd.Categorical([0.5, None, 2.0]), "number", [0.5, 2.0], [0, 2, 1]),
    ([1, 2.5, None], "number", [1.0, 2.5], [0, 1, 2]),
    (np.array([NAN, NAN]), "number", np.array([], float), [0, 0]),
    (np.array([True, False]), "bool", [False, True], [1, 0]),
    (np.array([True, True]), "bool", [True], [0, 0]),
    ([True, None], "bool", [True], [0, 1]),
    (pd.Series([True, None, False], dtype="boolean"), "bool", [False, True], [1, 2, 0]),
    (pd.Categorical([True, None, False]), "bool", [False, True], [1, 2, 0]),
]


@pytest.mark.parametrize(("came", "kind", "values", "codes"), KINDS)
def test_codes(came, kind, values, codes):
    column = Column.of("x", came)
    assert (column.name, column.kind, column.n_rows, column.n_values) == ("x", kind, len(codes), len(values))
    assert column.codes.dtype == np.uint8
    assert column.codes.tolist() == codes
    expected = np.array(values, dtype=object if kind == "text" else None)
    if kind == "number" and not expected.size:
        expected = expected.astype(column.values.dtype)
    assert column.values.dtype == expected.dtype
    assert column.values.tolist() == expected.tolist()


@pytest.mark.parametrize(("came", "kind", "values", "codes"), KINDS)
def test_decoded_values_are_the_input(came, kind, values, codes):
    found = Column.of("x", came).decode()
    assert found.name == "x"
    expected = [values[code] if code < len(values) else None for code in codes]
    assert [None if pd.isna(value) else value for value in found] == expected
    missing = len(values) in codes
    if kind == "text":
        assert list(found.cat.categories) == values
    elif kind == "bool":
        assert found.dtype == ("boolean" if missing else bool)
    elif Column.of("x", came).values.dtype == np.int64:
        assert found.dtype == ("Int64" if missing else np.int64)
    else:
        assert found.dtype == np.float64


@pytest.mark.parametrize(("came", "kind", "values", "codes"), KINDS)
def test_saved_and_restored(tmp_path, came, kind, values, codes):
    column = Column.of("x", came)
    arrays = {}
    for key, array in column.arrays().items():
        np.save(tmp_path / f"{key}.npy", array, allow_pickle=False)
        arrays[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r" if array.size else None)
    again = Column.restore(column.facts(), arrays)
    assert "values" not in again.__dict__  # nothing is decoded when opened
    assert again.codes.tolist() == codes
    pd.testing.assert_series_equal(again.decode(), column.decode())
    assert again.arrays().keys() == column.arrays().keys()
    mask = Filter("x == None").mask({"x": again}, again.n_rows)
    np.testing.assert_array_equal(mask, column.decode().isna())


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (["a", 1], "mixed"),
        ([1, True], "mixed"),
        ([True, "a"], "mixed"),
        ([["a"], ["b"]], r"shape \(2, 1\)|mixed"),
        ([{"a"}, {"b"}], "mixed"),
        (np.array([1 + 2j]), "complex"),
        (np.array([b"a"]), "bytes"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "datetime64"),
        (pd.Series(pd.to_timedelta(["1h"])), "timedelta"),
        (pd.Categorical(pd.to_datetime(["2020-01-01"])), "datetime64"),
        (pd.Categorical(["a", 1]), "mixed"),
        (pd.Series(pd.period_range("2020", periods=2)), "period"),
        (pd.cut([1, 2, 3], 2), "interval"),
        (np.zeros((2, 2)), r"an array of shape \(2, 2\)"),
        ([2**63], "beyond int64"),
        (np.array([2**63], dtype=np.uint64), "beyond int64"),
    ],
)
def test_other_types_are_refused(came, message):
    with pytest.raises(TypeError, match=f"Column 'when' holds .*({message}).*; expected text.*Convert it first"):
        Column.of("when", came)


@pytest.mark.parametrize(
    ("n_values", "dtype"), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_codes_have_the_smallest_dtype(n_values, dtype):
    came = np.random.default_rng(0).permutation(np.arange(n_values + 1.0))
    came[came == n_values] = np.nan
    column = Column.of("n", came)
    assert column.codes.dtype == dtype
    np.testing.assert_array_equal(column.decode(), came)
    found = Filter("n == None or n in [3, 5, 9, 254]").mask({"n": column}, n_values + 1)
    np.testing.assert_array_equal(found, np.isin(came, [3, 5, 9, 254]) | np.isnan(came))


@pytest.mark.parametrize(
    "came", [["b", None, "a", "b"], [3, None, 1, 3], [True, None, False, True], [1.5, None, 0.5, 1.5]]
)
def test_take_and_decode_at_positions(came):
    column, places = Column.of("x", came), np.array([3, 1, 1, 0])
    taken = column.take(places)
    expected = [came[place] for place in places]
    for found in (taken.decode(), column.decode(places)):
        assert [None if pd.isna(value) else value for value in found] == expected
    assert taken.values.tolist() == column.values.tolist()
    assert column.take(places[:1]).take(np.array([0])).decode().tolist() == came[3:]


def test_many_rows_are_coded_in_parts(monkeypatch):
    from scim.index.filter import _coding

    monkeypatch.setattr(_coding, "_ROWS", 7)
    came = np.random.default_rng(0).integers(-1, 9, 50)
    categorical = pd.Categorical.from_codes(came, categories=[f"v{i}" for i in range(12)])
    column = Column.of("x", categorical)
    assert column.values.tolist() == [f"v{i}" for i in range(9)]
    assert column.decode().astype(object).fillna("").tolist() == ["" if i < 0 else f"v{i}" for i in came]


def saved(came):
    column = Column.of("x", came)
    return column.facts(), column.arrays()


@pytest.mark.parametrize(
    ("came", "change", "message"),
    [
        (["a"], {"codes": np.zeros(3)}, "'codes' is float64"),
        (["a"], {"codes": np.zeros(3, np.int64)}, "'codes' is int64"),
        (["a"], {"codes": np.zeros((3, 1), np.uint8)}, r"\(3, 1\), expected one row of uint8"),
        (["a"], {"codes": None}, "has no 'codes'"),
        (["a"], {"offsets": None}, "has no 'offsets'"),
        (["a"], {"offsets": np.zeros(0, np.int64)}, "-1 values"),
        (["a"], {"offsets": np.zeros(300, np.int64)}, "299 values for codes of type uint8"),
        (["a"], {"text": np.zeros(3, np.int8)}, "'text' is int8"),
        ([1], {"values": np.zeros(1, object)}, "'values' is object"),
        ([1], {"values": np.zeros(1, bool)}, "'values' is bool"),
        ([True], {"values": np.zeros(1)}, "'values' is float64"),
    ],
)
def test_damaged_arrays_are_refused(came, change, message):
    facts, arrays = saved(came)
    arrays = {key: array for key, array in {**arrays, **change}.items() if array is not None}
    with pytest.raises(FormatError, match=message):
        Column.restore(facts, arrays)


@pytest.mark.parametrize(
    "facts", [{}, {"name": "x"}, {"name": 3, "kind": "text"}, {"name": "x", "kind": "date"}, {"name": "x", "kind": []}]
)
def test_damaged_facts_are_refused(facts):
    with pytest.raises(FormatError, match="Expected the name and kind"):
        Column.restore(facts, saved(["a"])[1])


@pytest.mark.parametrize(
    ("came", "change", "message"),
    [
        (["aa", "b"], {"offsets": np.array([0, 5, 3])}, "ascend from 0 to 3"),
        (["aa", "b"], {"offsets": np.array([-9, 2, 3])}, "ascend from 0 to 3"),
        (["aa", "b"], {"offsets": np.array([0, 2, 2**60])}, "ascend from 0 to 3"),
        (["aa", "b"], {"text": np.array([255, 97, 98], np.uint8)}, "can't decode"),
        (["aa", "b"], {"text": np.frombuffer(b"zzb", np.uint8)}, "not in ascending order"),
        ([1, 2], {"values": np.array([2, 2])}, "not in ascending order"),
        ([1.0, 2.0], {"values": np.array([1, NAN])}, "not in ascending order"),
    ],
)
def test_damage_within_is_found_when_values_are_used(came, change, message):
    facts, arrays = saved(came)
    column = Column.restore(facts, {**arrays, **change})
    for use in (
        column.decode,
        lambda: Filter("x < 'b'" if facts["kind"] == "text" else "x < 2").mask({"x": column}, 2),
    ):
        with pytest.raises(FormatError, match=message):
            use()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_codes_beyond_the_values_are_missing(dtype):
    facts, arrays = saved(["a", "b", "c", "d"])
    codes = np.array([0, 1, 2, 3, 4, 5, np.iinfo(dtype).max], dtype=dtype)
    column = Column.restore(facts, {**arrays, "codes": codes})
    assert column.decode().isna().tolist() == [False] * 4 + [True] * 3
    for expression, passing in [
        ("x == 'b'", [1]),
        ("x in ['a', 'c']", [0, 2]),
        ("x not in ['a', 'c']", [1, 3, 4, 5, 6]),
        ("x >= 'c'", [2, 3]),
        ("x == None", [4, 5, 6]),
    ]:
        assert np.flatnonzero(Filter(expression).mask({"x": column}, 7)).tolist() == passing
