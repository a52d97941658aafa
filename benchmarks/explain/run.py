"""Measure how early `scim.tl.explain` ranks known markers, and how early other rankings of the same genes do.

    python benchmarks/explain/run.py [--data FOLDER] [--pairs 500] [--out FILE.csv]

The packaged model, three studies with known labels; see `markers.py` for the rules. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
from markers import LEAST_CELLS, LEAST_MARKERS, LEAST_SHARE, auroc, markers_of, read_markers

import scim
from scim.model.explain import draw_pairs, integrated_gradients
from scim.model.net import DenseEncoder
from scim.pp import find_counts, lognorm_rows, match_genes

sys.path.insert(0, str(Path(__file__).parents[1] / "quality"))
import data

if TYPE_CHECKING:
    import anndata as ad

STUDIES = ("pbmc3k", "zheng_facs", "baron_human234")
UNSEEN = "pbmc_2chem"
"""A study that the packaged model has not seen, with three coarse types; the means do not include it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data.FOLDER)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    table, cells = read_markers(arguments.data), data.read(arguments.data)
    with scim.atlas.open() as atlas:
        model = atlas.model
    scim.settings.n_threads = 1
    rows = [row for name in (*STUDIES, UNSEEN) for row in score_study(cells[name], name, model, table, arguments.pairs)]
    found = pd.DataFrame(rows)
    if arguments.out:
        found.to_csv(arguments.out, index=False)
    show(found)


def score_study(adata: ad.AnnData, name: str, model: scim.model.Model, table: pd.DataFrame, n_pairs: int) -> list[dict]:
    """Return a row for each type, ranking and definition of markers."""
    adata = adata[adata.obs["label"].notna()].copy()
    adata.obs["label"] = adata.obs["label"].astype(str).astype("category")
    genes = match_genes(adata.var, model.genes)
    X = lognorm_rows(find_counts(adata), genes, np.arange(adata.n_obs)).toarray()
    terms, codes = adata.obs["label"].cat.categories, adata.obs["label"].cat.codes.to_numpy()
    detected = np.stack([(X[codes == i] > 0).mean(axis=0) for i in range(len(terms))])
    rankings = {"scim.tl.explain": explained(adata, model)} | baselines(adata, X, codes, genes)
    variants = Variants(model, X, codes, list(terms), genes.observed, n_pairs)
    rows = []
    for i, term in enumerate(terms):
        if (codes == i).sum() < LEAST_CELLS:
            continue
        definitions = marker_sets(table, term, adata.obs["tissue"].iloc[0], model.genes, genes.observed)
        scores = {key: frame[i] for key, frame in rankings.items()}
        if definitions["primary"].sum() >= LEAST_MARKERS and name != UNSEEN:
            scores |= variants.scores(i)
        backgrounds = {
            "all": genes.observed,
            "expressed": genes.observed & (detected >= LEAST_SHARE).any(axis=0),
            "expressed by the type": genes.observed & (detected[i] >= LEAST_SHARE),
        }
        rows += [
            {"study": name, "type": scim.ontology.term_name(term), "ranking": ranking, "markers": which,
             "background": ground, "n_markers": int(positive[where].sum()), "n_genes": int(where.sum()),
             "auroc": auroc(values, positive, where)}
            for ranking, values in scores.items()
            for which, positive in definitions.items()
            for ground, where in backgrounds.items()
        ]  # fmt: skip
    return rows


def marker_sets(table: pd.DataFrame, term: str, tissue: str, genes: np.ndarray, observed: np.ndarray) -> dict:
    """Return the markers by the rules, and by looser and stricter rules."""
    ways = {
        "primary": {"tissue": tissue},
        "three resources": {"tissue": tissue, "resources": 3},
        "any tissue, three resources": {"tissue": None, "resources": 3},
        "the type alone": {"tissue": tissue, "below": False},
    }
    return {name: np.isin(genes, list(markers_of(table, term, **how))) & observed for name, how in ways.items()}


def explained(adata: ad.AnnData, model: scim.model.Model) -> np.ndarray:
    """Run `tl.explain` with its defaults, and print its seconds."""
    started = time.perf_counter()
    scim.tl.explain(adata, model=model, groupby="label")
    seconds = time.perf_counter() - started
    record = adata.uns["scim_explain"]
    print(f"tl.explain: {len(record['groups'])} groups of {record['n_pairs'].max()} pairs in {seconds:.1f} s")
    return record["mean"]


