from __future__ import annotations

import os
from pathlib import Path

import anndata
import pandas as pd
import pytest
from hypothesis import settings

import scim
from helpers import fakes

# The first call of a kernel compiles it: a deadline would time the compiler.
settings.register_profile("scim", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile("scim")


_OPTIONS = {"copy_on_write": "mode.copy_on_write", "infer_string": "future.infer_string"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pandas", choices=_OPTIONS, help="run with an option of pandas 2 that pandas 3 always has")
    parser.addoption("--fuzz", choices=["short", "long"], default="short", help="how many cases tests/fuzz runs")
    parser.addoption("--fuzz-cases", type=int, default=0, metavar="N", help="cases of each target of tests/fuzz")
    parser.addoption("--fuzz-case", default="", metavar="TARGET:SEED", help="run one case of tests/fuzz")


def pytest_configure(config: pytest.Config) -> None:
    option = config.getoption("--pandas")
    if option is not None:
        pd.set_option(_OPTIONS[option], True)
        anndata.settings.allow_write_nullable_strings = True  # else anndata refuses to write text of pandas 3


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data: `SCIM_TEST_DATA`, or `shared/data` beside the repository."""
    folder = Path(os.environ.get("SCIM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set SCIM_TEST_DATA to the folder that has pbmc3k.h5ad and the others")
    return folder


@pytest.fixture(scope="session")
def atlas_path(tmp_path_factory) -> Path:
    """An atlas of 150 toy cells; tests must not write into it."""
    return fakes.toy_atlas(tmp_path_factory.mktemp("atlas") / "toy.scim")


@pytest.fixture(scope="session")
def _embedded(atlas_path):
    adata = fakes.cells(45, seed=9)
    scim.tl.embed(adata, atlas_path)
    return adata


@pytest.fixture
def adata(_embedded):
    """45 toy cells, embedded; each test has its own copy."""
    return _embedded.copy()
