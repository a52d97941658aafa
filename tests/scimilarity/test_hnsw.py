"""Index files of hnswlib as bytes, whole and damaged. That hnswlib writes such files is what tests/oracle holds."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.published import normalised, write_hnsw
from scim._core import FormatError
from scim.scimilarity._hnsw import HnswFile

DIM = 8


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32)


@pytest.fixture
def file(tmp_path, X):
    labels = np.random.default_rng(1).permutation(50)
    write_hnsw(tmp_path / "knn.bin", X[labels], labels=labels, deleted=[3, 40], m=4)
    return tmp_path / "knn.bin"


def patch(file, at, value, n_bytes=8):
    content = bytearray(file.read_bytes())
    content[at : at + n_bytes] = int(value).to_bytes(n_bytes, "little")
    file.write_bytes(bytes(content))


def refused(file, match, n_labels=50):
    with pytest.raises(FormatError, match=match):
        HnswFile(file, DIM).positions(n_labels)


def test_vectors_by_their_labels(file, X):
    index = HnswFile(file, DIM)
    positions = index.positions(50)
    assert np.flatnonzero(positions < 0).tolist() == [3, 40]
    there = np.flatnonzero(positions >= 0)
    np.testing.assert_array_equal(index.vectors(positions[there]), normalised(X)[there])
    assert index.vectors(positions[there][:0]).shape == (0, DIM)


@pytest.mark.parametrize("m", [2, 16, 80])
def test_any_number_of_links(tmp_path, X, m):
    write_hnsw(tmp_path / "knn.bin", X, m=m)
    index = HnswFile(tmp_path / "knn.bin", DIM)
    np.testing.assert_array_equal(index.vectors(index.positions(50)), normalised(X))


def test_room_for_more_and_labels_with_gaps(tmp_path, X):
    write_hnsw(tmp_path / "knn.bin", X[:20], labels=np.arange(0, 60, 3), max_elements=1000, links="none")
    positions = HnswFile(tmp_path / "knn.bin", DIM).positions(60)
    assert np.flatnonzero(positions >= 0).tolist() == list(range(0, 60, 3))


def test_an_index_without_elements(tmp_path, X):
    write_hnsw(tmp_path / "knn.bin", [np.empty((0, DIM), np.float32)], n=0, max_elements=10)
    assert (HnswFile(tmp_path / "knn.bin", DIM).positions(5) == -1).all()


def test_vectors_of_another_width(file):
    with pytest.raises(FormatError, match="has vectors of 8 dimensions; expected the 16 of the model"):
        HnswFile(file, 16)


@pytest.mark.parametrize("n_bytes", [0, 50, 95])
def test_less_than_a_header(file, n_bytes):
    file.write_bytes(file.read_bytes()[:n_bytes])
    refused(file, "fewer than the header")


@pytest.mark.parametrize("cut", [1, 500, 2000])
def test_a_truncated_file(file, cut):
    size = 96 + 50 * (4 + 8 * 4 + DIM * 4 + 8 + 4)
    file.write_bytes(file.read_bytes()[: size - cut])
    refused(file, "is truncated: 50 elements need")


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 8), (16, 1 << 62), (16, 51), (24, 7), (32, 1 << 40), (40, 0), (40, 1 << 50), (64, 3)],
    ids=["level 0", "huge count", "count beyond room", "record", "label", "vector", "huge offset", "links"],
)
def test_headers_that_contradict_themselves(file, at, value):
    patch(file, at, value)
    refused(file, "is not an index of hnswlib, or is damaged|has vectors of")


def test_huge_elements_of_which_there_are_none(tmp_path):
    write_hnsw(tmp_path / "knn.bin", [np.empty((0, DIM), np.float32)], n=0, max_elements=10)
    for at, value in (
        (24, 4 + 4 * (1 << 30) + 40),
        (32, 4 + 4 * (1 << 30) + 32),
        (40, 4 + 4 * (1 << 30)),
        (64, 1 << 30),
    ):
        patch(tmp_path / "knn.bin", at, value)
    refused(tmp_path / "knn.bin", "is not an index of hnswlib, or is damaged")


def test_a_huge_count_that_the_header_has_room_for(file):
    patch(file, 8, 1 << 30)
    patch(file, 16, 1 << 30)
    refused(file, "is truncated: 1,073,741,824 elements need")


def test_a_label_beyond_the_cells(file):
    refused(file, "has an element 49, but there are 49 cells", n_labels=49)


def test_a_label_that_would_be_negative(file):
    record = 4 + 8 * 4 + DIM * 4 + 8
    patch(file, 96 + record - 8, (1 << 64) - 1)
    refused(file, "has an element 18446744073709551615")


def test_a_label_twice(tmp_path, X):
    write_hnsw(tmp_path / "knn.bin", X[:3], labels=np.array([0, 1, 0]), m=4)
    refused(tmp_path / "knn.bin", "two elements of one cell")


def test_text_is_no_index(tmp_path):
    (tmp_path / "knn.bin").write_text("x" * 5000)
    refused(tmp_path / "knn.bin", "is not an index of hnswlib")


@pytest.mark.parametrize(("at", "value"), [(16, 49), (16, 0), (56, 5)], ids=["fewer elements", "none", "upper links"])
def test_links_that_do_not_end_with_the_file(file, at, value):
    patch(file, at, value)
    refused(file, "do not end where the file does")


def test_bytes_behind_the_links(file):
    file.write_bytes(file.read_bytes() + bytes(8))
    refused(file, "do not end where the file does")
