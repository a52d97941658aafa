"""Every kernel against numpy; these tests run with NUMBA_DISABLE_JIT=1 as well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scim.index.filter import _filter


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_compare(dtype, flip):
    codes = np.random.default_rng(0).integers(0, 12, 100).astype(dtype)
    codes[:2] = np.iinfo(dtype).max
    passes = np.full(100, 7, np.uint8)
    for low, high in [(3, 5), (0, 0), (11, np.iinfo(dtype).max)]:
        _filter.compare(codes, dtype(low), dtype(high), np.uint8(flip), passes)
        np.testing.assert_array_equal(passes, ((codes >= low) & (codes <= high)) != flip)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_look_up(dtype):
    rng = np.random.default_rng(0)
    codes, table = rng.integers(0, 12, 100).astype(dtype), rng.integers(0, 2, 10).astype(np.uint8)
    codes[:2] = np.iinfo(dtype).max
    passes = np.full(100, 7, np.uint8)
    _filter.look_up(codes, table, dtype(9), passes)
    np.testing.assert_array_equal(passes, table[np.minimum(codes, 9)])


@settings(max_examples=100)
@given(
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.lists(st.integers(0, 14) | st.just(255), max_size=30),
    st.sampled_from([np.uint8, np.uint16, np.uint32]),
)
def test_code_test(table, codes, dtype):
    table, codes = np.array(table), np.array(codes, dtype=dtype)
    codes[codes == 255] = np.iinfo(dtype).max  # damaged: missing
    codes.flags.writeable = False  # as read from a file
    passes = np.empty(codes[1:].size, bool)
    _filter.CodeTest.of(codes, table).apply(slice(1, None), passes)
    np.testing.assert_array_equal(passes, table[np.minimum(codes[1:], table.size - 1)])
