from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from scim.scimilarity import CellEmbedding, Interpreter


@pytest.fixture(scope="module")
def explainer(imported_path):
    ce = CellEmbedding(imported_path)
    return Interpreter(ce.model, ce.gene_order)


@pytest.fixture(scope="module")
def pairs(prepared):
    return prepared.X[:6], prepared.X[6:12]


def test_attributions_are_integrated_gradients_of_the_squared_distance(explainer, pairs):
    anchors, negatives = (torch.from_numpy(part.toarray()) for part in pairs)

    def distance(x, y):
        return (explainer.encoder(y) - explainer.encoder(x)).square().sum(1)

    gradients = IntegratedGradients(distance)
    expected = gradients.attribute(anchors, baselines=negatives, additional_forward_args=(negatives,)).detach()
    expected = (expected * (anchors > negatives)).abs().numpy()
    found = explainer.get_attributions(*pairs)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found > 0).any()
    np.testing.assert_array_equal(explainer.get_attributions(anchors, negatives.numpy()), found)


def test_ranked_genes_by_hand(explainer):
    attrs = np.zeros((2, len(explainer.gene_order)), np.float32)
    attrs[:, 5], attrs[:, 3] = (1, 3), (4, 4)
    ranked = explainer.get_ranked_genes(attrs)
    assert list(ranked.columns) == ["gene", "gene_idx", "attribution", "attribution_std", "cells"]
    assert ranked.loc[:1, "gene"].tolist() == [explainer.gene_order[3], explainer.gene_order[5]]
    assert ranked.loc[:1, "gene_idx"].tolist() == [3, 5]
    assert ranked.loc[:1, "attribution"].tolist() == [4, 2]
    assert ranked.loc[:1, "attribution_std"].tolist() == [0, 1]  # of the pairs themselves, not of a sample of them
    assert set(ranked["cells"]) == {2}
    assert len(ranked) == len(explainer.gene_order)


def test_the_picture(explainer, pairs, tmp_path):
    mpl.use("agg")
    ranked = explainer.get_ranked_genes(explainer.get_attributions(*pairs))
    figure = explainer.plot_ranked_genes(ranked, n_plot=4, filename=tmp_path / "genes.png")
    (axes,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], ranked["attribution"][:4], rtol=1e-6)
    assert [text.get_text() for text in axes.get_yticklabels()] == ranked["gene"][:4].tolist()
    low, high = axes.collections[0].get_segments()[0][:, 0]
    margin = 1.96 * ranked["attribution_std"][0] / np.sqrt(6)
    assert high == pytest.approx(ranked["attribution"][0] + margin, rel=1e-5)
    assert low == pytest.approx(max(ranked["attribution"][0] - margin, 0), abs=1e-6)
    assert (tmp_path / "genes.png").stat().st_size > 1000


def test_bad_arguments(explainer, pairs):
    with pytest.raises(TypeError, match=r"Expected the encoder of a model, as CellEmbedding\(...\).model, got Linear"):
        Interpreter(torch.nn.Linear(2, 2), ["a", "b"])
    with pytest.raises(ValueError, match="as many as the encoder reads; got 1"):
        Interpreter(explainer.encoder, ["CD3E"])
    with pytest.raises(ValueError, match="Expected anchors and negatives of shape"):
        explainer.get_attributions(pairs[0], pairs[1][:2])
    with pytest.raises(ValueError, match="cells have no value"):
        explainer.get_attributions(pairs[0], 0 * pairs[1])
    with pytest.raises(ValueError, match="Expected attributions of shape"):
        explainer.get_ranked_genes(np.ones((2, 3)))
