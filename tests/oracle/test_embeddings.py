"""1,000 real cells of five files, a network of full shape: the same embeddings as the package's."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import published
from oracle.conftest import with_counts

FILES = ("zheng_facs", "pbmc3k", "baron_human234", "pbmc_donorA_unlabelled", "pbmc_8studies_unlabelled")
N_CELLS = 200  # of each file
TOLERANCE = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore::scim._core.errors.ScimWarning")


@pytest.fixture(scope="module")
def model(full_shape):
    return scim.scimilarity.import_model(full_shape)


@pytest.fixture(scope="module", params=FILES)
def package_query(request, data_folder, full_shape, package_output, tmp_path_factory):
    """Cells of a file, and their embeddings by the package."""
    name = request.param
    if name in published.LABELLED:
        adata = published.read_cells(data_folder, name)
    else:
        adata = anndata.read_h5ad(data_folder / f"{name}.h5ad")
    some = np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:N_CELLS])
    cells = with_counts(adata[some])
    path = tmp_path_factory.mktemp("cells") / f"{name}.h5ad"
    cells.write_h5ad(path)
    return cells, package_output(full_shape, path, "embed")


def test_tl_embed_gives_the_packages_embeddings(package_query, model, full_shape):
    cells, package = package_query
    cells = cells[:, cells.var_names.isin(model.metadata["gene_order"])].copy()
    scim.tl.embed(cells, model=model)
    np.testing.assert_allclose(cells.obsm["X_scim"], package["embeddings"], atol=TOLERANCE, rtol=0)


def test_the_encoder_gives_the_packages_embeddings(package_query, model):
    _, package = package_query
    np.testing.assert_allclose(model.encode(package["X"]), package["embeddings"], atol=TOLERANCE, rtol=0)


def test_the_classes_give_the_packages_embeddings(package_query, full_shape):
    from oracle.package import outputs
    from scim import scimilarity

    cells, package = package_query
    ours = outputs.embed(scimilarity, str(full_shape), cells.copy())
    np.testing.assert_allclose(ours["X"].toarray(), package["X"], rtol=1e-5)
    np.testing.assert_allclose(ours["embeddings"], package["embeddings"], atol=TOLERANCE, rtol=0)


def test_every_gene_that_the_package_finds_is_found(package_query, model):
    """By their current names, and renamed genes too, which the package leaves at zero."""
    cells, _ = package_query
    order = pd.Index(model.metadata["gene_order"])
    theirs = order.isin(cells.var_names)
    ours = scim.pp.match_genes(cells.var, model.genes).observed
    assert order[theirs & ~ours].tolist() == []
    assert ours.sum() > theirs.sum()


def test_renamed_genes_move_a_cell_a_little(package_query, model):
    """The additional names of tl.embed change embeddings by less than cells differ."""
    cells, package = package_query
    whole = cells.copy()
    scim.tl.embed(whole, model=model)
    moved = 1 - (whole.obsm["X_scim"] * package["embeddings"]).sum(axis=1)
    apart = 1 - package["embeddings"] @ package["embeddings"].T
    assert np.median(moved) < 0.1 * np.median(apart)


def test_the_embeddings_vary(data_folder, model):
    """Otherwise equal embeddings would be no evidence."""
    X = model.encode(published.real_cells(data_folder, model.metadata["gene_order"], 200, seed=5).X)
    apart = 1 - X @ X.T
    assert np.median(apart) > 0.1
    assert apart.max() > 0.5


def test_the_decoder_is_the_packages(full_shape, model):
    """The layers of the file, computed by torch step by step, give the same values."""
    import torch

    state = torch.load(full_shape / "decoder.ckpt", weights_only=True)["state_dict"]
    Z = np.random.default_rng(0).normal(size=(5, model.latent_dim)).astype(np.float32)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    x = torch.from_numpy(Z)
    for i in range(3):
        at = min(i, 1)
        x = torch.nn.functional.linear(x, state[f"network.{i}.{at}.weight"], state[f"network.{i}.{at}.bias"])
        norm = [state[f"network.{i}.{at + 1}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = torch.nn.functional.batch_norm(x, *norm)
        x = torch.nn.functional.prelu(x, state[f"network.{i}.{at + 2}.weight"])
    x = torch.nn.functional.linear(x, state["network.3.weight"], state["network.3.bias"])
    np.testing.assert_allclose(model.decode(Z), x.numpy(), atol=1e-5)
