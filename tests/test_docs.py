"""The pages that need no file of the user run unchanged."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import scim
from helpers import census, fakes, package_names, published

DOCS = Path(__file__).parents[1] / "docs"


def run_page(name, folder, *, without="\0", least=4):
    """Run the Python of a page, `least` blocks, but for those that have `without`; return its variables."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    assert len(blocks) >= least
    blocks = [block for block in blocks if without not in block]
    script = folder / "page.py"
    script.write_text("\n".join(blocks))
    return runpy.run_path(str(script))


@pytest.mark.filterwarnings("ignore")  # small studies of few genes
def test_training_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate("abc"):
        fakes.cells(60, seed=i).write_h5ad(f"{name}.h5ad")
    fakes.cells(60, seed=2).write_zarr("c.zarr")
    train = scim.model.train

    def short(*data, config=None, **how):
        small = {"n_members": 1, "n_steps": 6, "batch_size": 30, "validate_every": 3}
        config = dataclasses.replace(scim.model.TrainConfig() if config is None else config, **small)
        return train(*data, **how, config=config, model=scim.model.ModelConfig(hidden=(8,), latent_dim=4))

    monkeypatch.setattr(scim.model, "train", short)
    found = run_page("training.md", tmp_path)
    assert scim.model.load("my_model").n_genes == found["model"].n_genes
    assert [look["step"] for look in found["model"].metadata["validation"]] == [3, 6]
    assert (tmp_path / "training_of_my_model" / "log").is_dir()
    assert found["small"].config.hidden == ()
    assert set(found["found"].studies["study"]) == {"a", "b", "c"}


@pytest.mark.filterwarnings("ignore")  # toy cells have a hundred genes, and one of them no counts
def test_the_page_of_your_file_runs_and_names_all_that_the_record_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(scim.settings, "atlas", None)
    found = run_page("your_file.md", tmp_path, least=3)
    page = (DOCS / "your_file.md").read_text()
    assert [entry for entry in found["record"] if f"`{entry}`" not in page] == []
    assert found["record"]["repairs"] in page
    assert found["adata"].obs["scim_label"].isna()["cell0"]
    np.testing.assert_allclose(found["logged"].obsm["X_scim"], found["adata"].obsm["X_scim"], atol=1e-4)


@pytest.fixture(scope="module")
def many_cells():
    """10,000 toy cells: beyond 8,192, scanpy finds neighbours with another package."""
    adata = scim.datasets.toy(10_000)
    adata.obs["bulk_labels"] = adata.obs["cell_type"].map(lambda name: "CD19+ B" if name == "B cell" else name)
    return adata


@pytest.mark.slow
# toy cells have a hundred genes; the other warnings are scanpy's and umap's
@pytest.mark.filterwarnings("ignore")
def test_the_readme_runs(many_cells, tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scim.settings, "atlas", None)
    many_cells.write_h5ad("query.h5ad")
    [block] = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
    Path("readme.py").write_text(block)
    adata = runpy.run_path("readme.py")["adata"]
    assert adata.obs["scim_label_group"].notna().mean() > 0.9
    assert set(adata.uns["scim_search"]["groups"]) == set(adata.obs["leiden"])
    assert {"X_scim", "X_umap"} <= set(adata.obsm)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
