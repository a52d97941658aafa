from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tiledbsoma
import tiledbsoma.io

import scim
from helpers import census
from scim._core import FilterError, FormatError
from scim.atlas._source import read_experiment
from scim.io.cells import Experiment, SparseRows
from scim.io.cells._experiment import DenseRows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("census") / "homo_sapiens"
    return str(path), census.write(path)


@pytest.fixture
def experiment(written):
    with tiledbsoma.Experiment.open(written[0]) as opened:
        yield opened


@pytest.fixture
def truth(written):
    return written[1]


def test_all_cells_with_the_defaults(experiment, truth):
    source = read_experiment(experiment)
    obs, X = truth.obs, truth.X
    assert list(source.obs) == [
        "cell_id", "study", "label", "label_id", "assay", "suspension_type", "tissue", "tissue_general", "disease",
        "donor_id", "sex", "development_stage", "self_reported_ethnicity", "is_primary_data", "source_joinid",
    ]  # fmt: skip
    assert source.obs["cell_id"].tolist() == [str(i) for i in range(120)]
    assert source.obs["study"].tolist() == obs["dataset_id"].tolist()
    labelled = (obs["cell_type"] != "unknown").to_numpy()
    assert source.obs["label"].notna().tolist() == labelled.tolist()
    assert source.obs["label"][labelled].tolist() == obs["cell_type"][labelled].tolist()
    assert source.obs["label_id"][labelled].tolist() == obs["cell_type_ontology_term_id"][labelled].tolist()
    for name in ("assay", "disease", "donor_id", "is_primary_data"):
        assert source.obs[name].tolist() == obs[name].tolist()
    ethnicity = source.obs["self_reported_ethnicity"]
    assert isinstance(ethnicity.dtype, pd.CategoricalDtype)
    assert ethnicity.isna().tolist() == obs["self_reported_ethnicity"].isna().tolist()
    assert source.obs["source_joinid"].tolist() == list(range(120))
    assert source.obs["source_joinid"].dtype == np.int64
    assert (source.counts.source, source.counts.kind, source.embedding) == ("X['raw']", "counts", None)
    assert isinstance(source.counts.matrix, SparseRows)
    np.testing.assert_array_equal(source.counts.rows(0, 120).toarray(), X.toarray())
    assert source.counts.var.index.tolist() == truth.var["feature_id"].tolist()
    assert source.counts.var["feature_name"].tolist() == truth.var["feature_name"].tolist()


