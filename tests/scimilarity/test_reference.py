"""Labelled cells are matched with cells of the search index by their vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers import oracles
from helpers.published import normalised, write_hnsw
from scim._core import FormatError, ScimWarning
from scim.scimilarity._reference import Reference, match_once

DIM = 16


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, DIM)).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def write(folder, vectors, lines, **how):
    folder.mkdir(exist_ok=True)
    write_hnsw(folder / "labelled_kNN.bin", vectors, m=4, **how)
    (folder / "reference_labels.tsv").write_text("".join(f"{line}\n" for line in lines))
    return Reference(folder, DIM)


def studies(names):
    return pd.Series(pd.Categorical(names))


def all_eligible(n):
    return np.ones(n, dtype=bool)


def test_each_line_finds_its_cell(tmp_path, X):
    chosen = np.random.default_rng(1).permutation(400)[:150]
    reference = write(tmp_path / "a", X[chosen], [f"T cell\ts{i % 3}" for i in range(150)])
    twice = normalised(normalised(X))  # scaled to length 1 once more: other digits, the same cells
    found = reference.match(twice, studies(["s0"] * 400), all_eligible(400))
    assert np.flatnonzero(found >= 0).tolist() == sorted(chosen)
    np.testing.assert_array_equal(chosen[found[found >= 0]], np.flatnonzero(found >= 0))
    assert len(reference.unmatched()) == 0


def test_cells_that_are_near_but_not_the_same_are_not_found(tmp_path, X):
    reference = write(tmp_path / "a", X[:50], ["T cell\ts"] * 50)
    moved = normalised(X[:50] + np.float32(1e-4))
    assert (reference.match(moved, studies(["s"] * 50), all_eligible(50)) == -1).all()
    assert reference.unmatched().tolist() == list(range(50))


def test_each_duplicate_gets_a_line_of_its_study(tmp_path, X):
    reference = write(tmp_path / "a", X[[7, 7, 7]], ["T cell\tone", "B cell\ttwo", "T cell\tthree"])
    found = reference.match(X[[7, 7, 7, 7]], studies(["two", "three", "other", "one"]), all_eligible(4))
    assert found.tolist() == [1, 2, 0, -1]


def test_only_eligible_cells_get_a_line(tmp_path, X):
    reference = write(tmp_path / "a", X[[7]], ["T cell\tone"])
    found = reference.match(X[[7, 7]], studies(["one", "one"]), np.array([False, True]))
    assert found.tolist() == [-1, 0]


def test_lines_that_were_matched_before_are_excluded(tmp_path, X):
    reference = write(tmp_path / "a", X[:4], ["T cell\ts"] * 4)
    reference.mark_matched(np.array([1, 2]))
    assert reference.unmatched().tolist() == [0, 3]
    assert reference.match(X[:4], studies(["s"] * 4), all_eligible(4)).tolist() == [0, -1, -1, 3]


def test_deleted_elements_have_no_line(tmp_path, X):
    reference = write(tmp_path / "a", X[:4], ["T cell\ts"] * 4, deleted=[2])
    assert reference.n == 3
    assert reference.match(X[:4], studies(["s"] * 4), all_eligible(4)).tolist() == [0, 1, -1, 3]


def test_cells_without_counts_are_duplicates(tmp_path, X):
    reference = write(tmp_path / "a", np.zeros((3, DIM), np.float32), ["T cell\ts"] * 3)
    found = reference.match(np.zeros((5, DIM), np.float32), studies(["s"] * 5), all_eligible(5))
    assert sorted(found.tolist()) == [-1, -1, 0, 1, 2]


def test_many_duplicates_take_no_quadratic_time(tmp_path):
    """Twenty thousand duplicates: a query skips the matched rows in a step or two, not one by one."""
    n = 20_000
    reference, queries = np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32)
    next_free, out = np.arange(n + 1), np.empty(n, np.int64)
    groups = np.zeros(n, np.int32)
    match_once(reference, groups, next_free, queries, groups, all_eligible(n), 1e-6, out)
    assert sorted(out.tolist()) == list(range(n))


def test_lines_without_a_study(tmp_path, X):
    reference = write(tmp_path / "a", X[:3], ["T cell", "B cell", "T cell"])
    assert [reference.names[code] for code in reference.codes] == ["T cell", "B cell", "T cell"]
    assert reference.match(X[:3], studies(["a", "b", "c"]), all_eligible(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("last", ["", "\n"])
def test_labels_with_quotes_and_without_a_last_newline(tmp_path, X, last):
    write(tmp_path / "a", X[:2], ["T cell\ts"] * 2)
    (tmp_path / "a" / "reference_labels.tsv").write_text('CD4-positive, "helper" T cell\ts\nNA\ts' + last)
    reference = Reference(tmp_path / "a", DIM)
    assert reference.names == ['CD4-positive, "helper" T cell', "NA"]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfT cell\ts\nB cell\ts\n", b"T cell\ts\r\nB cell\ts\r\n"])
def test_labels_of_another_system(tmp_path, X, content):
    write(tmp_path / "a", X[:2], ["T cell\ts"] * 2)
    (tmp_path / "a" / "reference_labels.tsv").write_bytes(content)
    reference = Reference(tmp_path / "a", DIM)
    assert (reference.names, reference.studies) == (["T cell", "B cell"], ["s"])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"T cell\ts\nB\0cell\ts\n", "must have a label and a study"),
        (b"T cell\ts\nB\rcell\ts\n", "must have a label and a study"),
        (b"T cell\ts\n\xff\ts\n", "is not text in UTF-8"),
        (b"T cell\ts\n" + b"x" * 5000 + b"\n", "or one of more than 4,096 bytes"),
        (b"", "has an element 1, but there are 0 cells"),
    ],
)
def test_labels_that_are_no_labels(tmp_path, X, content, match):
    write(tmp_path / "a", X[:2], ["T cell\ts"] * 2)
    (tmp_path / "a" / "reference_labels.tsv").write_bytes(content)
    with pytest.raises(FormatError, match=match):
        Reference(tmp_path / "a", DIM)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5])
def test_embeddings_of_another_length(tmp_path, X, value):
    X[3] = value
    with pytest.raises(FormatError, match="labelled_kNN.bin' is damaged: 1 embeddings have a length other than 1"):
        write(tmp_path / "a", X[:9], ["T cell\ts"] * 9, normalise=False)


def test_more_lines_than_elements(tmp_path, X):
    with pytest.warns(ScimWarning, match="has 5 lines for 4 cells"):
        write(tmp_path / "a", X[:4], ["T cell\ts"] * 5)


def test_fewer_lines_than_elements(tmp_path, X):
    with pytest.raises(FormatError, match="has an element 3, but there are 3 cells"):
        write(tmp_path / "a", X[:4], ["T cell\ts"] * 3)


@pytest.mark.parametrize("lines", [["T cell\ts", "T cell\ts\tmore"], ["T cell\ts\tmore"] * 2])
def test_three_columns(tmp_path, X, lines):
    with pytest.raises(FormatError, match="must have a label and a study in each line"):
        write(tmp_path / "a", X[:2], lines)


def test_lines_without_a_cell_cannot_have_been_matched(tmp_path, X):
    reference = write(tmp_path / "a", X[:4], ["T cell\ts"] * 4, deleted=[2])
    with pytest.raises(FormatError, match=r"no cells of lines \[2\]"):
        reference.mark_matched(np.array([1, 2]))


def test_the_kernel_does_as_brute_force():
    rng = np.random.default_rng(0)
    reference = np.round(rng.normal(size=(300, 3)), 1).astype(np.float32)  # many are the same
    reference = reference[np.argsort(reference[:, 0], kind="stable")]
    queries, groups, reference_groups = (
        reference[rng.permutation(300)[:200]],
        rng.integers(0, 3, 200),
        rng.integers(0, 3, 300),
    )
    eligible, out = rng.random(200) < 0.9, np.empty(200, np.int64)
    match_once(reference, reference_groups, np.arange(301), queries, groups, eligible, 1e-6, out)
    np.testing.assert_array_equal(out, oracles.match_once(reference, reference_groups, queries, groups, eligible, 1e-6))


@pytest.mark.parametrize("name", ["labelled_kNN.bin", "reference_labels.tsv"])
def test_a_missing_file_is_named(tmp_path, X, name):
    write(tmp_path / "a", X[:2], ["T cell\ts"] * 2)
    (tmp_path / "a" / name).unlink()
    with pytest.raises(FormatError, match=f"has no file '{name}'"):
        Reference(tmp_path / "a", DIM)


def test_a_file_of_names_is_no_file_of_labels(tmp_path, X, monkeypatch):
    monkeypatch.setattr("scim.scimilarity._reference._MAX_NAMES", 10)
    with pytest.raises(FormatError, match="more than 10 labels or studies"):
        write(tmp_path / "a", X[:20], [f"cell {i}\ts" for i in range(20)])