def test_the_quickstart_runs_on_many_cells(many_cells, tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(scim.settings, "atlas", None)
    monkeypatch.setattr(scim.datasets, "pbmc68k", many_cells.copy)
    adata = run_page("quickstart.md", tmp_path)["adata"]
    assert adata.obs["scim_label"].notna().mean() > 0.9
    assert adata.n_obs == 10_000


# The page states that its small file has neither counts nor many genes; the others are scanpy's and umap's.
@pytest.mark.filterwarnings("ignore")
def test_the_quickstart_runs(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(scim.settings, "atlas", None)
    adata = run_page("quickstart.md", tmp_path)["adata"]
    assert adata.obs["scim_label"].notna().mean() > 0.9
    assert set(adata.uns["scim_search"]["groups"]) == set(adata.obs["bulk_labels"])


@pytest.mark.filterwarnings("ignore")
def test_the_page_on_confidence_runs(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(scim.settings, "atlas", None)
    adata = run_page("confidence.md", tmp_path)["adata"]
    assert set(adata.obs["coarse"].dropna()) <= {"T cell", "B cell", "natural killer cell", "monocyte"}
    assert adata.obs["scim_label_confidence"].between(0, 1).all()


def test_label_transfer_on_arrays_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_page("label_transfer.md", tmp_path)
    prediction, truth = found["prediction"], found["labels"][600:]
    parts = [
        scim.ontology.is_descendant([name], [label])[0, 0]
        for name, label in zip(prediction.labels, truth, strict=True)
        if name
    ]
    assert np.mean(parts) > 0.9
    assert found["loaded"].predict(found["X"][600:]).labels.tolist() == prediction.labels.tolist()
    assert found["indexed"].calibration.n_studies == 3


def test_search_of_any_embedding_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_page("search_any_embedding.md", tmp_path)
    X, obs, ids = found["X"], found["obs"], found["hits"].ids
    assert ((obs["tissue"].to_numpy()[ids] == "lung") & (obs["age"].to_numpy()[ids] >= 40)).all()
    exact = scim.index.build(X, obs=obs, kind="exact").query(X[:100], 50, where="tissue == 'lung' and age >= 40").ids
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(ids, exact, strict=True)]) / 50 > 0.97
    assert (tmp_path / "my_grown_index" / "index.json").exists()


@pytest.mark.filterwarnings("ignore")  # small studies of few genes, and scanpy's own
def test_your_own_atlas_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scim.settings, "atlas", None)
    for i, name in enumerate("abc"):
        fakes.cells(40, seed=i).write_h5ad(f"{name}.h5ad")
    fakes.cells(40, seed=5).write_zarr("d.zarr")
    mine = fakes.cells(40, seed=6)
    mine.obsm["X_scVI"] = np.random.default_rng(0).normal(size=(40, 5))
    mine.write_h5ad("mine.h5ad")
    census.write(tmp_path / "census" / "census_data" / "homo_sapiens")
    fakes.tiny_model(seed=4).save("better_model")
    monkeypatch.setattr(scim.model, "train", lambda *_args, **_how: fakes.tiny_model())
    monkeypatch.setattr("builtins.query", fakes.cells(20, seed=7), raising=False)  # the page calls it so
    ranking = run_page("your_own_atlas.md", tmp_path, without="settings.storage")["ranking"]
    first = ranking[ranking["rank"] == 1].set_index("query")
    assert (first.loc["GABAergic neuron", "system"], first.loc["glutamatergic neuron", "system"]) == (
        "Tran 2021",
        "Allen 2018",
    )
    assert first.loc["GABAergic neuron", "quantile"] < 0.05 < 0.7 < first.loc["radial glial cell", "low"]
    assert scim.atlas.verify("my.scim") == []
    with scim.atlas.open("my.scim") as atlas:
        assert atlas.info()["studies"] == {"a": 40, "c": 40, "d": 40}
        assert atlas.model_uid == fakes.tiny_model(seed=4).uid
    with scim.atlas.open("lung.scim") as atlas:
        assert set(atlas.obs()["tissue_general"]) == {"lung"}
    assert scim.atlas.open("mine.scim").dim == 5


def test_coming_from_scimilarity_names_every_call():
    words = set(re.findall(r"\w+", (DOCS / "coming_from_scimilarity.md").read_text()))
    names = {name for names in package_names.NAMES.values() for name in names}
    assert sorted(names - words) == []
    assert len(names) > 70


@pytest.mark.filterwarnings("ignore")  # small studies of few genes, and scanpy's own
def test_coming_from_scimilarity_runs(tmp_path, monkeypatch):
    pytest.importorskip("tiledb")
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    query = scim.datasets.toy(60, rng=3)
    labels = ("B cell", "T cell", "natural killer cell", "platelet", "classical monocyte", "type B pancreatic cell")
    cells = published.Cells(600, n_labels=len(labels))
    published.write_folder(tmp_path / "model_v1.1", cells, genes=query.var_names.tolist(), labels=labels)
    query.write_h5ad("query.h5ad")
    found = run_page("coming_from_scimilarity.md", tmp_path)
    before, now = found["data"].obs["celltype_hint"], found["adata"].obs["as_before"]
    assert before.tolist() == now.tolist()  # these labels have no other names today
    assert set(before) <= set(labels)
    np.testing.assert_allclose(found["shares"][:, 0], found["data"].obs["celltype_hint_stat"], atol=1e-6)
    assert set(found["predictions"]) <= {"T cell", "B cell"}
