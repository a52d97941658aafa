"""Equality of results: floats may differ by rounding, and neighbours that are equally far by their order."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROUNDING = 1e-6
"""Of float32 distances between unit vectors of two libraries."""


def assert_same_hits(idxs, dists, other_idxs, other_dists):
    """Compare neighbours: the same distances and the same cells, except for the order and choice of ties."""
    assert np.shape(idxs) == np.shape(other_idxs)
    np.testing.assert_allclose(dists, other_dists, atol=ROUNDING, rtol=0)
    for row, (ours, theirs) in enumerate(zip(np.asarray(idxs), np.asarray(other_idxs), strict=True)):
        last = np.asarray(other_dists)[row].max() - 2 * ROUNDING
        inside = {int(i) for i, d in zip(theirs, other_dists[row], strict=True) if d < last}
        assert inside <= set(ours.tolist()), f"row {row} lacks {inside - set(ours.tolist())}"
        near = {int(i) for i, d in zip(ours, dists[row], strict=True) if d < last}
        assert near <= {int(i) for i in theirs}, f"row {row} has more"


def as_ours(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of the package as scim has it: "NA" is missing, "True" and "False" are booleans."""
    out = frame.replace("NA", np.nan)
    for name in out.columns:
        values = set(out[name].dropna().unique()) if out[name].dtype == object else set()
        if values and values <= {"True", "False"}:
            out[name] = out[name].map({"True": True, "False": False}).astype("boolean")
    return out


def assert_same_frame(ours: pd.DataFrame, theirs: pd.DataFrame, *, by: list[str]):
    """The same columns, in any order, and the same rows, by the columns `by`."""
    theirs = as_ours(theirs)
    assert set(ours.columns) == set(theirs.columns)
    ours = ours[list(theirs.columns)].sort_values(by).reset_index(drop=True)
    theirs = theirs.sort_values(by).reset_index(drop=True)
    pd.testing.assert_frame_equal(
        plain(ours), plain(theirs), check_dtype=False, rtol=0, atol=ROUNDING, check_categorical=False
    )


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return texts and booleans as objects, missing ones as NaN."""
    out = {}
    for name, column in frame.items():
        number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
        values = column.to_numpy(float) if number else column.astype(object).where(column.notna(), np.nan)
        out[name] = values
    return pd.DataFrame(out)