def baselines(adata: ad.AnnData, X: np.ndarray, codes: np.ndarray, genes: scim.pp.GeneMap) -> dict[str, np.ndarray]:
    """Rank genes without the model: by differences of means, and by the tests of scanpy."""
    n_types = codes.max() + 1
    means = np.stack([X[codes == i].mean(axis=0) for i in range(n_types)])
    out = {
        "mean difference, types weighted equally": means - (means.sum(axis=0) - means) / (n_types - 1),
        "mean difference, cells weighted equally": means
        - np.stack([X[codes != i].mean(axis=0) for i in range(n_types)]),
    }
    normalised = adata.copy()
    sc.pp.normalize_total(normalised, target_sum=1e4)
    sc.pp.log1p(normalised)
    for method in ("t-test", "wilcoxon"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fragmented frames
            sc.tl.rank_genes_groups(normalised, "label", method=method, use_raw=False)
        out[f"scanpy {method}"] = scores_of(normalised, genes, X.shape[1])
    return out


def scores_of(adata: ad.AnnData, genes: scim.pp.GeneMap, n_genes: int) -> np.ndarray:
    """Return the scores of `rank_genes_groups` in the order of the model's genes."""
    of_column = pd.Series(genes.columns, index=adata.var_names)
    scores = np.full((len(adata.obs["label"].cat.categories), n_genes), np.nan)
    for i, group in enumerate(adata.obs["label"].cat.categories):
        frame = sc.get.rank_genes_groups_df(adata, group)
        column = of_column[frame["names"]].to_numpy()
        scores[i, column[column >= 0]] = frame["scores"].to_numpy()[column >= 0]
    return scores


class Variants:
    """Variants of drawing pairs and of averaging their attributions."""

    def __init__(
        self, model: scim.model.Model, X: np.ndarray, codes: np.ndarray, terms: list[str], observed: np.ndarray, n: int
    ) -> None:
        self.encoder, self.X, self.codes, self.n = DenseEncoder(model.encoder, observed), X, codes, n
        self.is_other_type = ~scim.ontology.related(terms)

    def scores(self, i: int) -> dict[str, np.ndarray]:
        """Return a score of each gene for each variant."""
        types = np.flatnonzero(self.is_other_type[i])
        all_other_groups = np.delete(np.arange(len(self.is_other_type)), i)
        x, signed = self.drawn(i, self.codes, types, self.n)
        kept = np.where(x, np.abs(signed), 0)
        spread = kept.std(axis=0, ddof=1)
        ways = {f"{n} pairs": kept[:n].mean(axis=0) for n in (10, 20, 50, 100, self.n)}
        ways |= {f"{n} pairs, median": np.median(kept[:n], axis=0) for n in (200, self.n)}
        ways["mean / standard deviation"] = kept.mean(axis=0) / np.maximum(spread, 1e-12)
        ways["mean - 2 standard errors"] = kept.mean(axis=0) - 2 * spread / np.sqrt(len(kept))
        ways["share of pairs above 0"] = (kept > 0).mean(axis=0)
        ways["mean of ranks within a pair"] = np.stack([pd.Series(row).rank() for row in kept]).mean(axis=0)
        ways["each pair scaled to sum 1"] = (kept / kept.sum(axis=1, keepdims=True)).mean(axis=0)
        ways["sign kept, anchor greater"] = np.where(x, signed, 0).mean(axis=0)
        ways["sign kept, all genes"] = signed.mean(axis=0)
        ways["absolute, all genes"] = np.abs(signed).mean(axis=0)
        for n_steps in (5, 10, 50):
            x, signed = self.drawn(i, self.codes, types, 200, n_steps=n_steps)
            ways[f"200 pairs, {n_steps} steps"] = np.where(x, np.abs(signed), 0).mean(axis=0)
        x, signed = self.drawn(i, self.codes, all_other_groups, 200)
        ways["related types among the negatives"] = np.where(x, np.abs(signed), 0).mean(axis=0)
        together = np.where(np.isin(self.codes, types), -2, self.codes)  # one group: in proportion to the cells
        x, signed = self.drawn(i, together, [-2], 200)
        ways["negatives drawn cell by cell, not type by type"] = np.where(x, np.abs(signed), 0).mean(axis=0)
        return ways

    def drawn(self, i: int, codes: np.ndarray, negatives: object, n: int, n_steps: int = 20) -> tuple:
        """Draw pairs; return where the anchor is higher, and the integrated gradients."""
        pairs = draw_pairs(codes, i, negatives, n, np.random.default_rng(0))
        x, baseline = self.X[pairs.anchors], self.X[pairs.negatives]
        return x > baseline, np.nan_to_num(integrated_gradients(self.encoder, x, baseline, n_steps=n_steps))


def show(found: pd.DataFrame) -> None:
    """Print the means over types, and the types of `tl.explain`."""
    found = found[found["n_markers"] >= LEAST_MARKERS]
    seen = found[found["study"] != UNSEEN]
    primary = seen[seen["markers"] == "primary"]
    print("\nmean AUROC over types, by background\n")
    print(primary.pivot_table(index="ranking", columns="background", values="auroc", sort=False).round(3).to_string())
    print("\nby definition of the markers, all genes\n")
    ground = seen[(seen["background"] == "all") & seen["ranking"].isin(primary["ranking"].unique()[:5])]
    print(ground.pivot_table(index="ranking", columns="markers", values="auroc", sort=False).round(3).to_string())
    print("\nby type, all genes\n")
    types = found[(found["background"] == "all") & (found["markers"] == "primary")]
    types = types[types["ranking"].isin(primary["ranking"].unique()[:5])]
    index = ["study", "type", "n_markers"]
    print(types.pivot_table(index=index, columns="ranking", values="auroc", sort=False).round(3).to_string())


if __name__ == "__main__":
    main()
