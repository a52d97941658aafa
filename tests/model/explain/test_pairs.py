from __future__ import annotations

import numpy as np

from scim.model.explain import draw_pairs, rivals

CODES = np.repeat([0, 1, 2, -1], [7, 40, 5, 9])


def test_each_other_type_is_as_frequent_however_many_cells_it_has():
    pairs = draw_pairs(CODES, 0, [1, 2], 200, np.random.default_rng(0))
    assert set(CODES[pairs.anchors]) == {0}
    assert np.bincount(CODES[pairs.negatives]).tolist() == [0, 100, 100]


def test_cells_come_in_turns():
    pairs = draw_pairs(CODES, 0, [1, 2], 68, np.random.default_rng(0))
    assert set(np.unique(pairs.anchors, return_counts=True)[1]) <= {9, 10}
    drawn, times = np.unique(pairs.negatives, return_counts=True)
    assert set(times[CODES[drawn] == 1]) == {1}
    assert set(times[CODES[drawn] == 2]) <= {6, 7}


def test_anchors_meet_all_types_though_their_numbers_are_equal():
    codes = np.repeat([0, 1, 2], 2)
    pairs = draw_pairs(codes, 0, [1, 2], 60, np.random.default_rng(0))
    met = {(int(a), int(codes[n])) for a, n in zip(*pairs, strict=True)}
    assert met == {(0, 1), (0, 2), (1, 1), (1, 2)}


def test_pairs_are_those_of_the_seed():
    one, same, other = (draw_pairs(CODES, 1, [0, 2], 30, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_kin_are_no_rivals():
    names = ["T cell", "B cell", "CD8-positive, alpha-beta T cell", "cluster 3"]
    expected = [[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]
    np.testing.assert_array_equal(rivals(names), np.array(expected, dtype=bool))
