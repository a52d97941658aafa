"""Compare the objectives on the same whole studies left out: one row for each, of the table in docs/training.md.

    python benchmarks/quality/objectives.py [FOLDER] [--tests ...] [--objectives ...] [--seeds 1] [--members 1]

Two numbers are of the embedding alone: accuracy and macro-F1 of the majority among the 15 nearest training cells. The
third is the macro-F1 of `scim.tl.annotate`, which also reads the expression of the genes, and may leave a cell unknown;
--neighbours leaves it out, which saves most of the time.

The first is the default. One model is trained without the studies of all tests, on the same cells and genes with the
same augmentations. simclr and moco use no labels, except to select the genes and the sampling weights. With
--results FILE what was measured is appended to the file, one JSON object a line, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import numpy as np
import scores
from fixed._atlas import annotated
from sklearn.neighbors import KNeighborsClassifier

import scim

if TYPE_CHECKING:
    import anndata as ad

OBJECTIVES: dict[str, dict[str, Any]] = {  # name: settings of TrainConfig, and `hidden` of ModelConfig
    "prototypes": {},
    "arcface": {"objective": "arcface"},
    "triplet": {"objective": "triplet"},
    "triplet, semi-hard": {"objective": "triplet", "mining": "semihard", "margin": 0.2},
    "triplet, FaceNet": {"objective": "triplet", "mining": "semihard", "margin": 0.2, "distance": "squared"},
    "triplet, linear": {"objective": "triplet", "hidden": ()},
    "contrastive": {"objective": "contrastive"},
    "contrastive, every positive": {"objective": "contrastive", "per_anchor": None},
    "contrastive, active": {"objective": "contrastive", "average": "active"},
    **{name: {"objective": name} for name in ("nca", "supcon", "simclr", "moco")},
    **{name: {"objective": name} for name in ("whitening", "lda", "linear_nca", "lmnn", "itml")},
}
TESTS = ("pbmc3k", "2chem_3prime", "2chem_5prime", "baron_human3")
K = 15
MEASURES = {"accuracy": "accuracy", "f1": "F1", "annotate": "annotate F1"}


def trained(name: str, train: list[ad.AnnData], seed: int, **changes: int) -> scim.model.Model:
    settings = {**OBJECTIVES[name], **changes}
    sizes = {"hidden": settings.pop("hidden")} if "hidden" in settings else {}
    config, net = scim.model.TrainConfig(**settings), scim.model.ModelConfig(**sizes)
    return scim.model.train(train, label_key="label", study_key="study", config=config, model=net, rng=seed)


def nearest(model: scim.model.Model, train: list[ad.AnnData], queries: list[ad.AnnData]) -> list[np.ndarray]:
    """Return the most frequent label among the `K` nearest training cells of each query cell."""
    rows, labels = [embedded(model, adata) for adata in train], [adata.obs["common"].to_numpy(str) for adata in train]
    vote = KNeighborsClassifier(K, metric="cosine", algorithm="brute").fit(np.concatenate(rows), np.concatenate(labels))
    return [vote.predict(embedded(model, adata)) for adata in queries]


def embedded(model: scim.model.Model, adata: ad.AnnData) -> np.ndarray:
    """Return unit rows; queries are embedded before the atlas of the test is made."""
    return scim.tl.embed(adata, model=model, copy=True).obsm["X_scim"]


def training(cells: dict[str, ad.AnnData], left_out: set[str], most: int) -> list[ad.AnnData]:
    """Return the cells of other studies, at most `most` of each label in each study, drawn at random."""
    chosen = []
    for adata in data.training(cells, "").values():
        rows = np.random.default_rng(0).permutation(np.flatnonzero(~adata.obs["study"].isin(left_out)))
        rank = adata.obs.iloc[rows].groupby(["study", "label"], observed=True).cumcount()
        kept = np.sort(rows[rank.to_numpy() < most])
        if len(kept) > 0:
            chosen.append(adata[kept].copy())
    return chosen


def measured(
    name: str,
    tests: list[str],
    cells: dict[str, ad.AnnData],
    *,
    seed: int,
    most: int,
    annotate: bool,
    changes: dict[str, int],
) -> list[dict[str, Any]]:
    """Train without the studies of the tests; return a row for each test."""
    train = training(cells, {data.TESTS[test].left_out for test in tests}, most)
    queries = [data.query(cells, data.TESTS[test]) for test in tests]
    seen = {term for adata in train for term in adata.obs["common"]}
    began = time.process_time()
    model = trained(name, train, seed, **changes)
    seconds = time.process_time() - began
    voted = nearest(model, train, queries)
    labelled = annotated(model, train, queries, "label") if annotate else [None] * len(queries)
    rows = []
    for test, adata, neighbours, labels in zip(tests, queries, voted, labelled, strict=True):
        truth = adata.obs["common"].astype(object)
        found = scores.score(truth, neighbours, seen)
        row = {"objective": name, "test": test, "seed": seed, "seconds": seconds}
        row |= {"accuracy": found.accuracy, "f1": found.macro_f1}
        rows.append(row if labels is None else row | {"annotate": scores.score(truth, labels, seen).macro_f1})
    return rows


def table(rows: list[dict[str, Any]], objectives: list[str], tests: list[str]) -> str:
    """Return a Markdown table: means over the seeds, and over the tests."""
    measures = [measure for measure in MEASURES if any(measure in row for row in rows)]
    columns = [f"{test} {MEASURES[measure]}" for test in (*tests, "mean") for measure in measures]
    lines = [f"| objective | {' | '.join(columns)} | CPU s per training |", f"|{'---|' * (len(columns) + 2)}"]
    for name in objectives:
        own = [row for row in rows if row["objective"] == name and row["test"] in tests]
        by_test = [[row for row in own if row["test"] == test] for test in tests]
        means = [[statistics.mean(row[measure] for row in some) for measure in measures] for some in by_test]
        values = [*means, [statistics.mean(column) for column in zip(*means, strict=True)]]
        cells = " | ".join(f"{value:.3f}" for some in values for value in some)
        lines.append(f"| {name} | {cells} | {statistics.mean(row['seconds'] for row in own):.0f} |")
    return "\n".join(lines)


def earlier(path: Path | None, how: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a file that were measured in the same way."""
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["how"] == how]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER)
    parser.add_argument("--tests", nargs="+", choices=data.TESTS, default=TESTS)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--most", type=int, default=10**9, help="training cells of each label in each study")
    parser.add_argument("--members", type=int, default=1, help="encoders that are trained and merged into one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--neighbours", action="store_true", help="without scim.tl.annotate")
    parser.add_argument("--results", type=Path, help="file of earlier measurements")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = given.threads, False
    changes = {"n_members": given.members} | ({} if given.steps is None else {"n_steps": given.steps})
    cells = data.read(given.folder)
    sizes = {"most": given.most, "annotate": not given.neighbours}
    how = {"tests": given.tests, **sizes, **changes}
    rows = earlier(given.results, how)
    for name in given.objectives:
        for seed in range(given.seeds):
            known = {row["test"] for row in rows if (row["objective"], row["seed"]) == (name, seed)}
            if known >= set(given.tests):
                continue
            new = measured(name, given.tests, cells, seed=seed, changes=changes, **sizes)
            rows += new
            print(f"{name}, seed {seed}: {new}", file=sys.stderr, flush=True)
            if given.results is not None:
                with given.results.open("a") as file:
                    file.writelines(json.dumps({**row, "how": how}) + "\n" for row in new)
    print(table(rows, given.objectives, given.tests))


if __name__ == "__main__":
    main()
