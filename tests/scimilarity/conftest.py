"""An imported atlas and cells to query it with; a published folder, a copy of it to change, and its atlas."""

from __future__ import annotations

import contextlib
import shutil

import pytest

import scim
from helpers import imported, published
from helpers.folders import LABELS
from scim.scimilarity import CellAnnotation, CellQuery, align_dataset, lognorm_counts
from scim.scimilarity._tiledb import Reader


@pytest.fixture(scope="session")
def share_reader():
    """Return a function that gives one reader of arrays to all tests: each start takes a second."""
    with contextlib.ExitStack() as stack:
        readers = []

        @contextlib.contextmanager
        def share():
            if not readers or readers[-1]._process.poll() is not None:
                readers.append(Reader())
                stack.callback(readers[-1].stop)
            yield readers[-1]

        yield share


@pytest.fixture(scope="session", autouse=True)
def one_reader(share_reader):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scim.scimilarity._cells.open_reader", share_reader)
        yield


@pytest.fixture(scope="session")
def imported_path(tmp_path_factory):
    """An atlas with the columns of an import; no test writes into it."""
    return imported.imported_atlas(tmp_path_factory.mktemp("imported") / "atlas.scim")


@pytest.fixture(scope="session")
def source():
    """The cells of that atlas, in its order."""
    return imported.cells()


@pytest.fixture
def ca(imported_path):
    return CellAnnotation(imported_path)


@pytest.fixture
def cq(imported_path):
    return CellQuery(imported_path)


@pytest.fixture(scope="session")
def prepared(imported_path):
    """Sixty further cells, as the package's scripts prepare them."""
    adata = scim.datasets.toy(60, rng=8)
    adata.layers["counts"] = adata.X.copy()
    adata.X = None
    aligned = align_dataset(adata, imported.model().metadata["gene_order"])
    return lognorm_counts(aligned)


@pytest.fixture
def query(prepared):
    """A copy of them."""
    return prepared.copy()


@pytest.fixture(scope="session")
def embedded(prepared):
    """Embeddings of these cells."""
    return imported.model().encode(prepared.X)


@pytest.fixture
def small_steps(monkeypatch):
    """Several steps of few rows each."""
    monkeypatch.setattr("scim.scimilarity._cells.STEP", 100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of 300 cells, two of them deleted, and 7 that only the annotation has."""
    path = tmp_path_factory.mktemp("published") / "model"
    cells = published.Cells(300, n_labels=len(LABELS))
    return published.write_folder(path, cells, labels=LABELS, n_outside=7, deleted=[11, 250])


@pytest.fixture
def folder(made, tmp_path):
    """A copy to change."""
    shutil.copytree(made.path, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def atlas(made, tmp_path_factory):
    with scim.scimilarity.import_atlas(made.path, tmp_path_factory.mktemp("atlas") / "a.scim") as atlas:
        yield atlas
