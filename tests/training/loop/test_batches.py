from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from scim.model import TrainConfig
from scim.training.loop._batches import (
    N_PANELS,
    N_PLATFORMS,
    PLAIN,
    hide_genes,
    mix,
    shift_platform,
    thin,
)


@pytest.fixture
def X():
    return sparse.random(300, 50, density=0.3, format="csr", rng=0, dtype=np.float32).ceil() * 20


def test_thinning_gives_whole_counts_that_are_not_larger(X):
    thinned = thin(X, 1.0, np.random.default_rng(0))
    assert (thinned.data == np.round(thinned.data)).all()
    assert (thinned.toarray() <= X.toarray()).all()
    # rates are uniform in their logarithm between 0.05 and 1: their mean is 0.95 / log(20)
    assert thinned.sum() / X.sum() == pytest.approx(0.317, abs=0.04)
    assert (thin(X, 0.0, np.random.default_rng(0)) != X).nnz == 0


def test_thinning_leaves_the_share_of_cells_alone_that_it_should(X):
    same = (thin(X, 0.5, np.random.default_rng(0)).toarray() == X.toarray()).all(axis=1)
    assert same.mean() == pytest.approx(0.5, abs=0.1)


def test_mixing_adds_one_to_five_partners_or_nothing():
    X = sparse.csr_matrix(np.eye(4000, dtype=np.float32))
    partners = iter([X * 10.0**k for k in range(1, 6)])
    mixed = mix(X, lambda rows: next(partners)[rows], 0.5, np.random.default_rng(0))
    assert (mixed != mixed.multiply(X)).nnz == 0
    values, counts = np.unique(mixed.diagonal(), return_counts=True)
    # each further partner is added with probability 0.7: half have none, then 0.5 * (0.3, 0.7 * 0.3, ...), the rest have five
    assert values.tolist() == [1, 11, 111, 1111, 11111, 111111]
    expected = [0.5, *(0.5 * 0.3 * 0.7**k for k in range(4)), 0.5 * 0.7**4]
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


def test_a_platform_multiplies_a_gene_equally_in_all_cells():
    counts = torch.ones(4000, 300)
    factors = shift_platform(counts, 0.8, torch.Generator().manual_seed(0))
    rows, members = factors.unique(dim=0, return_counts=True)
    plain = (rows == 1).all(1)
    assert len(rows) == N_PLATFORMS - PLAIN + 1  # the plain ones are all ones
    assert plain.sum() == 1
    assert members[plain].item() == pytest.approx(4000 * PLAIN / N_PLATFORMS, rel=0.15)
    log = rows[~plain].log()
    assert log.std(1).max() < 0.8 * 1.15
    assert log.mean(1).abs().max() < 0.2
    assert torch.equal(shift_platform(counts * 2, 0.8, torch.Generator().manual_seed(0)), factors * 2)


def hide(observed, panels, **kwargs):
    options = {"random_panel": 0.5, "study_panel": 0.3, "least_panel": 100} | kwargs
    weight = torch.ones(N_PANELS, observed.shape[1])
    return hide_genes(observed, panels, weight, TrainConfig(**options), torch.Generator().manual_seed(0))


def test_masked_genes_were_measured_and_enough_remain():
    rng = np.random.default_rng(0)
    panels = torch.from_numpy((rng.random((3, 1000)) < 0.7).astype(np.float32))
    observed = panels[torch.from_numpy(rng.integers(0, 3, 400))]
    seen = hide(observed, panels)
    assert (seen <= observed).all()
    assert seen.sum(1).min() >= 60
    assert seen.sum(1).min() < 200 < observed.sum(1).min()


def test_no_gene_is_masked_by_default():
    panels = torch.ones(1, 500)
    observed = torch.ones(20, 500)
    assert torch.equal(hide(observed, panels, random_panel=0.0, study_panel=0.0), observed)


def test_a_study_panel_is_that_of_a_study():
    panels = torch.zeros(2, 200)
    panels[0] = 1
    panels[1, :100] = 1
    seen = hide(torch.ones(50, 200), panels, random_panel=0.0, study_panel=1.0)
    assert set(seen.sum(1).tolist()) == {100.0, 200.0}
