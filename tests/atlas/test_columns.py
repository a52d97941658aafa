from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scim.atlas._columns import TEXT, arrow_type, as_type

INT, FLOAT, BOOL = pa.int64(), pa.float64(), pa.bool_()


def column(values, dtype=None):
    return pd.Series(values, dtype=dtype, name="c")


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "expected"),
    [
        (["a", None, "b"], object, TEXT, ["a", None, "b"]),
        (["a", None, "b"], "string[python]", TEXT, ["a", None, "b"]),
        (["a", None, "b"], "string[pyarrow]", TEXT, ["a", None, "b"]),
        (["a", None, "b"], pd.ArrowDtype(pa.string()), TEXT, ["a", None, "b"]),
        (["a", None, "a"], pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string())), TEXT, ["a", None, "a"]),
        (["a", None, "b"], "category", TEXT, ["a", None, "b"]),
        ([2, None, 1], "category", INT, [2, None, 1]),
        ([True, None, False], "boolean", BOOL, [True, None, False]),
        ([True, False], bool, BOOL, [True, False]),
        ([True, None, False], object, BOOL, [True, None, False]),
        ([True, None], pd.ArrowDtype(pa.bool_()), BOOL, [True, None]),
        ([3, None, 4], object, INT, [3, None, 4]),
        ([3, None, 4.5], object, FLOAT, [3, None, 4.5]),
        *(([3, 4], name, INT, [3, 4]) for name in ("int8", "int16", "uint8", "uint16", "uint32", "uint64", "int64")),
        ([3, None], "Int32", INT, [3, None]),
        ([3, None], "UInt64", INT, [3, None]),
        ([3, None], pd.ArrowDtype(pa.int16()), INT, [3, None]),
        *(([0.5, np.nan], name, FLOAT, [0.5, None]) for name in ("float16", "float32", "float64", "Float32")),
        ([0.5, None], pd.ArrowDtype(pa.float32()), FLOAT, [0.5, None]),
        ([0.5, np.nan], np.longdouble, FLOAT, [0.5, None]),
    ],
)
def test_columns_become_one_of_four_types(values, dtype, kind, expected):
    given = column(values, dtype)
    assert arrow_type(given) == kind
    array = as_type(given, kind)
    assert array.type == kind
    assert array.to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "expected"),
    [
        ([1, 2], "int64", FLOAT, [1.0, 2.0]),
        ([1, None], "Int64", FLOAT, [1.0, None]),
        ([2**53, 1], "int64", FLOAT, [2.0**53, 1.0]),
        ([1.0, np.nan, -3.0], "float64", INT, [1, None, -3]),
        ([1.0, np.nan], "float16", INT, [1, None]),
        ([2, 2, 1], "category", FLOAT, [2.0, 2.0, 1.0]),
        ([2.0, None, 1.0], pd.CategoricalDtype([1.0, 2.0]), INT, [2, None, 1]),
        ([None, None], object, FLOAT, [None, None]),
        ([np.nan, np.nan], "float64", TEXT, [None, None]),
        ([None, None], "category", BOOL, [None, None]),
    ],
)
def test_numbers_and_empty_columns_are_cast_to_other_types(values, dtype, kind, expected):
    array = as_type(column(values, dtype), kind)
    assert (array.type, array.to_pylist()) == (kind, expected)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1.0, 2.5], INT, r"obs\['c'\] is double and has values that are not whole, as \[2.5\], but .* as int64; conv"),
        ([1.0, np.inf], INT, r"obs\['c'\] is double and has values .* the atlas keeps this column as int64"),
        ([2**53 + 1], FLOAT, r"obs\['c'\] is int64, and whole numbers beyond 2\*\*53, as 9007199254740993, lose dig"),
        (np.array([2**63], np.uint64), INT, r"obs\['c'\] is int64, which ends at 2\*\*63 - 1; .* 9223372036854775808"),
        ([True, False], INT, r"obs\['c'\] is bool, but the atlas keeps this column as int64; convert it, or append"),
        ([1, 2], BOOL, "is int64, but the atlas keeps this column as bool"),
        (["a"], FLOAT, "is large_string, but the atlas keeps this column as double"),
        ([1.5], TEXT, "is double, but the atlas keeps this column as large_string"),
        (pd.Categorical([1.5, 2]), INT, r"obs\['c'\] is double and has values that are not whole, as \[1.5\]"),
    ],
)
def test_columns_that_do_not_fit_are_named(values, kind, message):
    with pytest.raises(TypeError, match=message):
        as_type(column(values), kind)


@pytest.mark.parametrize(
    "values",
    [[1, "a"], [b"a"], [["a"]], pd.to_datetime(["2024-01-01"]), pd.Categorical([1, "a"]), [1 + 2j]],
)
def test_other_values_are_refused(values):
    with pytest.raises(TypeError, match=r"obs\['c'\] has dtype .* expected text, a categorical, bool, int or float"):
        arrow_type(column(values))


def test_a_column_of_missing_values_has_any_type():
    for kind in (TEXT, INT, FLOAT, BOOL):
        assert as_type(column([None, None]), kind) == pa.nulls(2, kind)