def test_genes_and_embeddings_are_those_of_the_cells_in_memory(experiment):
    from helpers import fakes

    counts = read_experiment(experiment).counts
    adata, model = scim.datasets.toy(120, rng=4), fakes.tiny_model()
    genes = scim.pp.match_genes(counts.var, model.genes)
    assert (genes.kind, genes.share) == ("ensembl", 1.0)
    expected = model.embed(scim.pp.find_counts(adata), scim.pp.match_genes(adata.var, model.genes))
    np.testing.assert_allclose(model.embed(counts, genes), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("where", "mask"),
    [
        ("disease == 'asthma'", lambda obs: obs["disease"].str.contains("asthma")),
        ("disease == 'pulmonary fibrosis'", lambda obs: obs["disease"].str.contains("fibrosis")),
        ("is_primary_data and tissue_general in ['lung']", lambda obs: obs["is_primary_data"] & (obs["tissue"] != "blood")),
        ("raw_sum > 200 and not cell_type == 'unknown'", lambda obs: (obs["raw_sum"] > 200) & (obs["cell_type"] != "unknown")),
        ("soma_joinid >= 37 and soma_joinid < 80", lambda obs: obs["soma_joinid"].between(37, 79)),
        ("dataset_id == 'd-two' or donor_id == 'donor 0'", lambda obs: obs["dataset_id"].eq("d-two") | obs["donor_id"].eq("donor 0")),
        ("observation_joinid == '1f-cell'", lambda obs: obs["soma_joinid"] == 31),
        ("self_reported_ethnicity == None", lambda obs: obs["self_reported_ethnicity"].isna()),
        ("self_reported_ethnicity != 'unknown' or raw_sum == None", lambda obs: obs["self_reported_ethnicity"].isna() | obs["raw_sum"].isna()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layer", ["raw", "dense"])
def test_a_filter_chooses_cells_and_their_rows(experiment, truth, where, mask, layer):
    ids = np.flatnonzero(mask(truth.obs).to_numpy())
    assert 0 < ids.size < 120
    source = read_experiment(experiment, where=where, layer=layer)
    assert source.obs["source_joinid"].tolist() == ids.tolist()
    assert source.obs["cell_id"].tolist() == [str(i) for i in ids]
    assert source.obs["donor_id"].tolist() == truth.obs["donor_id"].iloc[ids].tolist()
    expected = truth.X[ids].toarray()
    for start, stop in [(0, ids.size), (0, 1), (ids.size // 2, ids.size), (1, 1)]:
        np.testing.assert_array_equal(source.counts.rows(start, stop).toarray(), expected[start:stop])


def test_reading_in_many_batches_changes_nothing(experiment, monkeypatch):
    once = read_experiment(experiment, where="disease == 'asthma'")
    real, batches = Experiment._batches, []

    def small(self, columns, ids):
        for table in real(self, columns, ids):
            for start in range(0, len(table), 17):
                batches.append(table.slice(start, 17))
                yield batches[-1]

    monkeypatch.setattr(Experiment, "_batches", small)
    monkeypatch.setattr("scim.io.cells._experiment.BUFFER_BYTES", 4096)
    again = read_experiment(experiment, where="disease == 'asthma'")
    assert len(batches) > 10
    pd.testing.assert_frame_equal(once.obs, again.obs, check_categorical=False)
    assert once.token == again.token
    np.testing.assert_array_equal(once.counts.rows(0, 80).toarray(), again.counts.rows(0, 80).toarray())


def test_batches_are_small_whatever_the_buffers_of_the_caller(experiment, monkeypatch):
    monkeypatch.setattr("scim.io.cells._experiment.BUFFER_BYTES", 512)
    sizes = [len(frame) for frame in Experiment(experiment).frames(["sex"])]
    assert sum(sizes) == 120
    assert max(sizes) <= 512 // 8


def test_few_cells_are_read_by_their_ids(experiment, monkeypatch):
    ids, cells = np.array([3, 70]), Experiment(experiment)
    monkeypatch.setattr("scim.io.cells._experiment._FEW", 0.5)
    few = cells.read(["sex", "nnz"], ids).obs
    monkeypatch.setattr("scim.io.cells._experiment._FEW", 0.0)
    pd.testing.assert_frame_equal(few, cells.read(["sex", "nnz"], ids).obs)
    assert few.index.tolist() == [3, 70]


def test_columns_study_and_labels_are_selected(experiment, truth):
    source = read_experiment(
        experiment, study="mine", label_key="cell_type", columns=["nnz", "raw_sum", "observation_joinid", "soma_joinid"]
    )
    assert list(source.obs)[4:] == ["nnz", "raw_sum", "observation_joinid", "source_joinid"]
    assert set(source.obs["study"]) == {"mine"}
    assert source.obs["nnz"].tolist() == truth.obs["nnz"].tolist()
    np.testing.assert_array_equal(source.obs["raw_sum"].to_numpy(), truth.obs["raw_sum"].to_numpy())
    assert source.obs["observation_joinid"].tolist() == truth.obs["observation_joinid"].tolist()
    assert source.obs["observation_joinid"].dtype == object
    assert source.obs["label"].isna().sum() == (truth.obs["cell_type"] == "unknown").sum()
    assert read_experiment(experiment, label_key=None, columns=[]).obs["label"].isna().all()


def test_embeddings_dense_and_sparse(experiment, truth):
    source = read_experiment(experiment, obsm="scvi", where="disease == 'asthma'")
    ids = source.obs["source_joinid"].to_numpy()
    assert source.counts is None
    assert isinstance(source.embedding, DenseRows)
    assert source.embedding.shape == (ids.size, 5)
    np.testing.assert_array_equal(source.embedding[10:40], truth.scvi[ids][10:40])
    assert source.embedding[3:3].shape == (0, 5)
    some = read_experiment(experiment, obsm="some")
    np.testing.assert_array_equal(some.embedding[0:100], truth.scvi[:100])
    with pytest.raises(ValueError, match=r"12 of 20 cells have no values in .*some'; leave them out with where="):
        _ = some.embedding[100:120]


def test_tokens_change_with_arguments_and_content(tmp_path):
    census.write(tmp_path / "e", 30)
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as experiment:
        tokens = [
            read_experiment(experiment, **given).token
            for given in ({}, {"where": "is_primary_data"}, {"obsm": "scvi"}, {"study": "s"}, {"columns": []})
        ]
        assert read_experiment(experiment).token == tokens[0]
    assert all(one != other for one, other in itertools.combinations(tokens, 2))
    with tiledbsoma.Experiment.open(str(tmp_path / "e"), "w") as experiment:
        triple = {"soma_dim_0": pa.array([0]), "soma_dim_1": pa.array([0]), "soma_data": pa.array([9.0], pa.float32())}
        experiment.ms["RNA"].X["raw"].write(pa.table(triple))
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as experiment:
        assert read_experiment(experiment).token != tokens[0]


def test_names_of_cells_are_kept(tmp_path):
    adata = scim.datasets.toy(12)
    adata.obs["dataset_id"] = "d"
    tiledbsoma.io.from_anndata(str(tmp_path / "e"), adata, measurement_name="RNA", X_layer_name="raw")
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as experiment:
        source = read_experiment(experiment, label_key="cell_type", columns=["sample"])
    assert source.obs["cell_id"].tolist() == adata.obs_names.tolist()
    assert source.obs["sample"].tolist() == adata.obs["sample"].tolist()
    assert source.counts.var.index.tolist() == adata.var_names.tolist()


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (KeyError, r"measurement='ATAC' is not in the experiment. Present: \['RNA'\]", {"measurement": "ATAC"}),
        (KeyError, r"layer='counts' is not in X of measurement 'RNA'. Present: \['dense', 'raw'\]", {"layer": "counts"}),
        (KeyError, r"obsm='pca' is not in obsm of measurement 'RNA'. Present: \['scvi', 'some'\]", {"obsm": "pca"}),
        (KeyError, r"obs has no column \['batch'\]. Present: \['soma_joinid', 'dataset_id'", {"study_key": "batch"}),
        (KeyError, r"obs has no column \['x', 'y'\]", {"columns": ["sex", "x", "y"]}),
        (FilterError, "there is no column 'tisue'. Did you mean 'tissue'", {"where": "tisue == 'lung'"}),
        (FilterError, "no cell has tissue_general == 'lnug'; did you mean 'lung'", {"where": "tissue_general == 'lnug'"}),
        (FilterError, "column 'nnz' holds numbers, got 'a'", {"where": "nnz == 'a'"}),
        (ValueError, r"No cell of '.*obs' passes where='nnz < 0'; widen it", {"where": "nnz < 0"}),
        (ValueError, "Expected study= .* got neither", {"study_key": None}),
    ],
)  # fmt: skip
def test_bad_arguments(experiment, error, message, arguments):
    with pytest.raises(error, match=message):
        read_experiment(experiment, **arguments)


def test_objects_that_are_not_an_open_experiment(experiment, tmp_path):
    with pytest.raises(TypeError, match=r"Expected a tiledbsoma.Experiment, got str; open one with tiledbsoma.Exp"):
        read_experiment(experiment.uri)
    with pytest.raises(TypeError, match=r"got Collection, which has \['RNA'\]: pass the experiment in it"):
        read_experiment(experiment.ms)
    with pytest.raises(TypeError, match="got DataFrame"):
        read_experiment(experiment.obs)
    closed = tiledbsoma.Experiment.open(experiment.uri)
    closed.close()
    with pytest.raises(ValueError, match=r"is closed; open it for reading"):
        read_experiment(closed)
    with (
        tiledbsoma.Experiment.open(experiment.uri, "w") as writing,
        pytest.raises(ValueError, match=r"is open with mode 'w'; open it for reading"),
    ):
        read_experiment(writing)
    with tiledbsoma.Experiment.create(str(tmp_path / "e")) as empty:
        empty.add_new_collection("other")
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as empty, pytest.raises(KeyError, match=r"Present: \[\]"):
        read_experiment(empty)


@pytest.mark.parametrize("part", ["obs", "ms/RNA/var", "ms/RNA/X/raw", "ms/RNA/obsm/scvi"])
def test_damage_names_the_experiment(tmp_path, part):
    census.write(tmp_path / "e", 30)
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as experiment:
        for file in (tmp_path / "e" / part / "__fragments").rglob("*.tdb"):
            file.write_bytes(file.read_bytes()[:40])
        with pytest.raises(FormatError, match=r"e.* cannot be read: .*; restore it from a copy"):
            read_experiment(experiment, obsm="scvi" if "obsm" in part else None).embedding[0:3]
