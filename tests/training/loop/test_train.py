from __future__ import annotations

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from scim.model import ModelConfig, TrainConfig, train
from scim.training.data import combine, gathered, pick_genes

QUICK = TrainConfig(n_members=1, n_steps=3, batch_size=30)
SIZES = {"model": ModelConfig(hidden=(8,), latent_dim=4)}


def quick(**changes):
    return TrainConfig(**{"n_members": 1, "n_steps": 3, "batch_size": 30, **changes})


def toy(n_obs=60, seed=0, genes=slice(None)):
    return scim.datasets.toy(n_obs, rng=seed)[:, genes].copy()


def cells_of(adatas, **kwargs):
    with gathered(adatas, **{"label_key": "cell_type", "study_key": None, **kwargs}) as (sets, _):
        return combine(sets, pick_genes(sets, None, 200), max_memory=10**9)


def test_types_are_separated_across_studies_and_panels():
    """150 steps on toy cells, some seconds: the metric should hold on cells of an unseen panel."""
    full, panel = toy(90), toy(90, 1, slice(0, None, 2))
    model = train(
        {"full": full, "panel": panel},
        label_key="cell_type",
        config=TrainConfig(n_members=1, n_steps=150, batch_size=60, least_panel=20),
        rng=0,
        **SIZES,
    )
    other = toy(90, 2, slice(1, None, 2))
    Z = [model.embed(c := scim.pp.find_counts(a), scim.pp.match_genes(c.var, model.genes)) for a in (full, other)]
    nearest = (Z[1] @ Z[0].T).argmax(axis=1)
    found = full.obs["cell_type"].to_numpy()[nearest] == other.obs["cell_type"].to_numpy()
    assert found.mean() > 0.9
    assert np.allclose(np.linalg.norm(Z[0], axis=1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_model():
    adatas = [toy(), toy(seed=1)]
    a, b, c = (train(adatas, label_key="cell_type", config=QUICK, rng=seed, **SIZES).uid for seed in (0, 0, 1))
    assert a == b != c


def test_input_stays_as_it_is():
    adata = toy()
    before = adata.copy()
    train(adata, label_key="cell_type", study_key="sample", config=QUICK, rng=0, **SIZES)
    assert (adata.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert adata.uns.keys() == before.uns.keys()


@pytest.mark.parametrize(
    "change",
    [
        {"mining": "semihard"},
        {"mining": "hardest", "positives": "across"},
        {"n_members": 2, "l1": 1e-4},
        {"averaging": 0.0},
        {"reconstruction_weight": 0.0},
        {"mix": 0.0, "thin": 0.0, "random_panel": 0.0, "study_panel": 0.0},
    ],
)
def test_every_option_trains(change):
    config = TrainConfig(**{"n_members": 1, "n_steps": 3, "batch_size": 30, **change})
    model = train([toy(), toy(seed=1)], label_key="cell_type", config=config, rng=0, **SIZES)
    assert (model.decoder is None) == (config.reconstruction_weight == 0)
    assert model.metadata["training"]["mining"] == config.mining


def test_genes_that_are_not_measured_are_unknown():
    cells = cells_of([toy(), toy(genes=slice(0, 60))])
    assert cells.panels.sum(axis=1).tolist() == [111, 60]
    assert cells.X[np.arange(60, 120)][:, ~cells.panels[1]].nnz == 0


def test_genes_can_be_given_and_bounded():
    adata = toy()
    genes = adata.var_names[:70].tolist()
    keys = {"label_key": "cell_type", "study_key": "sample", "rng": 0}
    given = train(adata, config=quick(genes=genes), **keys, **SIZES)
    assert given.genes.tolist() == scim.pp.canonical_genes(genes).tolist()
    chosen = train(adata, config=QUICK, model=ModelConfig(64, (8,), 4), **keys)
    assert chosen.n_genes == 64


def test_synonyms_are_one_label():
    a, b = toy(), toy(seed=1)
    b.obs["cell_type"] = b.obs["cell_type"].astype(str).replace({"T cell": "CL:0000084", "B cell": "my B cells"})
    cells = cells_of([a, b])
    assert cells.labels.names == ("B cell", "T cell", "classical monocyte", "my B cells")
    assert cells.labels.ids == ("CL:0000236", "CL:0000084", "CL:0000860", None)


def test_cells_without_a_label_are_left_out():
    adata = toy()
    adata.obs.loc[adata.obs_names[:10], "cell_type"] = np.nan
    cells = cells_of(adata, study_key="sample")
    assert cells.X.shape[0] == len(cells.label) == 50


def test_a_mapping_names_the_studies():
    model = train({"a": toy(), "b": toy(seed=1)}, label_key="cell_type", config=QUICK, rng=0, **SIZES)
    assert model.metadata["studies"] == {"a": 60, "b": 60}


def with_obs(**columns):
    adata = toy()
    for name, values in columns.items():
        adata.obs[name] = values
    return adata


def disjoint():
    a, b = toy(), toy(seed=1)
    return [a[a.obs["cell_type"] == "B cell"].copy(), b[b.obs["cell_type"] != "B cell"].copy()]


@pytest.mark.parametrize(
    ("adatas", "kwargs", "error", "match"),
    [
        ("a.h5ad", {}, FileNotFoundError, "no such file"),
        (5, {}, TypeError, "Expected an AnnData"),
        ([], {}, ValueError, "at least one AnnData"),
        (toy(), {"label_key": "type"}, KeyError, "label_key='type' is not a column of obs.*cell_type"),
        (toy(), {"study_key": "donor"}, KeyError, "study_key='donor' is not a column"),
        (toy(), {}, ValueError, "Only the study 'study0' is left to train on, expected two or more; pass several"),
        (
            with_obs(one="x"),
            {"study_key": "one"},
            ValueError,
            "more studies \\(or donors\\) apart than obs\\['one'\\] does",
        ),
        (with_obs(cell_type=np.nan), {}, ValueError, "only missing values"),
        (with_obs(cell_type="T cell"), {"study_key": "sample"}, ValueError, "only the label 'T cell'"),
        (with_obs(donor=[np.nan, *["a"] * 59]), {"study_key": "donor"}, ValueError, "is missing for 1 labelled"),
        (disjoint(), {}, ValueError, "occurs in two studies"),
        (toy(), {"study_key": "sample", "config": quick(gene_key="symbol")}, KeyError, "gene_key='symbol'"),
        (toy(), {"study_key": "sample", "config": quick(layer="spliced")}, KeyError, "layer='spliced' not found"),
        (anndata.AnnData(-toy().X, obs=toy().obs), {"study_key": "sample"}, ValueError, "negative"),
        (
            toy(),
            {"study_key": "sample", "config": quick(genes=["CD3E", "ENSG00000198851"])},
            ValueError,
            "more than once",
        ),
        (toy(), {"study_key": "sample", "config": quick(genes=[f"g{i}" for i in range(60)])}, ValueError, "too few"),
        (
            toy(),
            {"study_key": "sample", "config": quick(objective="lda"), "checkpoint": "x"},
            ValueError,
            "takes no validation=",
        ),
    ],
)
def test_bad_input_is_named(adatas, kwargs, error, match):
    with pytest.raises(error, match=match):
        train(adatas, **{"label_key": "cell_type", "config": QUICK, **SIZES, **kwargs})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_steps": 0}, "n_steps must lie"),
        ({"warmup": 1.5}, "warmup must lie between 0.0 and 1"),
        ({"epoch": -1}, "epoch must lie between 0.0"),
        ({"objective": "svm"}, "objective must be one of"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least"),
        ({"mining": "easy"}, "mining must be one of"),
        ({"positives": "none"}, "positives must be one of"),
        ({"margin": -1}, "margin must lie"),
        ({"thin": 1.5}, "thin must lie between"),
    ],
)
def test_bad_options_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        TrainConfig(**change)


def test_dense_and_lognormalised_data_train():
    adata = toy()
    adata.X = adata.X.toarray()
    train(adata, label_key="cell_type", study_key="sample", config=QUICK, rng=0, **SIZES)
    logged = toy()
    logged.X = sparse.csr_matrix(np.log1p(logged.X.toarray() / logged.X.sum(1) * 1e4))
    with pytest.warns(UserWarning, match="log-normalised"):
        train([adata, logged], label_key="cell_type", config=QUICK, rng=0, **SIZES)


def test_genes_that_no_data_set_measured_are_left_out():
    """Their weights would stay at the initial values, and count in a query that measures these genes."""
    names = list(scim.datasets.toy(1).var_names)
    adatas = [toy(seed=i)[:, :80].copy() for i in range(2)]
    with pytest.warns(UserWarning, match=r"^31 of 111 genes= were measured in no data set, and are left out: \['ENSG"):
        model = train(adatas, label_key="cell_type", config=quick(genes=names), rng=0, **SIZES)
    assert model.n_genes == 80


def test_no_genes_are_refused():
    with pytest.raises(ValueError, match="genes must name at least one gene, got none"):
        train([toy(), toy(seed=1)], label_key="cell_type", config=quick(genes=[]), rng=0, **SIZES)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_several_members_of_fewer_cells_than_dimensions(hidden):
    config = TrainConfig(n_members=2, n_steps=3, batch_size=30)
    sizes = {"model": ModelConfig(hidden=hidden, latent_dim=40)}
    model = train([toy(12), toy(12, seed=1)], label_key="cell_type", config=config, rng=0, **sizes)
    assert model.config.hidden == tuple(2 * width for width in hidden)
    assert model.latent_dim == 40


def test_a_network_reads_at_least_one_gene():
    with pytest.raises(ValueError, match="n_genes must lie between 1"):
        ModelConfig(0)


def test_settings_of_reading_and_disk_are_not_the_recipe(tmp_path):
    recipe = quick(max_memory=0, scratch=tmp_path, checkpoint_every=7, layer="counts", genes=["CD3E"]).recipe()
    assert recipe == QUICK.recipe()
    assert recipe["n_steps"] == 3
    assert not {"max_memory", "scratch", "checkpoint_every", "layer", "gene_key", "genes"} & recipe.keys()


def test_the_recipe_of_the_paper():
    """Loss, mining, batches and optimiser of Heimberg et al. 2025; what they have no counterpart of is off."""
    config = TrainConfig.paper()
    published = {
        "objective": "triplet", "distance": "plain", "margin": 0.05, "mining": "semihard", "positives": "across",
        "per_anchor": None, "label_perturbation": 0.0, "objective_weight": 0.001, "reconstruction_weight": 0.999,
        "l1": 1e-4, "lr": 5e-3, "weight_decay": 0.01, "warmup": 0.0, "n_steps": 500 * 100, "batch_size": 1000,
        "epoch": 100, "sampling": "paper", "n_members": 1,
    }  # fmt: skip
    off = ("mix", "thin", "platform", "random_panel", "study_panel", "averaging")
    assert {name: getattr(config, name) for name in published} == published
    assert [getattr(config, name) for name in off] == [0.0] * len(off)
    assert TrainConfig.paper(n_steps=9).n_steps == 9


@pytest.mark.parametrize("package", ["lightning_fabric", "pytorch_metric_learning"])
def test_without_its_packages_training_names_the_extra_and_evaluation_works(package):
    """In a new process, because this one has imported them; seconds."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import scim.training.evaluation, scim.model\n"
        "scim.model.evaluate, scim.model.CellFilters\n"
        "try:\n    scim.model.train\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f'{package} is not installed; run: pip install "scim-atlas[train]".'
