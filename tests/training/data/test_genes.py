from __future__ import annotations

import numpy as np
from scipy import sparse

from scim.training.data._genes import choose_genes, marker_ranks


def ranks_of(X, labels, step=7):
    blocks = ((X[start : start + step], labels[start : start + step]) for start in range(0, X.shape[0], step))
    return marker_ranks(blocks, labels.max() + 1, X.shape[1])


def study(n=60, n_genes=40, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    X = rng.poisson(2.0, (n, n_genes)).astype(np.float32)
    for label in range(3):
        X[labels == label, label] += 12
    return sparse.csr_matrix(X), labels


def oracle(X, labels):
    x = X.toarray() / X.sum(1) * 1e4
    x = np.log1p(np.asarray(x))
    t = []
    for label in np.unique(labels):
        a, b = x[labels == label], x[labels != label]
        t.append(np.abs(a.mean(0) - b.mean(0)) / np.sqrt(a.var(0) / len(a) + b.var(0) / len(b) + 1e-5))
    return np.argsort(np.argsort(-np.array(t), axis=1), axis=1).min(axis=0)


def test_ranks_are_those_of_the_t_statistics():
    X, labels = study()
    ranks = ranks_of(X, labels)
    assert np.array_equal(ranks, oracle(X, labels))
    assert ranks[:3].tolist() == [0, 0, 0]


def test_one_label_takes_the_genes_of_the_largest_values():
    X, _ = study()
    X = X.toarray()
    X[:, 5] = 100
    assert ranks_of(sparse.csr_matrix(X), np.zeros(60, dtype=np.int64))[5] == 0


def names(*genes):
    return np.array(genes, dtype=object)


def test_genes_that_link_studies_come_first():
    ranks = [np.array([0, 50, 51]), np.array([60, 40])]
    genes, studies = [names("a", "b", "c"), names("b", "d")], [names("s"), names("t")]
    assert choose_genes(genes, ranks, studies, 2).tolist() == ["a", "b"]
    assert choose_genes(genes, ranks, studies, 9).tolist() == ["a", "b", "c", "d"]


def test_two_files_of_a_study_are_no_link():
    ranks = [np.array([0, 50, 51]), np.array([60, 40]), np.array([70])]
    genes, studies = [names("a", "b", "c"), names("b", "d"), names("c")], [names("s"), names("t", "s"), names("u")]
    assert choose_genes(genes, ranks, studies, 2).tolist() == ["a", "c"]


def test_one_data_set_has_no_genes_of_a_single_study():
    chosen = choose_genes([names("a", "b", "c")], [np.array([99, 40, 50])], [names("s")], 2)
    assert chosen.tolist() == ["b", "c"]
