"""Measure how much the ranks of `scim.tl.explain` depend on the drawn pairs and on the steps of the path.

    python benchmarks/explain/steady.py [--data FOLDER]

The packaged model on pbmc3k. Spearman correlation of the mean attributions of the genes that at least 5 % of the cells
of some type express: of two draws of the same number of pairs, and of few steps with 200 on the same pairs; minimum and
mean over types. Also the difference between the sum of a pair's attributions and the squared distance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import scim
from scim.model.explain import draw_pairs, integrated_gradients
from scim.model.net import DenseEncoder
from scim.pp import find_counts, lognorm_rows, match_genes

sys.path.insert(0, str(Path(__file__).parents[1] / "quality"))
import data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data.FOLDER)
    adata = data.read(parser.parse_args().data)["pbmc3k"]
    scim.settings.n_threads = 1
    adata = adata[adata.obs["label"].notna()].copy()
    with scim.atlas.open() as atlas:
        model = atlas.model
    genes = match_genes(adata.var, model.genes)
    X = lognorm_rows(find_counts(adata), genes, np.arange(adata.n_obs)).toarray()
    codes = adata.obs["label"].astype("category").cat.codes.to_numpy()
    encoder, Z = DenseEncoder(model.encoder, genes.observed), model.encode(X, observed=genes.observed)
    expressed = np.any([(X[codes == i] > 0).mean(axis=0) >= 0.05 for i in range(codes.max() + 1)], axis=0)

    def pairs(i: int, n: int, seed: int) -> tuple:
        return draw_pairs(codes, i, np.delete(np.arange(codes.max() + 1), i), n, np.random.default_rng(seed))

    def kept(drawn: tuple, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
        x, start = X[drawn[0]], X[drawn[1]]
        values = integrated_gradients(encoder, x, start, n_steps=n_steps)
        off = np.nansum(values, axis=1) - ((Z[drawn[0]] - Z[drawn[1]]) ** 2).sum(axis=1)
        return np.where(x > start, np.abs(values), 0)[:, expressed], np.abs(off)

    draws = [[kept(pairs(i, 500, seed), 10)[0] for seed in (0, 1)] for i in range(codes.max() + 1)]
    print(f"{expressed.sum()} genes; pairs, Spearman of two draws (min, mean over types)")
    for n in (20, 50, 100, 200, 500):
        found = [spearmanr(one[:n].mean(axis=0), other[:n].mean(axis=0))[0] for one, other in draws]
        print(f"{n:5d} {min(found):.3f} {np.mean(found):.3f}")
    print("steps, Spearman with 200 steps (min, mean), error of the sum (mean, max; mean distance below)")
    same = [pairs(i, 40, 2) for i in range(codes.max() + 1)]
    exact = [kept(drawn, 200)[0].mean(axis=0) for drawn in same]
    for n_steps in (5, 10, 20, 50):
        rough = [kept(drawn, n_steps) for drawn in same]
        found = [spearmanr(values.mean(axis=0), right)[0] for (values, _), right in zip(rough, exact, strict=True)]
        off = np.concatenate([errors for _, errors in rough])
        print(f"{n_steps:5d} {min(found):.4f} {np.mean(found):.4f} {off.mean():.4f} {off.max():.4f}")
    distance = [((Z[drawn[0]] - Z[drawn[1]]) ** 2).sum(axis=1).mean() for drawn in same]
    print(f"mean squared distance {np.mean(distance):.3f}")


if __name__ == "__main__":
    main()
