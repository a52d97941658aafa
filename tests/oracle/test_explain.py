"""Attributions of genes."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy.stats import spearmanr

import scim
from helpers import published
from scim.model.explain import average_attributions
from scim.model.net import DenseEncoder


def test_attributions_are_the_packages(trained, query, package_output, scim_output):
    package, ours = package_output(trained, query, "explain"), scim_output("explain")
    theirs, values = package["attributions"], ours["attributions"]
    assert (theirs > 0).any(axis=1).all()
    assert spearmanr(values.mean(axis=0), theirs.mean(axis=0)).statistic >= 0.999
    for row in range(len(theirs)):
        some = theirs[row] > 0  # ranks of the many zeros are uninformative
        assert spearmanr(values[row][some], theirs[row][some]).statistic >= 0.999
    np.testing.assert_allclose(values, theirs, atol=1e-6 * theirs.max())


def test_ranked_genes_are_the_packages(trained, query, package_output, scim_output):
    package, ours = package_output(trained, query, "explain"), scim_output("explain")
    ranked, theirs = ours["ranked"], package["ranked"]
    assert list(ranked) == list(theirs)
    top = 50
    assert ranked["gene"][:top].tolist() == theirs["gene"][:top].tolist()
    by_gene = ranked.set_index("gene").loc[theirs["gene"]].reset_index()
    for column in ("attribution", "attribution_std", "cells", "gene_idx"):
        np.testing.assert_allclose(by_gene[column], theirs[column], atol=1e-6 * theirs["attribution"].max())


@pytest.mark.parametrize("n_steps", [20, 50])  # those of tl.explain, and the package's
@pytest.mark.parametrize("folder", ["trained", "full_shape"])
def test_means_over_pairs_are_the_packages(folder, n_steps, request, query, package_output):
    """By the path of tl.explain, which never holds the attributions of all pairs; of the genes that have any."""
    folder = request.getfixturevalue(folder)
    package = package_output(folder, query, "explain")["attributions"]
    model = scim.scimilarity.import_model(folder)
    cells = anndata.read_h5ad(query)
    cells.X = cells.layers["counts"]
    X = published.lognorm(published.aligned(cells, model.metadata["gene_order"]))
    anchors, negatives = (X[np.flatnonzero(cells.obs["cluster"] == name)[:30]] for name in ("mono", "T"))
    ours = average_attributions(DenseEncoder(model.encoder), anchors, negatives, n_steps=n_steps)
    mean = package.mean(axis=0)
    attributed = mean > 0
    assert attributed.sum() > 1000
    assert spearmanr(ours.mean[attributed], mean[attributed]).statistic >= 0.999
    assert not ours.mean[~attributed].any()
