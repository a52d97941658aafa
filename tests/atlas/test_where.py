from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scim._core.errors import FilterError
from scim.atlas._where import Where

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
    assert np.flatnonzero(Where(expression).mask(FRAME)).tolist() == passing


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
    ],
)
def test_what_cannot_be_meant_is_refused(expression, message):
    with pytest.raises(FilterError, match=message):
        Where(expression).mask(FRAME)
