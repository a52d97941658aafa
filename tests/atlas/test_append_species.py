from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiledbsoma
from anndata import AnnData

import scim
from helpers import census, fakes
from scim.atlas.commit import Transaction


@pytest.fixture
def cells():
    """The same cells with genes of a mouse and of a human."""
    return fakes.of_a_mouse(fakes.cells(30, seed=5))


def embedded(mouse, atlas):
    scim.tl.embed(mouse, atlas, species="mouse")
    return mouse.obsm["X_scim"]


def test_appended_as_embedded_from_memory_and_file(writable, cells, tmp_path):
    mouse, human = cells
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    writable.append(mouse, study="a", species="mouse")
    writable.append(tmp_path / "mouse.h5ad", study="b", species="mouse")
    writable.append(human, study="c")
    one, two, three = np.split(writable.embeddings(), 3)
    np.testing.assert_array_equal(one, embedded(mouse, writable))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one, three, atol=1e-6)


def test_counts_are_kept_under_human_genes(writable, cells):
    mouse, human = cells
    writable.append(human, study="a", counts=True)
    writable.append(mouse, study="b", species="mouse", counts=True)
    with tiledbsoma.open(str(writable.path / "soma")) as experiment:
        genes = experiment.ms["RNA"].var.read().concat()["gene_id"].to_pylist()
        X = experiment.ms["RNA"].X["counts"].read().coos().concat().to_scipy().toarray()
    known = [genes.index(gene) for gene in scim.pp.canonical_genes(human.var_names)]
    np.testing.assert_array_equal(X[:30, known], human.X.toarray())
    np.testing.assert_array_equal(X[30:, known], human.X.toarray())  # Rps27 and Rps27rt are RPS27
    assert X[:, genes.index("mouse:Gm42418")].tolist() == [0] * 30 + [1000] * 30
    assert X[30:].sum() == mouse.X.sum()
    writable.reembed(fakes.tiny_model(seed=3))  # by stored counts: the species need not be given again
    np.testing.assert_allclose(*np.split(writable.embeddings(), 2), atol=1e-6)


@pytest.mark.parametrize(("species", "error"), [("rat", ValueError), (["mouse"], TypeError)])
def test_an_invalid_species_leaves_the_atlas_unchanged(writable, cells, species, error, tmp_path):
    before = writable.version
    with pytest.raises(error, match="species.*expected|species must be"):
        writable.append(cells[0], study="a", species=species)
    assert writable.version == before
    with pytest.raises(error, match="species.*expected|species must be"):
        scim.atlas.from_soma(tmp_path / "nowhere", tmp_path / "out.scim", model=fakes.tiny_model(), species=species)
    assert not (tmp_path / "out.scim").exists()


@pytest.mark.parametrize("same", [True, False])
def test_an_interrupted_append_resumes_for_the_same_species_only(writable, tmp_path, monkeypatch, same):
    mouse, _ = fakes.of_a_mouse(fakes.cells(3000, seed=5))
    mouse.write_h5ad(tmp_path / "a.h5ad")
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 1024)
    reached, done = Transaction.reached, []

    def stop(transaction, n_done):
        reached(transaction, n_done)
        raise KeyboardInterrupt

    def count(transaction, n_done):
        reached(transaction, n_done)
        done.append(n_done)

    first = dict(zip(mouse.var_names, mouse.var_names.str.upper(), strict=True))
    with monkeypatch.context() as patch:
        patch.setattr("scim.atlas.commit.Transaction.reached", stop)
        with pytest.raises(KeyboardInterrupt):
            writable.append(tmp_path / "a.h5ad", study="a", species="mouse" if same else first)
        patch.setattr("scim.atlas.commit.Transaction.reached", count)
        writable.append(tmp_path / "a.h5ad", study="a", species="mouse")
    assert done == [1024, 2048, 3000][same:]
    np.testing.assert_array_equal(writable.embeddings(), embedded(mouse, writable))


def test_an_experiment_of_a_mouse(tmp_path):
    truth = census.write(tmp_path / "mus_musculus", mouse=True)
    with scim.atlas.from_soma(
        tmp_path / "mus_musculus", tmp_path / "a.scim", model=fakes.tiny_model(), species="mouse"
    ) as atlas:
        mouse = AnnData(truth.X, var=pd.DataFrame(index=truth.var["feature_name"].astype(str).to_numpy()))
        np.testing.assert_allclose(atlas.embeddings(), embedded(mouse, atlas), atol=1e-6)
