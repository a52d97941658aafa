from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scim.training.evaluation._data import Change
from scim.training.evaluation._evaluate import _changes


def counts(n=50, n_genes=30, seed=0):
    random = np.random.default_rng(seed)
    return sparse.csr_matrix(random.poisson(3, (n, n_genes)).astype(np.float32))


def test_genes_are_drawn_among_those_measured():
    observed = np.arange(30) % 2 == 0
    kept = Change("genes", 5).genes(observed, np.random.default_rng(0))
    assert kept.sum() == 5
    assert not (kept & ~observed).any()
    X = counts()
    left = Change("genes", 5).values(X, kept, np.random.default_rng(0)).toarray()
    np.testing.assert_array_equal(left, np.where(kept, X.toarray(), 0))


def test_a_study_with_fewer_genes_keeps_all():
    observed = np.ones(30, dtype=bool)
    assert Change("genes", 30).genes(observed, np.random.default_rng(0)).all()


def test_counts_are_thinned_binomially():
    X = sparse.csr_matrix(np.full((400, 50), 10, dtype=np.float32))
    thin = Change("counts", 0.2).values(X, np.ones(50, dtype=bool), np.random.default_rng(0))
    values = thin.toarray()
    assert (values == np.rint(values)).all()
    assert values.mean() == pytest.approx(2, abs=0.05)
    assert values.var() == pytest.approx(10 * 0.2 * 0.8, abs=0.1)
    assert (X.data == 10).all()


@pytest.mark.parametrize(("share", "left"), [(0.0, 0), (1.0, 1)])
def test_none_and_all_of_the_counts(share, left):
    X = counts()
    thin = Change("counts", share).values(X, np.ones(30, dtype=bool), np.random.default_rng(0))
    np.testing.assert_array_equal(thin.toarray(), left * X.toarray())


def test_a_logarithm_that_is_undone_keeps_proportions():
    X = counts()
    back = Change("lognorm", None).values(X, np.ones(30, dtype=bool), np.random.default_rng(0)).toarray()
    np.testing.assert_allclose(back, X.toarray() / X.toarray().sum(1, keepdims=True) * 1e4, rtol=1e-5)


def test_all_changes():
    kinds = [(change.kind, change.level) for change in _changes((100,), (0.5, 0.1))]
    assert kinds == [("genes", 100), ("counts", 0.5), ("counts", 0.1), ("lognorm", None)]
