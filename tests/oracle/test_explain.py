"""Attributions of genes."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr


def test_attributions_are_the_packages(trained, query, answers, ask_ours):
    package, ours = answers(trained, query, "explain"), ask_ours("explain")
    theirs, values = package["attributions"], ours["attributions"]
    assert (theirs > 0).any(axis=1).all()
    assert spearmanr(values.mean(axis=0), theirs.mean(axis=0)).statistic >= 0.999
    for row in range(len(theirs)):
        assert spearmanr(values[row], theirs[row]).statistic >= 0.999
    np.testing.assert_allclose(values, theirs, atol=1e-6 * theirs.max())


def test_ranked_genes_are_the_packages(trained, query, answers, ask_ours):
    package, ours = answers(trained, query, "explain"), ask_ours("explain")
    ranked, theirs = ours["ranked"], package["ranked"]
    assert list(ranked) == list(theirs)
    top = 50
    assert ranked["gene"][:top].tolist() == theirs["gene"][:top].tolist()
    by_gene = ranked.set_index("gene").loc[theirs["gene"]].reset_index()
    for column in ("attribution", "attribution_std", "cells", "gene_idx"):
        np.testing.assert_allclose(by_gene[column], theirs[column], atol=1e-6 * theirs["attribution"].max())
