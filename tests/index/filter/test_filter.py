from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import oracles
from scim._core import FilterError
from scim.index.filter import Column, Filter, _filter

FRAME = pd.DataFrame(
    {
        "tissue": ["lung", "blood", None, "lung", "liver"],
        "age": [10.0, 50.0, 30.0, np.nan, 70.0],
        "n": [1, 2, 3, 4, 5],
        "percent": [0, 0, 0, 1, 0],
        "ok": [True, False, True, False, True],
        "percent.mt": [0.1, 0.2, 0.3, 0.4, 0.5],
    }
)

COLUMNS = {name: Column.of(name, FRAME[name]) for name in FRAME}


def passing_rows(expression, columns=COLUMNS, n_rows=5):
    where = Filter(expression)
    where.check(columns)
    return np.flatnonzero(where.mask(columns, n_rows)).tolist()


@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("tissue == 'lung'", [0, 3]),
        ("tissue != 'lung'", [1, 2, 4]),  # missing is not lung
        ("tissue in ['lung', 'liver']", [0, 3, 4]),
        ("tissue not in ['lung', 'liver']", [1, 2]),
        ("tissue == None", [2]),
        ("tissue != None", [0, 1, 3, 4]),
        ("age < 50", [0, 2]),
        ("age >= 50", [1, 4]),
        ("30 <= age < 70", [1, 2]),
        ("50 > age", [0, 2]),
        ("not age < 50", [1, 3, 4]),
        ("age == None", [3]),
        ("ok", [0, 2, 4]),
        ("not ok", [1, 3]),
        ("ok == True", [0, 2, 4]),
        ("percent.mt > 0.35", [3, 4]),
        ("tissue == 'lung' or tissue == 'blood' and n > 5", [0, 3]),
        ("(tissue == 'lung' or tissue == 'blood') and n > 1", [1, 3]),
        ("percent == 1 and percent.mt > 0.2", [3]),
        ("n in [1, 5] and not tissue == 'liver'", [0]),
    ],
)
def test_rows_that_pass(expression, passing):
    assert passing_rows(expression) == passing


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("tissue = 'lung'", "cannot be read"),
        ("", "cannot be read"),
        ("tisue == 'lung'", r"no column 'tisue'. Did you mean 'tissue'\?"),
        ("tissue == 'lungs'", r"no cell has tissue == 'lungs'; did you mean 'lung'\?"),
        ("tissue in ['brain']", r"no cell has tissue == 'brain'; it has \['blood', 'liver', 'lung'\]"),
        ("tissue == 3", "column 'tissue' holds text, got 3"),
        ("age > 'old'", "column 'age' holds numbers, got 'old'"),
        ("tissue", "neither a comparison nor a column of true and false"),
        ("tissue in 'lung'", "'in' needs a list"),
        ("len(tissue) > 3", "no column 'len'"),
        ("__import__('os').system('true') == 0", "no column '__import__'"),
        ("3 == 3", "3' is not a column"),
        ("n == [1, 2]", r"column 'n' holds numbers, got \[1, 2\]"),
        ("n > None", "column 'n' holds numbers, got None"),
        ("n == {1: 2}", "column 'n' holds numbers"),
        ("n == 1j", "column 'n' holds numbers"),
        ("age in [1.0, None]", "column 'age' holds numbers, got None"),
        ("tissue == lung", "no column 'lung'. Text goes in quotes"),
        ("tissue is 'lung'", "compared in a way that is not known"),
        ("ok > 'a'", "column 'ok' holds true and false, got 'a'"),
        ("not " * 150 + "ok", "more than 100 parts lie inside each other"),
    ],
)
def test_invalid_expressions_are_refused(expression, message):
    with pytest.raises(FilterError, match=message):
        passing_rows(expression)


def coded(**columns):
    return {name: Column.of(name, values) for name, values in columns.items()}


DISEASES = coded(
    disease=["asthma || fibrosis", "asthma", None, "fibrosis || asthma || flu", "flu", "normal"],
    n=[1, 2, 3, 4, 5, 6],
)


