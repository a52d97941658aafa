"""Labels and their statistics: on the package's own neighbours, and from the query to the end."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from oracle.compare import assert_same_hits
from scim.index import Neighbors
from scim.label_transfer._votes import count_votes
from scim.scimilarity._annotation import predict

STATISTICS = ["min_dist", "max_dist", "vs2nd", "vsAll", "vs2nd_weighted", "vsAll_weighted"]
FOLDERS = ["model", "model_deleted"]


@pytest.fixture(params=FOLDERS)
def package_results(request, trained, query, package_output):
    """A folder, and the results of the package for the query."""
    return request.param, package_output(trained.with_name(request.param), query, "annotate")


@pytest.fixture
def neighbours(package_results, imported):
    """The package's neighbours, by the ids of the atlas."""
    name, package = package_results
    with scim.atlas.open(imported(name)) as atlas:
        lines = atlas.obs(columns=["annotation_index"])["annotation_index"].dropna().astype(int)
    of_line = pd.Series(lines.index.to_numpy(), index=lines.to_numpy())
    ids = of_line.loc[package["plain_idxs"].astype(np.int64).ravel()].to_numpy()
    return Neighbors(package["plain_dists"], ids.reshape(package["plain_idxs"].shape))


def as_named_today(labels):
    return [scim.ontology.term_name(scim.ontology.term_id(label)) for label in labels]


@pytest.mark.parametrize(("weights", "kind"), [("uniform", "plain"), ("distance", "weighted")])
def test_the_same_neighbours_give_every_cell_the_same_label(weights, kind, package_results, neighbours, imported):
    name, package = package_results
    with scim.atlas.open(imported(name)) as atlas:
        reference = atlas.label_transfer().reference
        near = reference.centroid_distances(np.ascontiguousarray(package["embeddings"]))
        votes = count_votes(neighbours.distances, neighbours.ids, reference, near, weights=weights)
    assert reference.tree.labels[votes.codes[:, 0]].tolist() == as_named_today(package[f"{kind}_predictions"])


@pytest.mark.parametrize("weighting", [False, True])
def test_the_same_neighbours_give_the_same_statistics(weighting, package_results, neighbours, imported):
    name, package = package_results
    kind = "weighted" if weighting else "plain"
    with scim.atlas.open(imported(name)) as atlas:
        reference = atlas.obs(columns=["reference_label"])["reference_label"].astype("category")
    codes = np.full(int(reference.index.max()) + 1, -1)
    codes[reference.index] = reference.cat.codes
    names = reference.cat.categories.to_numpy(object)
    predictions, stats = predict(neighbours, codes[neighbours.ids].astype(np.int32), names, weighting=weighting)
    theirs = package[f"{kind}_stats"]
    assert predictions.tolist() == package[f"{kind}_predictions"]
    for column in STATISTICS:
        np.testing.assert_allclose(stats[column], theirs[column], rtol=0, atol=1e-6, err_msg=column)
    for column in ("hits", "hits_weighted"):
        ours, other = (list(map(json.loads, frame[column])) for frame in (stats, theirs))
        assert [list(row) for row in ours] == [list(row) for row in other]  # labels in the same order
        for row, same in zip(ours, other, strict=True):
            assert row == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_tl_annotate_predicts_what_the_package_predicts(weights, package_results, imported, query):
    """From counts to labels with scim's neighbours: labels may differ where ties of distance decide."""
    name, package = package_results
    cells = anndata.read_h5ad(query)
    with scim.atlas.open(imported(name)) as atlas:
        cells = cells[:, cells.var_names.isin(atlas.model.metadata["gene_order"])].copy()
        scim.tl.embed(cells, atlas)
        scim.tl.annotate(cells, atlas, k=50, weights=weights, duplicates="keep")
    np.testing.assert_allclose(cells.obsm["X_scim"], package["embeddings"], atol=1e-5)
    theirs = as_named_today(package["plain_predictions" if weights == "uniform" else "weighted_predictions"])
    votes = scim.get.votes(cells)
    ours = votes.loc[votes["rank"] == 1, "label"].astype(str).tolist()
    assert np.mean(np.array(ours) == theirs) > 0.995


def test_the_classes_annotate_as_the_package(package_results, scim_output):
    name, package = package_results
    ours = scim_output("annotate", name)
    for kind in ("plain", "weighted"):
        assert_same_hits(ours[f"{kind}_idxs"], ours[f"{kind}_dists"], package[f"{kind}_idxs"], package[f"{kind}_dists"])
        same = ours[f"{kind}_predictions"].to_numpy() == np.array(package[f"{kind}_predictions"], object)
        assert same.mean() > 0.995
        assert list(ours[f"{kind}_stats"]) == list(package[f"{kind}_stats"])
    assert ours["nearest_predictions"].tolist() == package["nearest_predictions"]
    obs, theirs = ours["obs"], package["obs"]
    assert list(obs) == list(theirs)
    assert (obs["celltype_hint"].to_numpy() == theirs["celltype_hint"].to_numpy()).mean() > 0.995
    np.testing.assert_allclose(obs["min_dist"], theirs["min_dist"], atol=1e-6)
    np.testing.assert_allclose(obs["celltype_hint_stat"], theirs["celltype_hint_stat"], atol=0.021)  # one of 50 hits


def test_safelist_and_blocklist_are_the_packages(trained, query, package_output, scim_output):
    """On the folder without deletions: the package's lists restore deleted elements."""
    package, ours = package_output(trained, query, "lists"), scim_output("lists")
    for kind in ("safelist", "blocklist"):
        assert_same_hits(ours[f"{kind}_idxs"], ours[f"{kind}_dists"], package[f"{kind}_idxs"], package[f"{kind}_dists"])
        same = ours[f"{kind}_predictions"].to_numpy() == np.array(package[f"{kind}_predictions"], object)
        assert same.mean() > 0.995
        listed = set(np.array(package[f"{kind}_predictions"])) <= set(package["some"])
        assert listed == (kind == "safelist")
    assert ours["reset_predictions"].tolist() == package["reset_predictions"]
    assert ours["classes"] == package["classes"]
