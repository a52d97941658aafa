"""Counts of a sample of the labelled cells are kept from an append on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import changes, fakes
from scim.atlas import _samples
from scim.atlas._samples import draw, read_ids, read_sample
from scim.atlas.commit import load_arrays


def samples_of(atlas):
    """All samples of an atlas."""
    manifest = atlas.snapshot.manifest
    return [read_sample(atlas.snapshot.storage, entry, manifest.n_rows) for entry in manifest.samples]


@pytest.fixture
def few(monkeypatch):
    """At most three cells of a label in a study are sampled."""
    monkeypatch.setattr(_samples, "_OF_A_PAIR", 3)


def test_pairs_are_drawn_evenly(monkeypatch):
    pairs = np.array([0, -1, 1, 0, 0, 0, 0, 0, 2, -1])
    monkeypatch.setattr(_samples, "_OF_A_PAIR", 3)
    assert np.flatnonzero(draw(pairs)).tolist() == [0, 2, 4, 6, 8]
    assert not draw(np.full(5, -1)).any()
    assert not draw(np.empty(0, dtype=np.int64)).any()


def test_many_pairs_have_fewer_cells(monkeypatch):
    monkeypatch.setattr(_samples, "MOST_CELLS", 20)
    pairs = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 2, 30, 1]))
    drawn = np.bincount(pairs[draw(pairs)])
    assert drawn.tolist() == [8, 2, 8, 1]


def test_the_counts_of_labelled_cells_are_kept(writable, few):
    cells = fakes.cells(60, seed=2)
    cells.obs["cell_type"] = cells.obs["cell_type"].where(cells.obs["n"] % 7 != 0)
    writable.append(cells, study="one", label_key="cell_type", obs_columns=["n"])
    (sample,) = samples_of(writable)
    obs = writable.obs(sample.ids)
    assert obs["label"].value_counts().to_dict() == dict.fromkeys(obs["label"].unique(), 3)
    assert obs["label"].notna().all()
    assert (np.diff(sample.ids) > 0).all()
    expected = cells[obs["n"].to_numpy(dtype=int)].to_df().set_axis(scim.pp.canonical_genes(cells.var_names), axis=1)
    np.testing.assert_array_equal(sample.counts.toarray(), expected[sample.genes])
    (entry,) = writable.snapshot.manifest.samples
    assert (entry.name, entry.n) == ("samples/000002-0.npz", len(sample.ids))
    arrays = load_arrays(writable.snapshot.storage, entry)
    assert arrays["counts"].dtype == np.uint16
    assert not any(array.dtype.hasobject for array in arrays.values())
    with np.load(writable.path / entry.name) as archive:  # a plain npz
        assert set(archive.files) == set(arrays)


def test_columns_of_one_gene_are_summed_and_unknown_genes_left_out(writable):
    cells = fakes.cells(40, seed=2)
    twice = cells[:, [0, 1]].copy()
    twice.var_names = scim.pp.canonical_genes(twice.var_names)
    strange = cells[:, [2]].copy()
    strange.var_names = ["no-such-gene"]
    X = sparse.csr_matrix(np.hstack([part.to_df().to_numpy() for part in (cells, twice, strange)]))
    names = [*cells.var_names, *twice.var_names, *strange.var_names]
    more = type(cells)(X, obs=cells.obs, var=pd.DataFrame(index=names))
    writable.append(more, study="one", label_key="cell_type")
    (sample,) = samples_of(writable)
    assert "no-such-gene" not in sample.genes
    assert len(set(sample.genes)) == len(sample.genes)
    column = sample.genes.tolist().index(twice.var_names[0])
    np.testing.assert_array_equal(sample.counts[:, [column]].toarray(), 2 * twice.to_df().to_numpy()[sample.ids, :1])


def test_a_file_for_each_panel(writable, tmp_path):
    first, second = fakes.cells(30, seed=2), fakes.cells(30, seed=3)[:, 20:].copy()
    writable.append([first, second], study=["one", "two"], label_key="cell_type")
    assert [len(sample.genes) for sample in samples_of(writable)] == [111, 91]
    assert read_ids(writable.snapshot.storage, writable.snapshot.manifest.samples, 60).tolist() == list(range(60))


def test_mouse_genes_are_sampled_as_their_orthologs(writable):
    mouse, human = fakes.of_a_mouse(fakes.cells(30, seed=2))
    writable.append(mouse, study="mouse", label_key="cell_type", species="mouse")
    (sample,) = samples_of(writable)
    assert scim.pp._gene_names.known_genes(sample.genes).all()
    found = pd.DataFrame(sample.counts.toarray(), columns=sample.genes)
    expected = human.to_df().set_axis(scim.pp.canonical_genes(human.var_names), axis=1)
    np.testing.assert_array_equal(found[expected.columns], expected.to_numpy()[sample.ids])


def test_log_normalised_values_are_sampled_as_the_counts_that_they_were(writable):
    cells = fakes.cells(30, seed=2)
    counts = cells.to_df().to_numpy()
    cells.X = sparse.csr_matrix(np.log1p(counts / 3))
    with pytest.warns(UserWarning, match="log"):
        writable.append(cells, study="one", label_key="cell_type")
    (sample,) = samples_of(writable)
    assert load_arrays(writable.snapshot.storage, writable.snapshot.manifest.samples[0])["counts"].dtype == np.uint16
    assert sample.counts.sum() == counts[sample.ids].sum()


def test_copies_are_not_sampled(writable):
    cells = fakes.cells(30, seed=2)
    cells.obs["is_primary_data"] = pd.array([True, False, None] * 10, dtype="boolean")
    writable.append(cells, study="one", label_key="cell_type", obs_columns=["is_primary_data"])
    (sample,) = samples_of(writable)
    assert sample.ids.tolist() == [i for i in range(30) if i % 3 != 1]


def test_cells_without_label_or_counts_are_not_sampled(writable, tmp_path):
    writable.append(fakes.cells(30, seed=2), study="one")
    assert writable.snapshot.manifest.samples == ()
    cells = fakes.cells(30, seed=2)
    cells.obsm["X"] = np.random.default_rng(0).normal(size=(30, 4))
    with scim.atlas.from_embedding(cells, tmp_path / "e.scim", obsm="X", study="one", label_key="cell_type") as atlas:
        assert atlas.snapshot.manifest.samples == ()
        assert atlas.info()["expression"] is None
        assert atlas.label_transfer().expression is None


def test_blocks_make_no_difference(tmp_path):
    files = []
    for name, seed in (("a", 2), ("b", 3)):
        files.append(tmp_path / f"{name}.h5ad")
        fakes.cells(50, seed=seed).write_h5ad(files[-1])
    digests = []
    for name in ("large", "small"):
        with scim.atlas.create(tmp_path / f"{name}.scim", model=fakes.tiny_model()) as atlas:
            if name == "small":
                with changes.small_blocks():
                    atlas.append(files, study=["a", "b"], label_key="cell_type")
            else:
                atlas.append(files, study=["a", "b"], label_key="cell_type")
            digests.append([entry.sha256 for entry in atlas.snapshot.manifest.samples])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2