@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("disease == 'asthma'", [0, 1, 3]),
        ("disease != 'asthma'", [2, 4, 5]),
        ("disease in ['flu', 'normal']", [3, 4, 5]),
        ("disease not in ['flu', 'normal']", [0, 1, 2]),
        ("disease == 'asthma || fibrosis'", [0, 3]),
        ("disease == 'fibrosis || asthma'", [0, 3]),
        ("disease != 'asthma || fibrosis'", [1, 2, 4, 5]),
        ("disease == 'asthma || normal'", []),
        ("disease == 'asthma || asthma'", [0, 1, 3]),
        ("disease == None", [2]),
        ("disease < 'b'", [0, 1]),
    ],
)
def test_a_field_of_several_texts_equals_each(expression, passing):
    assert passing_rows(expression, DISEASES, 6) == passing


def test_errors_name_the_unknown_part():
    with pytest.raises(FilterError, match=r"no cell has disease == 'fibrosi'; did you mean 'fibrosis'\?"):
        passing_rows("disease == 'asthma || fibrosi'", DISEASES, 6)
    with pytest.raises(FilterError, match=r"it has \['asthma', 'fibrosis', 'flu', 'normal'\]"):
        passing_rows("disease == 'xyz'", DISEASES, 6)


BACKTICKS = coded(**{"cell type": ["T", "B"], "class": [1, 2], "`": [1, 1], "%mt": [0.5, 0.1], "a.b": [True, False]})


@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("`cell type` == 'T'", [0]),
        ("`cell type`=='T'or`class`==2", [0, 1]),
        ("`class` in [2] and not `a.b`", [1]),
        ("'T' == `cell type`", [0]),
        ("0.2 < `%mt` <= 0.5", [0]),
        ("a.b", [0]),
    ],
)
def test_names_in_backticks(expression, passing):
    assert passing_rows(expression, BACKTICKS, 2) == passing


def test_backticks_inside_text_are_text():
    columns = coded(x=["`a`", "it's `b`", 'say "c`"'])
    assert passing_rows("x == '`a`'", columns, 3) == [0]
    assert passing_rows('x == "it\'s `b`"', columns, 3) == [1]
    assert passing_rows("x in ['say \"c`\"', 'it\\'s `b`']", columns, 3) == [1, 2]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("`cell typ` == 'T'", r"no column 'cell typ'. Did you mean 'cell type'\?"),
        ("`cell type == 'T'", "cannot be read"),
        ("`cell type`", "'`cell type`' is neither a comparison"),
        ("`class` == `%mt`", "'`%mt`' is not a value"),
    ],
)
def test_errors_show_names_in_backticks_as_written(expression, message):
    with pytest.raises(FilterError, match=message):
        passing_rows(expression, BACKTICKS, 2)


@pytest.mark.parametrize(
    ("expression", "passing"),
    [
        ("n < 1" + "0" * 30, [0, 1, 2, 3, 4]),
        ("n == 1" + "0" * 30, []),
        ("age < 1" + "0" * 400, [0, 1, 2, 4]),
        ("age > -1" + "0" * 400, [0, 1, 2, 4]),
        ("age < 1e999", [0, 1, 2, 4]),
        ("n == 2.5", []),
        ("n in [2.0, True]", [0, 1]),
        ("ok < True", [1, 3]),
        ("ok in []", []),
        ("ok not in []", [0, 1, 2, 3, 4]),
        ("tissue > 'blood'", [0, 3, 4]),
        ("tissue < 'lang'", [1]),
        ("tissue is None or tissue is not None and n == 5", [2, 4]),
        (" n == 1\n ", [0]),
    ],
)
def test_edges(expression, passing):
    assert passing_rows(expression) == passing


