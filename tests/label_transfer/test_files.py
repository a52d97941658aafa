"""A saved label transfer whose checksums are right, but not its content: a forger can compute them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from helpers.expressed import GENES, TYPES, toy
from scim._core import FormatError
from scim.io import checksum, sealed
from scim.label_transfer import LabelTransfer
from scim.label_transfer._reference import RowIndex

X = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a label transfer with rows and expression."""
    types = np.random.default_rng(0).integers(0, 4, 120)
    X, counts = toy(types)
    studies = np.repeat(np.array(["one", "two", "three"], object), 40)
    transfer = LabelTransfer.fit(X, np.array(TYPES, object)[types], studies, counts=counts, genes=GENES)
    folder = tmp_path_factory.mktemp("saved") / "transfer"
    transfer.save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "transfer")
    return tmp_path / "transfer"


def seal(folder, edit=lambda content: None):
    """Change the header, and compute all checksums again."""
    file = folder / "label_transfer.json"
    content = json.loads(file.read_text())
    del content["sha256"]
    content["arrays"] = {name: checksum(folder / f"{name}.npy") for name in content["arrays"]}
    edit(content)
    file.write_text(json.dumps(sealed(content)))


def put(at, value):
    def change(array):
        array.flat[at] = value
        return array

    return change


def as_type(dtype):
    return lambda array: array.astype(dtype)


FORGED = {
    "a label that there is not": ("codes", put(3, 4)),
    "a negative label": ("codes", put(3, -2)),
    "labels of some cells": ("codes", lambda array: array[:-1]),
    "labels that are fractions": ("codes", as_type(np.float32)),
    "labels of another byte order": ("codes", as_type(">i4")),
    "a study that there is not": ("studies", put(3, 3)),
    "a negative study": ("studies", put(3, -1)),
    "a weight of NaN": ("label_weights", put(1, np.nan)),
    "a negative weight": ("label_weights", put(1, -1)),
    "weights of other labels": ("label_weights", lambda array: array[:2]),
    "a centroid of NaN": ("centroids", put(1, np.nan)),
    "an infinite centroid": ("centroids", put(1, np.inf)),
    "centroids in a row": ("centroids", np.ravel),
    "a centroid of no label": ("centroid_labels", put(0, 1 << 30)),
    "a centroid of a negative label": ("centroid_labels", put(0, -1)),
    "a centroid of no study": ("centroid_studies", put(0, 99)),
    "rows of NaN": ("X", put(0, np.nan)),
    "rows that are not of unit length": ("X", lambda array: array / 2),
    "fewer rows": ("X", lambda array: array[:-1]),
    "no numbers": ("X", as_type(str)),
    "a gene twice": ("expression_genes", put(1, "gene 2")),
    "fewer genes": ("expression_genes", lambda array: array[:-1]),
    "a mean of NaN": ("expression_means", put(0, np.nan)),
    "an infinite mean": ("expression_means", put(0, np.inf)),
    "no noise": ("expression_noise", put(0, 0)),
    "an infinite factor": ("expression_factor", put(0, -np.inf)),
    "a share above 1": ("expression_share", put(0, 2)),
    "a negative number of cells": ("expression_n_cells", put(0, -1)),
    "fewer bits": ("expression_measured", lambda array: array[:, :-1]),
    "studies of other pairs": ("expression_studies", lambda array: array[1:]),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_arrays_are_refused(folder, case):
    name, change = FORGED[case]
    file = folder / f"{name}.npy"
    array = np.load(file)
    np.save(file, change(array))
    seal(folder)
    with pytest.raises(FormatError, match=r"/transfer.*Save the label transfer again"):
        LabelTransfer.load(folder)


def without(*path):
    def edit(content):
        for name in path[:-1]:
            content = content[name]
        del content[path[-1]]

    return edit


def setting(value, *path):
    def edit(content):
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return edit


HEADERS = {
    "no labels": without("labels"),
    "labels of another type": setting("abc", "labels"),
    "a label that is a number": setting(1, "labels", 0),
    "a label twice": setting("B cell", "labels", 1),
    "fewer labels": setting(["a"], "labels"),
    "fewer ids": setting(["", ""], "label_ids"),
    "an id that there is not": setting("CL:9999999", "label_ids", 0),
    "an id that is none": setting("x", "label_ids", 0),
    "labels without end": lambda content: content.update(labels=[*map(str, range(30_000))], label_ids=[""] * 30_000),
    "a huge number of rows": setting(10**30, "n_rows"),
    "a negative number of rows": setting(-1, "n_rows"),
    "rows that are text": setting("120", "n_rows"),
    "a study twice": setting(["one", "two", "one"], "study_names"),
    "fewer studies": setting(["one"], "study_names"),
    "an unknown entry": setting(1, "more"),
    "no calibration": without("calibration"),
    "a short curve": setting([0.5], "calibration", "right"),
    "a curve of text": setting(["a", "b"], "calibration", "known"),
    "a curve of NaN": setting(float("nan"), "calibration", "right", 1),
    "an infinite curve": setting(float("inf"), "calibration", "known", 0),
    "a steep curve": setting(1e300, "calibration", "known", 0),
    "few bounds": setting([0.5], "calibration", "errors"),
    "a negative bound": setting(-1.0, "calibration", "errors", 3),
    "a number of studies that is a fraction": setting(0.5, "calibration", "n_studies"),
    "arrays in a list": setting([], "arrays"),
    "no codes": without("arrays", "codes"),
    "another array": setting("0" * 64, "arrays", "more"),
    "an array elsewhere": setting("0" * 64, "arrays", "../../x"),
    "a missing array": setting("0" * 64, "arrays", "duplicates"),
    "an array of the expression": setting("0" * 64, "arrays", "expression_/../../x"),
    "no means": without("arrays", "expression_means"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_forged_headers_are_refused(folder, case):
    seal(folder, HEADERS[case])
    with pytest.raises(FormatError, match=r"/transfer|Expected the name of a part"):
        LabelTransfer.load(folder)


def test_another_file_in_the_place_of_an_array_is_refused(folder):
    shutil.copy(folder / "studies.npy", folder / "codes.npy")  # the checksums of neither are changed
    with pytest.raises(FormatError, match=r"codes.npy' is damaged or missing. Save the label transfer again"):
        LabelTransfer.load(folder)
    (folder / "codes.npy").unlink()
    (folder / "codes.npy").symlink_to("studies.npy")
    with pytest.raises(FormatError, match=r"codes.npy' is a link"):
        LabelTransfer.load(folder)


def test_what_is_possible_is_read(folder):
    np.save(folder / "codes.npy", np.zeros(120, np.int32))
    seal(folder)
    found = LabelTransfer.load(folder).predict(X, max_error=1)
    assert np.isfinite(found.confidence).all()


def test_an_index_of_other_cells_is_refused(folder):
    class Shifted(RowIndex):
        def query(self, X, k, **query):
            distances, ids = super().query(X, k, **query)
            return distances, ids + 1000

    transfer = LabelTransfer.load(folder, index=Shifted(LabelTransfer.load(folder).index.X))
    with pytest.raises(FormatError, match=r"has the id 1\d+, but the reference has the cells 0 to 119"):
        transfer.predict(X, max_error=1)
