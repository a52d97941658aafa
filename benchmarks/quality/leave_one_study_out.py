"""Train without a study, label its cells, and compare with logistic regression on the same cells in the same run.

    python benchmarks/quality/leave_one_study_out.py [FOLDER] [--seeds 3] [--steps N] [--threads 1]

FOLDER holds the h5ad files and label_to_cl.csv; default: `shared/data` beside the repository. Three tests:

- pbmc3k, trained on all others; zheng_facs, trained on all but both files of that study: macro-F1 at the common level
  (COMMON below) over the cells whose class the training has seen. Logistic regression on log-normalised counts (10,000
  per cell, C=1) gets the genes and studies that suit it best: the genes all share, all genes with unknown ones as
  zeros, or the genes all share but without onek1k, whose panel of 1,000 genes leaves few (a class that only onek1k has
  is then unseen, and its cells count as errors).
- pbmc68k_reduced (765 genes, from the log), trained on all files: accuracy at the level B / T / NK / monocyte / DC /
  CD34+.

A model labels by a vote of the 50 nearest training cells, weighing 1/distance: plain, with each label's weight divided
by the root of its number of cells (as `scim.tl.annotate` does), and by that number (all labels alike).
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

import scim
from scim._core.vote import vote as count

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LABEL_COLUMNS = {"zheng_facs": "celltype", "zheng_sorted_scminer": "trueLabel", "pbmc3k": "cell_type",
                 "onek1k": "cell_type", "baron_human234": "cell_ontology_id"}  # fmt: skip
COMMON = {"CL:0000236": "B", "CL:0000624": "CD4 T", "CL:0000625": "CD8 T", "CL:0000623": "NK",
          "CL:0000860": "CD14 monocyte", "CL:0000875": "CD16 monocyte", "CL:0000451": "DC", "CL:0000233": "platelet",
          "CL:0008001": "CD34+"}  # fmt: skip
COARSE = {"CD4 T": "T", "CD8 T": "T", "T cell": "T", "CD14 monocyte": "monocyte", "CD16 monocyte": "monocyte"}
PBMC68K = {"CD14+ Monocyte": "monocyte", "Dendritic": "DC", "CD56+ NK": "NK", "CD19+ B": "B", "CD34+": "CD34+"}
K = 50


def read(folder: Path) -> dict[str, ad.AnnData]:
    """Read the files, with obs columns `label` (Cell Ontology id) and `study`; cells in both zheng files once."""
    table = pd.read_csv(folder / "label_to_cl.csv")
    data = {}
    for name, column in LABEL_COLUMNS.items():
        adata = ad.read_h5ad(folder / f"{name}.h5ad")
        words = adata.obs[column].astype(object)
        known = table[table["file"] == name].set_index("label")["cell_type_ontology_term_id"]
        adata.obs["label"] = words if known.empty else words.map(known)
        adata.obs["study"] = name.split("_")[0]
        if name.startswith("baron"):
            adata.obs["study"] = "baron_" + adata.obs["donor"].astype(str)
        data[name] = adata
    seen = set(data["zheng_facs"].obs_names.str.split("-").str[0])
    again = data["zheng_sorted_scminer"].obs_names.str.split("-").str[0].isin(seen)
    data["zheng_sorted_scminer"] = data["zheng_sorted_scminer"][~again].copy()
    return data


def common(terms: np.ndarray) -> np.ndarray:
    """Map Cell Ontology ids to the common level, where they belong to it, else to their name."""

    def of(term: str) -> str:
        above = {term} | scim.ontology.ancestors(term)
        return next((name for top, name in COMMON.items() if top in above), scim.ontology.term_name(term))

    names = {term: of(term) for term in pd.unique(pd.Series(terms).dropna())}
    return pd.Series(terms).map(names).to_numpy(dtype=object)


def embed(model: scim.model.Model, adata: ad.AnnData) -> np.ndarray:
    counts = scim.pp.find_counts(adata)
    return model.embed(counts, scim.pp.match_genes(counts.var, model.genes))


def vote(reference: np.ndarray, labels: np.ndarray, queries: np.ndarray, power: float) -> np.ndarray:
    """Vote as `scim.tl.annotate` does, a label of n cells weighing n**-power; it takes 0 or 0.5."""
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    weights = (np.bincount(codes) ** -power).astype(np.float32)
    found = scim.index.build(reference, kind="exact").query(queries, K)
    return names[count(found, codes.astype(np.int32), weights, weights="distance", top_n=1).codes[:, 0]]


def lognorm(adata: ad.AnnData, genes: np.ndarray) -> sparse.csr_matrix:
    counts = scim.pp.find_counts(adata)
    found = scim.pp.match_genes(counts.var, genes)
    return scim.pp.lognorm(scim.pp.align(counts.rows(0, counts.n_obs), found))


def gene_set(adata: ad.AnnData) -> set[str]:
    return set(scim.pp.canonical_genes(scim.pp.find_counts(adata).var.index))


def regression(train: dict[str, ad.AnnData], test: ad.AnnData, *, union: bool) -> np.ndarray:
    """Predict the common level of the test cells with logistic regression."""
    sets = [gene_set(adata) for adata in train.values()]
    genes = np.array(sorted((set.union if union else set.intersection)(*sets) & gene_set(test)), dtype=object)
    labels = np.concatenate([common(adata.obs["label"].to_numpy()) for adata in train.values()])
    X = sparse.vstack([lognorm(adata, genes) for adata in train.values()]).tocsr()
    known = pd.notna(labels)
    model = LogisticRegression(max_iter=300).fit(X[known], labels[known].astype(str))
    return model.predict(lognorm(test, genes))


def baselines(train: dict[str, ad.AnnData], test: ad.AnnData) -> dict[str, np.ndarray]:
    without = {name: adata for name, adata in train.items() if name != "onek1k"}
    return {
        "regression, shared genes": regression(train, test, union=False),
        "regression, all genes": regression(train, test, union=True),
        "regression, no onek1k": regression(without, test, union=False),
    }


def ours(train: dict[str, ad.AnnData], test: ad.AnnData, seed: int, config: scim.model.TrainConfig) -> dict:
    started = time.perf_counter()
    model = scim.model.train(train, label_key="label", study_key="study", config=config, rng=seed)
    print(f"    seed {seed}: {model.n_genes} genes, {time.perf_counter() - started:.0f} s", flush=True)
    labels = np.concatenate([adata.obs["label"].to_numpy(dtype=object) for adata in train.values()])
    known = pd.notna(labels)
    reference = np.concatenate([embed(model, adata) for adata in train.values()])[known]
    queries = embed(model, test)
    return {
        name: common(vote(reference, labels[known], queries, power))
        for name, power in (("scim, plain vote", 0.0), ("scim, balanced vote", 0.5), ("scim, labels alike", 1.0))
    }


def report(
    name: str, train: dict, test: ad.AnnData, truth: np.ndarray, args: argparse.Namespace, config: object
) -> None:
    """Train, predict and print one test; `truth` is missing for cells that do not count."""
    print(f"{name}: trained on {', '.join(train)}", flush=True)
    counted = pd.notna(truth)
    runs = [(method, [answer]) for method, answer in baselines(train, test).items()]
    seeds = [ours(train, test, seed, config) for seed in range(args.seeds)]
    runs += [(method, [answers[method] for answers in seeds]) for method in seeds[0]]
    level = COARSE if name.startswith("pbmc68k") else {}
    classes = sorted(set(truth[counted]))
    for method, answers in runs:
        named = [np.array([level.get(word, word) for word in answer], dtype=object)[counted] for answer in answers]
        f1 = [f1_score(truth[counted], a, labels=classes, average="macro", zero_division=0) for a in named]
        accuracy = [accuracy_score(truth[counted], a) for a in named]
        each = np.mean(
            [f1_score(truth[counted], a, labels=classes, average=None, zero_division=0) for a in named], axis=0
        )
        detail = ", ".join(f"{label} {value:.2f}" for label, value in zip(classes, each, strict=True))
        values = " ".join(f"{value:.3f}" for value in f1)
        rates = " ".join(f"{value:.3f}" for value in accuracy)
        means = f"macro-F1 {np.mean(f1):.3f} [{values}] accuracy {np.mean(accuracy):.3f} [{rates}]"
        print(f"  {method:26s} {means}  ({detail})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, default=1, help="a net this small gains little from a second")
    parser.add_argument("--tests", nargs="+", default=["pbmc3k", "zheng_facs", "pbmc68k_reduced"])
    args = parser.parse_args()
    scim.settings.n_threads = args.threads
    warnings.filterwarnings("ignore", message=".*lbfgs failed to converge.*")
    warnings.filterwarnings("ignore", message=".*log-normalised.*|.*labels and neighbours may be less certain.*")
    config = scim.model.TrainConfig() if args.steps is None else scim.model.TrainConfig(n_steps=args.steps)
    data = read(args.folder)
    for name in args.tests:
        if name == "pbmc68k_reduced":
            test = sc.datasets.pbmc68k_reduced()
            test = test.raw.to_adata()  # its X is scaled
            truth = np.array([PBMC68K.get(word, "T") for word in test.obs["bulk_labels"]], dtype=object)
            report(name, data, test, truth, args, config)
            continue
        train = {other: adata for other, adata in data.items() if other.split("_")[0] != name.split("_")[0]}
        seen = {label for adata in train.values() for label in common(adata.obs["label"].to_numpy())}
        truth = common(data[name].obs["label"].to_numpy())
        truth[[label not in seen for label in truth]] = None
        report(name, train, data[name], truth, args, config)


if __name__ == "__main__":
    main()
