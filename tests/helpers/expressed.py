"""Counts and embeddings of toy cells of a few types, of which some genes are of one type each."""

from __future__ import annotations

import numpy as np
from scipy import sparse

TYPES = ("T cell", "B cell", "monocyte", "platelet", "neuron")
GENES = np.array([f"gene {i}" for i in range(60)], object)


def profiles(seed=7):
    """Shares of the genes in the counts of each type, (n_types, n_genes); eight genes are high in one type each."""
    base = np.random.default_rng(seed).gamma(2, size=len(GENES))
    rates = np.tile(base, (len(TYPES), 1))
    for i in range(len(TYPES)):
        rates[i, 8 * i : 8 * i + 8] *= 8
    return rates / rates.sum(axis=1, keepdims=True)


def toy(types, *, depth=800, seed=0, dim=12):
    """Return embeddings and counts of cells of types (n,), given as positions in `TYPES`."""
    random = np.random.default_rng(seed)
    counts = random.poisson(depth * profiles()[types] * random.gamma(20, 1 / 20, size=(len(types), len(GENES))))
    X = 2 * np.eye(len(TYPES), dim)[types] + random.normal(scale=0.4, size=(len(types), dim))
    return X.astype(np.float32), sparse.csr_matrix(counts.astype(np.float32))
