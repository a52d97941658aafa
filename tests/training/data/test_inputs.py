from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
import tiledbsoma

import scim
from helpers import census
from scim.io.cells import Cells
from scim.training.data._inputs import opened_inputs

COLUMNS = ["cell_type"]


def toy(n=6, seed=0):
    return scim.datasets.toy(n, rng=seed)


def n_open():
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)


def values(cells):
    X = cells.X[0 : cells.n_obs]
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


@pytest.fixture
def files(tmp_path):
    """One h5ad file and one zarr folder, of two seeds."""
    toy(seed=1).write_h5ad(tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anndata warns of its next default
        toy(seed=2).write_zarr(tmp_path / "b.zarr")
    return tmp_path / "a.h5ad", tmp_path / "b.zarr"


def names(data):
    with opened_inputs(data, COLUMNS) as cells:
        return list(cells)


def test_an_anndata_is_taken_as_it_is():
    adata = toy()
    with opened_inputs(adata, COLUMNS) as cells:
        assert list(cells) == ["study0"]
        assert cells["study0"] is adata


def test_files_have_their_names_and_values(files):
    for data in (list(files), tuple(files), [str(path) for path in files]):
        with opened_inputs(data, COLUMNS) as cells:
            assert list(cells) == ["a", "b"]
            for seed, one in enumerate(cells.values(), start=1):
                assert list(one.obs) == COLUMNS
                assert np.array_equal(values(one), toy(seed=seed).X.toarray())


def test_files_are_closed_at_the_end_and_after_an_error(files):
    before = n_open()
    with opened_inputs([*files, files[0]], COLUMNS) as cells:
        values(cells["a"])
        assert n_open() == before + 2
    assert n_open() == before
    with pytest.raises(FileNotFoundError, match="no such file"), opened_inputs([files[0], "gone.h5ad"], COLUMNS):
        pass
    assert n_open() == before
    with pytest.raises(KeyboardInterrupt), opened_inputs(files[0], COLUMNS):
        raise KeyboardInterrupt
    assert n_open() == before


def test_a_mapping_gives_names(files):
    assert names({"x": toy(), 5: files[0]}) == ["x", "5"]


def test_inputs_of_one_name_are_numbered(tmp_path):
    """`a 2.h5ad` has the name that the second `a.h5ad` would be given."""
    paths = [tmp_path / "one" / "a.h5ad", tmp_path / "a 2.h5ad", tmp_path / "two" / "a.h5ad"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        toy(seed=seed).write_h5ad(path)
    with opened_inputs(paths, COLUMNS) as cells:
        assert list(cells) == ["a", "a 2", "a 3"]
        for seed, one in enumerate(cells.values()):
            assert np.array_equal(values(one), toy(seed=seed).X.toarray())
    assert names({1: toy(), "1": toy()}) == ["1", "1 2"]
    assert names([toy(), toy()]) == ["study0", "study1"]


class Store:
    """An object with cells, in one part or in several."""

    def __init__(self, n_parts):
        self.n_parts, self.columns = n_parts, []

    def cells(self, columns):
        self.columns += columns
        return [Cells(toy(seed=i).obs[list(columns)], toy().var, lambda: toy().X) for i in range(self.n_parts)]


def test_a_store_that_has_cells():
    one, two = Store(1), Store(2)
    assert names({"one": one, "two": two, "two 1": toy()}) == ["one", "two 0", "two 1", "two 1 2"]
    assert one.columns == two.columns == COLUMNS


def test_cells_are_taken_as_they_are():
    [cells] = Store(1).cells(COLUMNS)
    with opened_inputs([cells], COLUMNS) as found:
        assert found["study0"] is cells


class Foreign:
    """An object of another package."""


def test_a_soma_experiment_is_read_by_rows(tmp_path):
    truth = census.write(tmp_path / "e", 30)
    with tiledbsoma.Experiment.open(str(tmp_path / "e")) as experiment:
        assert names({"far": experiment, "near": toy()}) == ["far", "near"]
        with opened_inputs(experiment, ["cell_type", "nnz"]) as inputs:
            (cells,) = inputs.values()
            labels = truth.obs["cell_type"]
            assert cells.obs_names.tolist() == [str(i) for i in range(30)]
            assert cells.obs["cell_type"].isna().tolist() == (labels == "unknown").tolist()
            assert cells.obs["cell_type"].dropna().tolist() == labels[labels != "unknown"].tolist()
            assert cells.var_names.tolist() == truth.var["feature_id"].tolist()
            np.testing.assert_array_equal(cells.X[5:20].toarray(), truth.X[5:20].toarray())
        with pytest.raises(TypeError, match=r"got Collection, which has \['RNA'\]: pass the experiment in it"):
            names(experiment.ms)


def test_other_objects_are_refused():
    for one in (Foreign(), 5, None, {"a": None}, [toy(), None]):
        with pytest.raises(TypeError, match="Expected an AnnData, got (Foreign|int|NoneType)"):
            names(one)


@pytest.mark.parametrize("nothing", [[], (), {}])
def test_empty_input_is_refused(nothing):
    with pytest.raises(ValueError, match="at least one AnnData to train on, got none"):
        names(nothing)


def test_the_path_of_an_atlas_is_refused(tmp_path):
    path = tmp_path / "toy.scim"
    path.mkdir()
    (path / "atlas.json").touch()
    for one in (path, str(path)):
        with pytest.raises(TypeError, match=r"toy\.scim' is an atlas; pass it open: scim\.atlas\.open\('.*toy\.scim'"):
            names(one)


def test_a_column_that_a_file_lacks_is_named(files):
    with pytest.raises(KeyError, match=r"a\.h5ad' has no column \['donor'\]"), opened_inputs(files[0], ["donor"]):
        pass
