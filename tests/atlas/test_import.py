"""Atlases made from SOMA experiments in the schema of the CELLxGENE Census, and from embeddings."""

from __future__ import annotations

import numpy as np
import pytest

import scim
from helpers import census, fakes
from scim._core import FilterError


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    path = tmp_path_factory.mktemp("census") / "homo_sapiens"
    return path, census.write(path)


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    """An atlas of the whole experiment."""
    with scim.atlas.from_soma(
        experiment[0], tmp_path_factory.mktemp("out") / "a.scim", model=fakes.tiny_model()
    ) as atlas:
        yield atlas


def embedded(truth, model):
    import anndata

    adata = anndata.AnnData(
        truth.X, truth.obs.set_index(truth.obs.index.astype(str)), truth.var.set_index("feature_id")
    )
    scim.tl.embed(adata, model=model)
    return adata.obsm["X_scim"]


def test_cells_of_the_census_are_embedded(experiment, whole):
    _, truth = experiment
    obs = whole.obs()
    assert whole.n_obs == 120 == whole.index.n_rows
    np.testing.assert_array_equal(obs["source_joinid"], truth.obs["soma_joinid"])
    assert obs["study"].tolist() == truth.obs["dataset_id"].tolist()
    known = truth.obs["cell_type"] != "unknown"
    assert obs["label"][known].tolist() == truth.obs["cell_type"][known].tolist()
    assert obs["label_id"][known].tolist() == truth.obs["cell_type_ontology_term_id"][known].tolist()
    assert obs["label"][~known].isna().all()
    for name in ("tissue_general", "disease", "is_primary_data", "donor_id"):
        assert obs[name].tolist() == truth.obs[name].tolist()
    np.testing.assert_allclose(whole.embeddings(), embedded(truth, whole.model), atol=1e-6)
    assert scim.atlas.verify(whole.path) == []


def test_several_diseases_of_a_cell_are_found_each(experiment, whole):
    disease = experiment[1].obs["disease"]
    assert whole.select("disease == 'asthma'").tolist() == np.flatnonzero(disease.str.contains("asthma")).tolist()
    assert whole.select("disease == 'pulmonary fibrosis' and is_primary_data").size < 40


def test_a_part_by_value_and_its_counts(experiment, tmp_path):
    path, truth = experiment
    where = "tissue_general == 'lung' and is_primary_data == True and disease == 'asthma'"
    rows = truth.obs.query("tissue_general == 'lung' and is_primary_data and disease != 'normal'").index.to_numpy()
    with scim.atlas.from_soma(
        path, tmp_path / "a.scim", model=fakes.tiny_model(), where=where, columns=["sex"], counts=True
    ) as atlas:
        assert atlas.obs()["source_joinid"].tolist() == rows.tolist()
        assert atlas.columns == ["cell_id", "study", "label", "label_id", "sex", "source_joinid"]
        stored = atlas.snapshot.experiment.ms["RNA"].X["counts"].read().coos().concat().to_scipy().toarray()
        genes = atlas.snapshot.experiment.ms["RNA"].var.read().concat()["gene_id"].to_pylist()
        columns = [genes.index(name.split(".")[0]) for name in truth.var["feature_id"]]
        np.testing.assert_array_equal(stored[:, columns], truth.X[rows].toarray())
        atlas.reembed(fakes.tiny_model(seed=3))
        assert scim.atlas.verify(atlas.path) == []


def test_an_interrupted_import_resumes(experiment, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("scim.atlas._append._BLOCK_ROWS", 50)
    monkeypatch.setattr("scim.atlas._append._LEAST_ROWS", 50)

    def stop(self, n_done):
        reached(self, n_done)
        raise KeyboardInterrupt

    from scim.atlas.commit import Transaction

    reached = Transaction.reached
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "reached", stop)
        with pytest.raises(KeyboardInterrupt):
            scim.atlas.from_soma(experiment[0], tmp_path / "a.scim", model=fakes.tiny_model())
    done = []
    monkeypatch.setattr(Transaction, "reached", lambda self, n: (done.append(n), reached(self, n)))
    with scim.atlas.from_soma(experiment[0], tmp_path / "a.scim", model=fakes.tiny_model()) as atlas:
        assert done == [100, 120]
        np.testing.assert_allclose(atlas.embeddings(), whole.embeddings(), atol=1e-6)
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        scim.atlas.from_soma(experiment[0], tmp_path / "a.scim", model=fakes.tiny_model())