@pytest.mark.parametrize(
    "expression", ["not " * 900 + "ok", "(" * 150 + "ok" + ")" * 150, None, b"n == 1", "a" + ".b" * 2000]
)
def test_no_expression_breaks_it(expression):
    with contextlib.suppress(FilterError):
        assert set(passing_rows(expression)) <= set(range(5))


def test_values_of_any_table_are_known():
    lung = coded(tissue=["lung", "lung"], note=[None, None], n=[1, 2])
    blood = coded(
        tissue=["blood", None, "liver"], sure=pd.array([True, None, False], dtype="boolean"), note=["a", "b", "a"]
    )
    where = Filter("tissue in ['lung', 'liver'] or note == 'b' or sure")
    where.check(lung, blood)
    assert where.mask(lung, 2).tolist() == [True, True]
    assert where.mask(blood, 3).tolist() == [True, True, True]
    for expression, passing in [
        ("sure", []),
        ("not sure", [0, 1]),
        ("sure == None", [0, 1]),
        ("sure != True", [0, 1]),
        ("sure < True or sure in [True, False] or sure != None", []),
    ]:
        Filter(expression).check(lung, blood)
        assert np.flatnonzero(Filter(expression).mask(lung, 2)).tolist() == passing
    with pytest.raises(FilterError, match="no cell has tissue == 'brain'"):
        Filter("tissue == 'brain'").check(lung, blood)
    with pytest.raises(FilterError, match="no column 'brain'"):
        Filter("brain == 3").check(lung, blood)


def test_tables_that_disagree_about_a_column():
    with pytest.raises(FilterError, match="column 'n' holds numbers and text in different parts"):
        Filter("n == 1").check(coded(n=[1, 2]), coded(n=["1"]))
    # A column without values has no kind.
    where, nothing = Filter("n > 1"), coded(n=[None, None])
    where.check(nothing, coded(n=[1, 2]))
    assert where.mask(nothing, 2).tolist() == [False, False]
    assert Filter("n != 1").mask(nothing, 2).all()
    with pytest.raises(FilterError, match="holds text, got 1"):
        where.check(nothing)


def test_mask_refuses_other_types_and_lengths():
    with pytest.raises(FilterError, match="holds numbers, got 'a'"):
        Filter("n == 'a'").mask(COLUMNS, 5)
    with pytest.raises(ValueError, match=r"columns of 4 rows, got Column\('n': number, 5 rows, 5 values\)"):
        Filter("n == 1").mask(COLUMNS, 4)


VALUES = {
    "text": st.sampled_from(["a", "b", "a || b", "b || c", "c", "d || a || b", ""]),
    "n": st.integers(-3, 3),
    "x": st.sampled_from([-1.5, 0.0, 0.25, 2.0]),
    "ok": st.booleans(),
}


@st.composite
def trees(draw, depth=3):
    word = draw(st.sampled_from(["test", "test", "and", "or", "not"])) if depth else "test"
    if word != "test":
        return (word, *(draw(trees(depth - 1)) for _ in range(1 if word == "not" else 2)))
    name = draw(st.sampled_from(sorted(VALUES)))
    sign = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"]))
    if sign in ("in", "not in"):
        return sign, name, draw(st.lists(VALUES[name], max_size=3))
    return sign, name, draw(VALUES[name] | st.none() if sign in ("==", "!=") else VALUES[name])


def written(tree):
    word, *rest = tree
    if word == "not":
        return f"not ({written(rest[0])})"
    if word in ("and", "or"):
        return f"({written(rest[0])}) {word} ({written(rest[1])})"
    return f"{rest[0]} {word} {rest[1]!r}"


@settings(max_examples=200)
@given(trees(), st.lists(st.tuples(*(values | st.none() for values in VALUES.values())), max_size=12))
def test_masks_are_those_of_the_oracle(tree, rows):
    table = {name: [row[i] for row in rows] for i, name in enumerate(VALUES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_filter, "_ROWS", 5)
        found = Filter(written(tree)).mask(coded(**table), len(rows))
    np.testing.assert_array_equal(found, oracles.rows_that_pass(tree, table))
