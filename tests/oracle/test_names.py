"""The classes have the package's names and arguments."""

from __future__ import annotations

import json

import pytest

from helpers import package_names
from oracle.package.names import names
from scim import scimilarity

CLASSES = ("CellEmbedding", "CellSearchKNN", "CellAnnotation", "CellQuery", "Interpreter")
LEFT_OUT = {
    "load_knn_index", "adata_from_tiledb", "categorize_and_sort_by_score", "clean_diseases", "clean_tissues",
    "embedding_from_tiledb", "optimize_tiledb_array", "query_tiledb_df", "subset_by_frequency",
    "subset_by_unique_values", "write_array_to_tiledb", "write_csr_to_tiledb",
}  # fmt: skip
"""Functions that scim has by other names only; the page "Coming from SCimilarity" lists them."""


@pytest.fixture(scope="module")
def package(run_package, tmp_path_factory):
    path = tmp_path_factory.mktemp("names") / "names.json"
    run_package("names", path)
    return json.loads(path.read_text())


def test_the_list_of_names_is_that_of_the_package(package):
    listed = {f"{group}.{name}" for group, own in package_names.NAMES.items() for name in own if group != "attributes"}
    assert listed == {name for name in package if not name.endswith(".__init__")}


def test_calls_take_the_packages_arguments_in_its_order(package):
    ours = names(scimilarity, [getattr(scimilarity, name) for name in CLASSES])
    wanted = {name: own for name, own in package.items() if name.split(".")[0] in (*CLASSES, "utils")}
    assert {name.split(".")[1] for name in wanted if name not in ours} == LEFT_OUT
    offered = {name: own for name, own in wanted.items() if name in ours}
    assert {name: ours[name] for name in offered} == offered
    assert len(offered) > 35


def test_attributes_are_there():
    members = {name for one in CLASSES for name in dir(getattr(scimilarity, one))}
    assert set(package_names.NAMES["attributes"]) <= members