def test_errors_of_an_experiment(experiment, tmp_path):
    path, _ = experiment
    model = fakes.tiny_model()
    with pytest.raises(FileNotFoundError, match="no such folder; expected a SOMA experiment"):
        scim.atlas.from_soma(tmp_path / "nowhere", tmp_path / "a.scim", model=model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="is no SOMA experiment"):
        scim.atlas.from_soma(tmp_path / "empty", tmp_path / "a.scim", model=model)
    with pytest.raises(KeyError, match=r"layer='counts'.*Present"):
        scim.atlas.from_soma(path, tmp_path / "a.scim", model=model, layer="counts")
    with pytest.raises(FilterError, match="tissue_genral"):
        scim.atlas.from_soma(path, tmp_path / "a.scim", model=model, where="tissue_genral == 'lung'")
    with pytest.raises(KeyError, match="nope"):
        scim.atlas.from_soma(path, tmp_path / "a.scim", model=model, columns=["nope"])
    assert not (tmp_path / "a.scim").exists()


@pytest.mark.parametrize("kind", ["anndata", "h5ad", "experiment"])
def test_an_external_embedding_is_searched(experiment, tmp_path, kind):
    path, truth = experiment
    rows = truth.scvi / np.linalg.norm(truth.scvi, axis=1, keepdims=True)
    if kind == "experiment":
        atlas = scim.atlas.from_embedding(path, tmp_path / "a.scim", obsm="scvi")
    else:
        adata = fakes.cells(120)
        adata.obsm["X_scVI"] = truth.scvi
        adata.write_h5ad(tmp_path / "a.h5ad")
        data = adata if kind == "anndata" else tmp_path / "a.h5ad"
        atlas = scim.atlas.from_embedding(
            data, tmp_path / "a.scim", obsm="X_scVI", study="s", label_key="cell_type", columns=["tissue"]
        )
    with atlas:
        np.testing.assert_allclose(atlas.embeddings(), rows, atol=1e-6)
        assert (atlas.dim, atlas.model_uid) == (5, None)
        with pytest.raises(ValueError, match="has no model: its embedding was made elsewhere"):
            _ = atlas.model
        query = fakes.cells(20)
        query.obsm["X_scVI"] = truth.scvi[40:60]
        where = "tissue != 'blood'" if kind != "experiment" else "tissue_general == 'lung'"
        scim.tl.search(query, atlas, k=3, use_rep="X_scVI", where=where)
        assert (query.obsm["scim_search_ids"][1::2, 0] == np.arange(41, 60, 2)).all()
        scim.tl.annotate(query, atlas, use_rep="X_scVI", max_error=1.0)
        with pytest.raises(ValueError, match=r"name the embedding of the new ones with obsm="):
            atlas.append(fakes.cells(9), study="more")
        more = fakes.cells(9, seed=8)
        more.obsm["mine"] = np.ones((9, 5))
        atlas.append(more, study="more", obsm="mine")
        np.testing.assert_allclose(atlas.embeddings()[-9:], 5**-0.5, atol=1e-6)
        more.obsm["mine"] = np.ones((9, 4))
        with pytest.raises(ValueError, match="The embedding has 4 columns, that of the atlas 5"):
            atlas.append(more, study="again", obsm="mine")
        assert scim.atlas.verify(atlas.path) == []


def test_invalid_embeddings(tmp_path):
    adata = fakes.cells(20)
    with pytest.raises(KeyError, match="X_pca"):
        scim.atlas.from_embedding(adata, tmp_path / "a.scim", obsm="X_pca", study="s")
    adata.obsm["X_pca"] = np.where(np.eye(20, 3) > 0, np.nan, 1.0)
    with pytest.raises(ValueError, match="NaN or infinite"):
        scim.atlas.from_embedding(adata, tmp_path / "b.scim", obsm="X_pca", study="s")
    with pytest.raises(ValueError, match="where= is for experiments"):
        scim.atlas.from_embedding(adata, tmp_path / "a.scim", obsm="X_pca", study="s", where="n > 3")


def test_an_atlas_with_a_model_accepts_no_embedding(writable):
    adata = fakes.cells(20)
    adata.obsm["mine"] = np.ones((20, 16))
    with pytest.raises(ValueError, match="obsm= is for atlases that have no model"):
        writable.append(adata, study="a", obsm="mine")
