from __future__ import annotations

import pytest

import scim
from helpers import imported
from scim.scimilarity.classes import CellAnnotation, CellQuery, align_dataset, lognorm_counts


@pytest.fixture(scope="session")
def imported_path(tmp_path_factory):
    """An atlas with the columns of an import; nobody writes into it."""
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
    """Their embeddings."""
    return imported.model().encode(prepared.X)
