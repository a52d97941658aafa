from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import scim
from helpers import fakes, imported
from helpers.published import embed, random_encoder, write_model
from scim._core import ScimWarning
from scim.scimilarity import CellEmbedding


@pytest.fixture(scope="module")
def ce(imported_path):
    return CellEmbedding(str(imported_path))


def test_attributes(ce, imported_path):
    assert ce.gene_order == scim.datasets.toy(3).var_names.tolist()
    assert (ce.n_genes, ce.latent_dim) == (len(ce.gene_order), 16)
    assert (ce.model_path, ce.use_gpu) == (str(imported_path), False)
    assert ce.int2label == {0: "B cell", 1: "T lymphocyte of old", 2: "classical monocyte"}
    assert ce.label2int["classical monocyte"] == 2
    assert not ce.model.training


@pytest.mark.parametrize(
    "form",
    [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array, torch.from_numpy, lambda X: X.astype(float)],
)
def test_any_matrix_gives_what_the_encoder_gives(ce, prepared, form):
    dense = prepared.X.toarray()
    with torch.inference_mode():
        expected = ce.model(torch.from_numpy(dense)).numpy()
    found = ce.get_embeddings(form(dense), buffer_size=7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(ce.get_embeddings(form(dense), num_cells=5), found[:5], atol=1e-6)


def test_a_model_folder_does_as_well(tmp_path, ce, prepared):
    imported.model().save(tmp_path / "model")
    other = CellEmbedding(tmp_path / "model")
    np.testing.assert_array_equal(other.get_embeddings(prepared.X), ce.get_embeddings(prepared.X))
    fakes.tiny_model().save(tmp_path / "ours")  # not an imported one: symbols and labels are its own
    assert CellEmbedding(tmp_path / "ours").gene_order == fakes.tiny_model().symbols.tolist()


def test_a_published_folder_does_as_well(tmp_path, ce, prepared):
    weights = random_encoder(ce.n_genes, (24, 12), 8)
    write_model(tmp_path, ce.gene_order, weights, labels=["T lymphocyte", "B cell"])
    with pytest.warns(ScimWarning, match="has no decoder"):
        found = CellEmbedding(tmp_path)
    assert (found.gene_order, found.latent_dim) == (ce.gene_order, 8)
    assert found.int2label == {0: "T lymphocyte", 1: "B cell"}
    np.testing.assert_allclose(found.get_embeddings(prepared.X), embed(weights, prepared.X.toarray()), atol=1e-5)


def test_an_open_atlas_does_as_well(imported_path, ce, prepared):
    with scim.atlas.open(imported_path) as atlas:
        found = CellEmbedding(atlas).get_embeddings(prepared.X)
    np.testing.assert_array_equal(found, ce.get_embeddings(prepared.X))


def test_bad_matrices(ce, prepared):
    with pytest.raises(TypeError, match="Expected a matrix of cells, sparse or dense, got list"):
        ce.get_embeddings([[0.0]])
    with pytest.raises(TypeError, match="got an array of float32 and shape"):
        ce.get_embeddings(prepared.X.toarray()[0])
    with pytest.raises(ValueError, match=f"Expected {ce.n_genes} columns"):
        ce.get_embeddings(prepared.X[:, :9])
    with pytest.raises(ValueError, match="Expected cells to embed"):
        ce.get_embeddings(prepared.X[:0])
    X = prepared.X.copy()
    X.data[3] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite; run lognorm_counts"):
        ce.get_embeddings(X)
    with pytest.raises(ValueError, match="num_cells must be at least 1"):
        ce.get_embeddings(prepared.X, num_cells=0)


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        CellEmbedding(tmp_path / "nowhere")
